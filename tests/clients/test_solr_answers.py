"""What becomes of answers that no healthy Solr gives, and what is sent."""

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest
from tests.clients.scripted import DONE, FOUND, answer, scripted
from tests.waiting import turns

from spanrun.clients import http
from spanrun.clients.solr import AsyncSolrClient, MaybeStored, transient
from spanrun.errors import DeadlineExceeded, StoreError
from spanrun.policies.retry import Retry
from spanrun.testing import Captured, no_leaks

KEY = "sesame-4711-open"
QUERY = {"q": "id:a"}
AT_ONCE = Retry(on=transient, attempts=3, base=0, cap=0)


def client(url: str, **options: Any) -> AsyncSolrClient:
    return AsyncSolrClient(url, **{"retry": AT_ONCE, **options})


# Answers of an unexpected shape


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("<html>Welcome</html>", "is no JSON: Expecting value.*Welcome"),
        ("", "is no JSON"),
        ('{"response": ', "is no JSON"),
        ("[" * 100_000, "is no JSON: .*recursion"),
        (b'"\xff"', "is no JSON: .*codec"),
        ("[]", "ValidationError"),
        ("null", "AttributeError|TypeError"),
        ("7", "AttributeError|TypeError"),
        ("{}", "ValidationError"),
        ('{"response": []}', "ValidationError"),
        ('{"response": [1]}', "ValidationError"),
        ('{"response": {"docs": {}, "numFound": 0}}', "ValidationError"),
        ('{"response": {"docs": [], "numFound": "many"}}', "ValidationError"),
        ('{"responseHeader": 7, "response": {}}', "AttributeError"),
        ('{"responseHeader": {"status": 1}}', "Solr's own status is 1"),
        ('{"spellcheck": 7}', "ValidationError"),
        ('{"moreLikeThis": [1]}', "ValidationError"),
    ],
)
async def test_an_answer_that_is_not_solrs_is_an_error_with_the_status(
    body: str, what: str
) -> None:
    async with scripted(answer(body)) as server, client(server.url) as solr:
        with pytest.raises(StoreError, match=what) as raised:
            await solr.search(QUERY)
    assert isinstance(raised.value, ValueError)
    assert raised.value.status == 200
    assert len(server.requests) == 1


async def test_an_update_needs_solrs_header() -> None:
    async with scripted(answer("{}")) as server, client(server.url) as solr:
        with pytest.raises(StoreError, match="ValidationError"):
            await solr.add([{"id": "a"}])


async def test_grouped_answers_keep_their_groups() -> None:
    grouped = answer('{"responseHeader": {"status": 0}, "grouped": {"a": 1}}')
    async with scripted(grouped) as server, client(server.url) as solr:
        found = await solr.search({"q": "a", "group": True})
    assert found.response.docs == []
    assert (found.model_extra or {})["grouped"] == {"a": 1}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            "400 Bad Request",
            '{"error": {"msg": "no field x", "code": 400}}',
            "no field x",
        ),
        ("500 Server Error", '{"error": {"trace": "NPE"}}', "NPE"),
        ("404 Not Found", "<title>Error 404</title>", "Error 404"),
        ("401 Unauthorized", "", "answered 401 Unauthorized"),
        ("400 Bad Request", '{"error": 7}', "error"),
        ("400 Bad Request", "[]", r"\[\]"),
    ],
)
async def test_what_solr_refuses_is_an_error_with_its_status(
    spanrun_capture: Captured, status: str, body: str, told: str
) -> None:
    async with scripted(answer(body, status)) as server, client(server.url) as solr:
        with pytest.raises(StoreError, match=told) as raised:
            await solr.search(QUERY)
    number = int(status[:3])
    assert raised.value.status == number
    assert f"{server.url} answered {number}" in str(raised.value)
    span = spanrun_capture.find("select docs")[0]
    assert span.attributes["db.response.status_code"] == str(number)
    assert span.status == "ERROR"


async def test_busy_answers_are_tried_again_when_solr_asks_for_it() -> None:
    busy = [
        answer("{}", "429 Too Many Requests", Retry_After="0.01"),
        answer("{}", "522 Connection Timed Out"),
    ]
    async with scripted(*busy, FOUND) as server, client(server.url) as solr:
        assert (await solr.search(QUERY)).response.num_found == 1
        assert len(server.requests) == 3
    async with scripted(*busy[:1]) as server, client(server.url, retry=None) as solr:
        with pytest.raises(StoreError) as raised:
            await solr.search(QUERY)
    assert (raised.value.status, raised.value.retry_after) == (429, 0.01)
    assert len(server.requests) == 4


