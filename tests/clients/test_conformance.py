"""One suite that every HTTP client passes, whatever its service does: see `Subject`."""

import asyncio
import json
import logging
import socket
from typing import Any

import pytest
from tests.clients.conformance import (
    SECRET,
    Asked,
    Faulty,
    Subject,
    counting_awaits,
    serving,
)

import spanrun as sr
from spanrun.clients.chat import Chat, ChatAnswer
from spanrun.clients.embeddings import Embeddings
from spanrun.errors import DeadlineExceeded, EmbeddingError, ServiceError
from spanrun.testing import Captured, no_leaks
from spanrun.testing._http import Answer

EMBEDDINGS = Subject(
    name="Embeddings",
    make=lambda url, asked: Embeddings(
        f"{url}/v1",
        model="m",
        api_key=asked.secret,
        retry=asked.retry,
        timeout=asked.timeout,
        max_bytes=asked.max_bytes,
    ),
    ask=lambda client: client.aget_text_embedding("a text"),
    close=lambda client: client.aclose(),
    good=b'{"data": [{"index": 0, "embedding": [1.5, 2.5]}]}',
    value=[1.5, 2.5],
    wrong=(b"{}", b"[]", b"null", b'{"data": 7}', b'{"data": [{"embedding": "x"}]}'),
    error=EmbeddingError,
    lost=(EmbeddingError,),
)
CHAT = Subject(
    name="Chat",
    make=lambda url, asked: Chat(
        f"{url}/v1",
        model="m",
        api_key=asked.secret,
        retry=asked.retry,
        timeout=asked.timeout,
        max_bytes=asked.max_bytes,
    ),
    ask=lambda client: client.achat("a question"),
    close=lambda client: client.aclose(),
    good=b'{"choices": [{"message": {"content": "an answer"}}]}',
    value=ChatAnswer("an answer"),
    wrong=(b"{}", b"[]", b"null", b'{"choices": []}', b'{"choices": [{"message": 7}]}'),
    error=ServiceError,
    lost=(ServiceError,),
)
SUBJECTS = [EMBEDDINGS, CHAT]


@pytest.fixture(params=SUBJECTS, ids=str)
def subject(request: pytest.FixtureRequest) -> Subject:
    """The client under test."""
    found: Subject = request.param
    return found


async def asked_once(subject: Subject, server: Faulty, **options: Any) -> Any:
    """What one call gives, on a client that is left with `async with`."""
    async with subject.make(server.url, Asked(**options)) as client:
        return await subject.ask(client)


# Opening and closing


async def test_it_answers_opened_or_not(subject: Subject) -> None:
    async with serving(subject) as server:
        async with subject.make(server.url, Asked()) as client:
            assert await subject.ask(client) == subject.value
        client = subject.make(server.url, Asked())
        assert await subject.ask(client) == subject.value
        await subject.close(client)


async def test_making_one_needs_no_loop_and_no_network(subject: Subject) -> None:
    await asyncio.to_thread(subject.make, "http://127.0.0.1:9", Asked())


async def test_closing_twice(subject: Subject) -> None:
    async with serving(subject) as server:
        client = subject.make(server.url, Asked())
        await subject.close(client)
        await subject.close(client)
        async with subject.make(server.url, Asked()) as client:
            await subject.ask(client)
            await subject.close(client)
            await subject.close(client)


async def test_closed_is_closed(subject: Subject) -> None:
    async with serving(subject) as server:
        client = subject.make(server.url, Asked())
        await subject.ask(client)
        await subject.close(client)
        with pytest.raises(sr.SpanrunError):
            await subject.ask(client)
        assert len(server.requests) == 1


async def test_closing_during_a_request_ends_it(subject: Subject) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(200, delivery="hang"))
        client = subject.make(server.url, Asked())
        asking = asyncio.ensure_future(subject.ask(client))
        await server.asked()
        await subject.close(client)
        with pytest.raises((sr.SpanrunError, *subject.lost)):
            await asking


async def test_many_first_uses_at_once_share_one_client(subject: Subject) -> None:
    async with serving(subject) as server:
        client = subject.make(server.url, Asked())
        values = await asyncio.gather(*(subject.ask(client) for _ in range(20)))
        assert values == [subject.value] * 20
        await subject.close(client)
        assert len(server.requests) == 20


# Cancellation


async def test_cancelled_at_each_await_it_leaves_nothing_and_works_on(
    subject: Subject, spanrun_capture: Captured
) -> None:
    async with serving(subject) as server:
        cancelled = 0
        client = subject.make(server.url, Asked())
        for step in range(1_000):
            awaits = 0
            asking: asyncio.Task[Any] | None = None

            def tick() -> None:
                nonlocal awaits
                awaits += 1
                if awaits > step and asking is not None:  # noqa: B023 -- of this round
                    asking.cancel()  # noqa: B023 -- the same

            with counting_awaits(tick):
                asking = asyncio.ensure_future(subject.ask(client))
                await asyncio.wait([asking])
            if not asking.cancelled():
                break
            cancelled += 1
        assert asking is not None
        assert asking.result() == subject.value
        assert await subject.ask(client) == subject.value
        await subject.close(client)
        assert cancelled > 3
        assert not spanrun_capture.unfinished()
        assert {span.status for span in spanrun_capture.spans} == {"UNSET"}