async def test_a_redirect_is_not_followed() -> None:
    async with scripted(FOUND) as other:
        moved = answer("", "307 Temporary Redirect", Location=other.url)
        async with (
            scripted(moved) as server,
            client(server.url, headers={"X-Key": KEY}) as solr,
        ):
            with pytest.raises(
                StoreError, match="answered 307 Temporary Redirect: moved to http"
            ) as raised:
                await solr.search(QUERY)
    assert raised.value.status == 307
    assert not other.requests


async def test_a_large_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 1_000)
    bomb = answer(gzip.compress(b" " * 1_000_000), Content_Encoding="gzip")
    for large in (answer(" " * 1_001), bomb):
        async with scripted(large) as server, client(server.url) as solr:
            with pytest.raises(StoreError, match="is larger than 1000 bytes"):
                await solr.search(QUERY)


# Connections that break


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(FOUND[:-10])
    await writer.drain()
    writer.close()


async def _reset(writer: asyncio.StreamWriter) -> None:
    writer.write(FOUND[:-10])
    await writer.drain()
    writer.transport.abort()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(answer("", Content_Length=1_000))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("broken", [_cut, _reset, _hang_up])
async def test_a_connection_that_breaks_is_tried_again(broken: Any) -> None:
    async with (
        no_leaks(),
        scripted(broken, FOUND) as server,
        client(server.url) as solr,
    ):
        assert (await solr.search(QUERY)).response.num_found == 1
        assert len(server.requests) == 2
    async with no_leaks(), scripted(broken) as server, client(server.url) as solr:
        with pytest.raises(StoreError, match="gave no whole answer"):
            await solr.add([{"id": "a"}])
        assert len(server.requests) == 3


@pytest.mark.parametrize("broken", [_cut, _reset, _hang_up])
async def test_what_must_not_happen_twice_is_sent_once(broken: Any) -> None:
    async with no_leaks(), scripted(broken, DONE) as server, client(server.url) as solr:
        with pytest.raises(MaybeStored):
            await solr.add([{"id": "a", "n": {"inc": 1}}])
        assert len(server.requests) == 1


async def test_a_server_that_drips_is_given_up() -> None:
    async with (
        no_leaks(),
        scripted(_drip) as server,
        client(server.url, request_timeout_sec=0.1) as solr,
    ):
        with pytest.raises(DeadlineExceeded):
            await solr.search(QUERY)
        assert len(server.requests) <= 1  # its time may be over before it is sent


async def test_closing_waits_for_a_request_that_runs() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go.wait()
        writer.write(FOUND)

    async with no_leaks(), scripted(wait) as server:
        solr = client(server.url)
        search = asyncio.create_task(solr.search(QUERY))
        await asked.wait()
        closing = asyncio.create_task(solr.close())
        await turns()
        assert not closing.done()
        go.set()
        await closing
        assert (await search).response.num_found == 1


async def test_an_error_in_the_block_cancels_what_runs() -> None:
    asked = asyncio.Event()

    async def never(_: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with no_leaks(), scripted(never) as server:
        with pytest.raises(KeyError):  # noqa: PT012 -- leaving the block is tested
            async with client(server.url) as solr:
                search = asyncio.create_task(solr.search(QUERY))
                await asked.wait()
                raise KeyError
        assert search.done()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancellation_at_any_await_leaves_nothing(
    spanrun_capture: Captured, times: int
) -> None:
    cut = 0
    async with no_leaks(), scripted(FOUND) as server:
        for steps in range(1_000):
            solr = client(server.url)
            search = asyncio.create_task(solr.search(QUERY))
            for _ in range(steps):
                await asyncio.sleep(0)
            for _ in range(times):
                search.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([search])
            await solr.close()
            if not search.cancelled():
                break
            cut += 1
    assert search.result().response.num_found == 1
    assert cut > 5
    assert not spanrun_capture.unfinished()
    assert {span.status for span in spanrun_capture.find("select docs")} == {"UNSET"}


async def test_a_cancelled_closing_still_closes() -> None:
    async def never(_: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    for steps in range(4):
        asked = asyncio.Event()
        async with no_leaks(), scripted(never) as server:
            solr = client(server.url)
            search = asyncio.create_task(solr.search(QUERY))
            await asked.wait()
            closing = asyncio.create_task(solr.close())
            for _ in range(steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            search.cancel()
            await asyncio.wait([search])
            await solr.close()


# What is sent


async def test_headers_do_not_leak_from_call_to_call() -> None:
    async with scripted(FOUND) as server, client(server.url) as solr:
        await solr.search(QUERY)
        await solr.search(QUERY, handler="query")
        await solr.search(QUERY)
    async with scripted(DONE) as other, client(other.url, headers={"X-A": "1"}) as solr:
        await solr.add([{"id": "a"}])
        await solr.commit()
    post, get, again = server.requests
    assert post.headers["content-type"] == "application/json"
    assert (get.method, "content-type" in get.headers) == ("GET", False)
    assert again.headers == post.headers
    added, committed = other.requests
    assert added.headers["x-a"] == committed.headers["x-a"] == "1"
    assert "x-a" not in post.headers
    assert "content-type" not in committed.headers


async def test_names_are_escaped_wherever_they_stand() -> None:
    async with scripted(FOUND) as server:
        url = server.url.replace("docs", "a b&c%2Fd")
        async with client(url) as solr:
            await solr.search({"q": "x"}, handler="x y/z", **{"a&b=c#": "&d"})
            await solr.search({"q": "x", "a&b": ["c", "d"]})
            await solr.search({"q": "x"}, collection="../e?")
        async with client(server.url) as solr:
            await solr.add([], **{"x&commit": True})
    first, second, third, fourth = server.requests
    assert first.path == "/solr/a%20b%26c%2Fd/x%20y/z?wt=json&q=x&a%26b%3Dc%23=%26d"
    assert second.path == "/solr/a%20b%26c%2Fd/select?wt=json"
    assert json.loads(second.body) == {"params": {"q": "x", "a&b": ["c", "d"]}}
    assert third.path == "/solr/..%2Fe%3F/select?wt=json"
    assert fourth.path == "/solr/docs/update?wt=json&overwrite=true&x%26commit=true"


async def test_what_is_sent_in_confidence_is_told_to_nobody(
    spanrun_capture: Captured,
) -> None:
    echo = answer(f'{{"error": {{"msg": "bad {KEY} hunter22x"}}}}', "400 Bad Request")
    html = answer(f"<p>{KEY} hunter22x</p>")
    async with scripted(echo, html) as server:
        url = server.url.replace("//", "//me:hunter22x@")
        async with client(url, headers={"X-Key": f"Token {KEY}"}) as solr:
            told = repr(solr)
            for _ in range(2):
                with pytest.raises(StoreError) as raised:
                    await solr.search(QUERY)
                error: BaseException | None = raised.value
                while error is not None:
                    told += f"{error} {error!r} {getattr(error, 'body', '')}"
                    error = error.__cause__
    basic = base64.b64encode(b"me:hunter22x").decode()
    assert server.requests[0].headers["authorization"] == f"Basic {basic}"
    assert server.requests[0].headers["x-key"] == f"Token {KEY}"
    told += repr([(s.attributes, s.events) for s in spanrun_capture.spans])
    for secret in (KEY, "hunter22x", basic):
        assert secret not in told


async def test_a_call_is_a_job_with_a_span_by_the_conventions(
    spanrun_capture: Captured,
) -> None:
    async with scripted(DONE) as server, client(server.url) as solr:
        await solr.add([{"id": "a"}])
    span = spanrun_capture.span("add docs")
    assert span.attributes == {
        "db.system.name": "solr",
        "db.operation.name": "add",
        "db.collection.name": "docs",
        "db.namespace": "solr",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    attempt = spanrun_capture.parent(span)
    assert attempt is not None
    job = spanrun_capture.parent(attempt)
    assert job is not None
    assert (attempt.name, job.name) == ("attempt solr", "job solr")
    (point,) = spanrun_capture.points("db.client.operation.duration")
    assert point.attributes == span.attributes


async def test_answers_are_read_while_many_are_asked_for() -> None:
    async with (
        no_leaks(),
        scripted(FOUND) as server,
        client(server.url, limit=3) as solr,
    ):
        found = await asyncio.gather(*(solr.search(QUERY) for _ in range(30)))
        assert {one.response.num_found for one in found} == {1}
        assert len(server.tasks) <= 3


async def test_solr_is_told_the_trace(spanrun_capture: Captured) -> None:
    async with scripted(FOUND, DONE) as server, client(server.url) as solr:
        await solr.search(QUERY)
        await solr.add([{"id": "a"}])
    spans = spanrun_capture.find("POST")
    told = [request.headers["traceparent"] for request in server.requests[:2]]
    assert told == [
        f"00-{span.trace_id:032x}-{span.span_id:016x}-03"  # sampled, random
        for span in spans
    ]