# Slow, broken and lost


async def test_a_body_that_drips_is_cut_off_by_the_attempts_time(
    subject: Subject,
) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(200, subject.good, delivery="drip"))
        with pytest.raises(DeadlineExceeded):
            await asked_once(subject, server, attempt=0.5)


@pytest.mark.parametrize("delivery", ["reset", "truncate"])
async def test_an_answer_that_breaks_off_is_asked_for_again(
    subject: Subject, delivery: Any
) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(200, subject.good, delivery=delivery))
        assert await asked_once(subject, server, attempts=2) == subject.value
        server.answers.append(Answer(200, subject.good, delivery=delivery))
        with pytest.raises(subject.lost):
            await asked_once(subject, server)
        assert len(server.requests) == 3


async def test_a_dead_server_is_said_to_be_so(subject: Subject) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets it
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with no_leaks(), subject.make(url, Asked()) as client:
            with pytest.raises(subject.lost):
                await subject.ask(client)


# Bad answers


async def test_a_wrong_answer_is_an_error_and_not_asked_for_again(
    subject: Subject,
) -> None:
    async with serving(subject) as server:
        half = subject.good[: len(subject.good) // 2]
        bodies = (
            b"",
            half,
            b"\xff\xfe",
            b"<html>no</html>",
            b"[" * 9_999,
            *subject.wrong,
        )
        for body in bodies:
            server.answers.append(Answer(200, body))
            with pytest.raises(subject.error) as raised:
                await asked_once(subject, server, attempts=3)
            assert len(str(raised.value)) < 1_000
        assert len(server.requests) == len(bodies)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_says_when_it_may_be_asked_again(
    subject: Subject, status: int
) -> None:
    async with serving(subject) as server:
        headers = {"retry-after": "0.15"}
        server.answers.append(Answer(status, b"later", headers))
        assert await asked_once(subject, server, attempts=2) == subject.value
        first, second = server.times
        assert second - first >= 0.15


async def test_the_last_refusal_is_the_error(subject: Subject) -> None:
    async with serving(subject) as server:
        server.answers.extend(
            Answer(503, b"later", {"retry-after": "0"}) for _ in range(3)
        )
        with pytest.raises(subject.error) as raised:
            await asked_once(subject, server, attempts=3)
        assert (raised.value.status, raised.value.retry_after) == (503, 0)
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_is_refused_for_good_is_asked_once(
    subject: Subject, status: int
) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(status, b"no"))
        with pytest.raises(subject.error) as raised:
            await asked_once(subject, server, attempts=3)
        assert raised.value.status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_origin_is_refused(
    subject: Subject, status: int
) -> None:
    async with serving(subject) as server:
        with Faulty(subject.good) as elsewhere:
            server.answers.append(Answer(status, headers={"location": elsewhere.url}))
            with pytest.raises(subject.error) as raised:
                await asked_once(subject, server, attempts=3)
            assert raised.value.status == status
            assert not elsewhere.connections


async def test_a_body_above_the_cap_is_not_read_to_its_end(subject: Subject) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(200, subject.good.ljust(32 * 2**20)))
        with pytest.raises(subject.error, match="larger than 100000 bytes"):
            await asked_once(subject, server, max_bytes=100_000)


# Secrets


async def test_secrets_are_in_no_span_error_or_log(
    subject: Subject,
    spanrun_capture: Captured,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(subject) as server:
        caplog.set_level(logging.INFO)
        echo = json.dumps({"error": f"Bearer {SECRET} ({SECRET}) is no key"}).encode()
        errors: list[Exception] = []
        async with subject.make(server.url, Asked()) as client:
            await subject.ask(client)
            for answer in (
                Answer(401, echo),
                Answer(200, echo[:-2]),
                Answer(302, headers={"location": f"http://127.0.0.1:9/?key={SECRET}"}),
                Answer(200, subject.good, delivery="reset"),
            ):
                server.answers.append(answer)
                with pytest.raises((subject.error, *subject.lost)) as raised:
                    await subject.ask(client)
                errors.append(raised.value)
            told = repr(client)
        assert any(SECRET in value for value in server.requests[0].headers.values())
        told += repr([(error, vars(error)) for error in errors])
        told += repr([str(error) for error in errors])
        spans = spanrun_capture.spans
        told += repr(spans) + repr([(span.attributes, span.events) for span in spans])
        told += caplog.text
        assert SECRET not in told
        assert SECRET[:10] not in told


async def test_the_service_is_told_the_trace_by_each_send(
    subject: Subject, spanrun_capture: Captured
) -> None:
    async with serving(subject) as server:
        server.answers.append(Answer(503, b"later", {"retry-after": "0"}))
        async with subject.make(server.url, Asked(attempts=2)) as client:
            await subject.ask(client)
        told = [request.headers["traceparent"] for request in server.requests]
    assert told == [
        f"00-{span.trace_id:032x}-{span.span_id:016x}-03"  # sampled, random
        for span in spanrun_capture.find("POST")
    ]
    assert len(told) == 2
