"""The services that exist: what they answer, and what becomes of it."""

import asyncio
import json
import socket
import ssl
from typing import Any

import httpx
import pytest
from tests.clients.scripted import Answer, answer, scripted

import spanrun as sr
from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import transient
from spanrun.errors import EmbeddingError, ServiceError
from spanrun.ingest.chat_extract import ChatSummary, ChatTitle
from spanrun.ingest.documents import Document, content_hash
from spanrun.policies.overload import overloaded
from spanrun.testing import FakeClock

VECTOR = '{"data": [{"index": 0, "embedding": [1.0, 2.0]}]}'
GOOD = answer(VECTOR)


def saying(content: Any, **more: Any) -> bytes:
    message = {"content": content, **more}
    return answer(json.dumps({"choices": [{"message": message}]}))


def refusing(status: str, body: Any = "", **headers: Any) -> bytes:
    return answer(json.dumps(body), status, **headers)


def client(server: Any, **options: Any) -> Embeddings:
    retry = sr.Retry(on=transient, attempts=3, base=0)
    return Embeddings(
        f"http://127.0.0.1:{server.port}/v1", model="m", retry=retry, **options
    )


# Another attempt, or none


@pytest.mark.parametrize(
    "status", [408, 425, 429, 500, 502, 503, 504, *range(520, 525), 529]
)
async def test_a_passing_trouble_is_asked_again(status: int) -> None:
    async with scripted(refusing(f"{status} Trouble"), GOOD) as server:
        async with client(server) as embeddings:
            assert await embeddings.aget_text_embedding("a") == [1.0, 2.0]
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501, 505, 526])
async def test_another_trouble_is_not(status: int) -> None:
    async with scripted(refusing(f"{status} No")) as server:
        async with client(server) as embeddings:
            with pytest.raises(EmbeddingError):
                await embeddings.aget_text_embedding("a")
        assert len(server.requests) == 1


async def test_closed_before_any_byte_is_asked_again() -> None:
    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted(close, close, GOOD) as server:
        async with client(server) as embeddings:
            assert await embeddings.aget_text_embedding("a") == [1.0, 2.0]
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "error",
    [
        {"message": "You exceeded your current quota", "type": "insufficient_quota"},
        {"message": "no", "type": "x", "code": "insufficient_quota"},
        {"message": "recharge", "type": "exceeded_current_quota_error"},
        {"message": "no", "code": "billing_not_active"},
        {"message": "no", "type": "budget_exceeded", "code": 429},
    ],
)
async def test_a_quota_that_is_used_up_stays_so(error: Any) -> None:
    told = refusing("429 Too Many Requests", {"error": error}, Retry_After="1")
    async with scripted(told) as server:
        async with client(server) as embeddings:
            with pytest.raises(EmbeddingError, match=error["message"]) as raised:
                await embeddings.aget_text_embedding_batch(["a", "b"])
        assert len(server.requests) == 1
    assert raised.value.final
    assert not overloaded(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Rate limit reached", "code": "rate_limit_exceeded"},
        {"message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"},
        "insufficient_quota",
    ],
)
async def test_a_rate_that_is_reached_is_asked_again(error: Any) -> None:
    told = refusing("429 Too Many Requests", {"error": error})
    async with scripted(told, GOOD) as server, client(server) as embeddings:
        assert await embeddings.aget_text_embedding("a") == [1.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "2500"}, 2.5),
        ({"x-ratelimit-reset-requests": "6s"}, 6),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 60),  # the cap of `Retry`
        ({"retry-after": "86400"}, 60),
    ],
)
async def test_the_wait_that_is_asked_for(
    fake_clock: FakeClock, headers: dict[str, str], seconds: float
) -> None:
    answers = [httpx.Response(429, headers=headers), httpx.Response(200, text=VECTOR)]
    async with Embeddings(
        "http://host/v1",
        model="m",
        retry=sr.Retry(on=transient, base=0, cap=0),
        clock=fake_clock,
        transport=httpx.MockTransport(lambda _: answers.pop(0)),
    ) as embeddings:
        await embeddings.aget_text_embedding("a")
    assert fake_clock.now() == seconds


class Foreign(Exception):  # noqa: N818 -- what other clients raise
    def __init__(self, status_code: int) -> None:
        super().__init__(status_code)
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (Foreign(503), True),
        (Foreign(522), True),
        (Foreign(401), False),
        (ConnectionResetError(), True),
        (httpx.UnsupportedProtocol("x"), True),
        (ServiceError("used up", status=429, final=True), False),
    ],
)
def test_transient_of_other_clients(error: Exception, wanted: bool) -> None:  # noqa: FBT001
    assert transient(error) is wanted


# No answer


def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@pytest.mark.parametrize("make", [Embeddings, Chat])
@pytest.mark.parametrize("path", ["", "/v1"])
async def test_a_refused_connection_says_where(make: Any, path: str) -> None:
    base = f"127.0.0.1:{closed_port()}{path}"
    kind = EmbeddingError if make is Embeddings else ServiceError
    place = "/embeddings" if make is Embeddings else "/chat/completions"
    retry = sr.Retry(on=transient, attempts=2, base=0)
    async with make(f"http://{base}", model="m", retry=retry) as made:
        ask = made.aget_query_embedding if make is Embeddings else made.achat
        with pytest.raises(kind) as raised:
            await ask("a")
    error = raised.value
    assert str(error).startswith(f"{base}{place} can't be reached: ")
    assert isinstance(error.__cause__, httpx.ConnectError)
    assert error.status is None
    assert transient(error)
    assert overloaded(error)
    assert "attempt 2/2" in error.__notes__[-1]


async def test_an_unknown_name_says_where() -> None:
    retry = sr.Retry(on=transient, attempts=1)
    async with Chat("http://no-such.invalid/v1", model="m", retry=retry) as chat:
        with pytest.raises(ServiceError, match=r"^no-such\.invalid/v1/chat/compl"):
            await chat.achat("a")


async def test_a_failed_handshake_says_where() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    base = f"127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    retry = sr.Retry(on=transient, attempts=1)
    async with server, Chat(f"https://{base}", model="m", retry=retry) as chat:
        with pytest.raises(ServiceError) as raised:
            await chat.achat("a")
    assert str(raised.value).startswith(f"{base}/chat/completions can't be reached")


async def test_a_certificate_that_is_refused_is_not_asked_again() -> None:
    error = ServiceError("x")
    error.__cause__ = httpx.ConnectError("x")
    error.__cause__.__cause__ = ssl.SSLCertVerificationError()
    assert not transient(error)


async def test_a_forgotten_v1_is_seen_in_the_error() -> None:
    async with scripted(refusing("404 Not Found", {"detail": "Not Found"})) as server:
        base = f"http://127.0.0.1:{server.port}"
        async with Embeddings(base, model="m") as embeddings:
            with pytest.raises(EmbeddingError) as raised:
                await embeddings.aget_text_embedding("a")
    assert f":{server.port}/embeddings answered 404" in str(raised.value)


async def test_no_key_in_the_url_is_in_the_error() -> None:
    base = f"http://user:hunter22@127.0.0.1:{closed_port()}/v1?key=sesame123"
    async with Chat(base, model="m", retry=sr.Retry(on=transient, attempts=1)) as chat:
        with pytest.raises(ServiceError) as raised:
            await chat.achat("a")
    assert "hunter22" not in str(raised.value)
    assert "sesame123" not in str(raised.value)


# Answers of compatible servers


@pytest.mark.parametrize("index", ["null", '"index_is_not_there"'])
async def test_vectors_without_an_index_are_in_order(index: str) -> None:
    rows = [f'{{"index": {index}, "embedding": [{n}.0, 1.0]}}' for n in (1, 2, 3)]
    if index != "null":
        rows = [row.replace(f'"index": {index}, ', "") for row in rows]
    async with (
        scripted(answer(f'{{"data": [{", ".join(rows)}]}}')) as server,
        client(server) as embeddings,
    ):
        found = await embeddings.aget_text_embedding_batch(["a", "b", "c"])
    assert found == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]


async def said(*answers: Answer) -> Any:
    async with scripted(*answers) as server:
        base = f"http://127.0.0.1:{server.port}/v1"
        async with Chat(base, model="m") as chat:
            return await chat.achat("a")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            [{"type": "text", "text": "Good "}, {"type": "text", "text": "day"}],
            "Good day",
        ),
        ([{"type": "output_text", "text": "Hi"}, {"type": "image_url"}], "Hi"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "Hi"},
            ],
            "Hi",
        ),
        ([{"type": "text", "text": ""}], ""),
    ],
)
async def test_content_in_parts(content: Any, text: str) -> None:
    assert (await said(saying(content))).text == text


@pytest.mark.parametrize("content", [[], [7], [{"type": "image_url"}], {"a": 1}, None])
async def test_content_without_a_text_is_refused(content: Any) -> None:
    with pytest.raises(ServiceError, match="has no text"):
        await said(saying(content))


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ("<think>hm, a b c</think>\n\nThe End", "The End", "hm, a b c"),
        ("\n<think>\nhm\n</think>The End", "The End", "hm"),
        ("<Thinking>hm</THINKING> The End", "The End", "hm"),
        ("<think>\u0130\u0130 hm</THINK>The End", "The End", "\u0130\u0130 hm"),
        ("hm, a title\n</think>\n\nThe End", "The End", "hm, a title"),
        ("<think></think>\n\nThe End", "The End", ""),
        ("<think>hm, this was cut", "", "hm, this was cut"),
        ("The End", "The End", None),
        ("Write <think> and </think> around it", None, None),
    ],
)
async def test_reasoning_is_apart_from_the_answer(
    content: str, text: str | None, reasoning: str | None
) -> None:
    found = await said(saying(content))
    assert found.text == (content if text is None else text)
    assert found.reasoning == reasoning


@pytest.mark.parametrize(
    ("make", "name"), [(ChatTitle, "title"), (ChatSummary, "summary")]
)
async def test_reasoning_is_no_title_and_no_summary(make: Any, name: str) -> None:
    document = Document("id", "Bees make honey.", "a.md", content_hash("x"))
    thought = "<think>The user wants something. Bees...</think>\n\nOn Bees"
    async with scripted(saying(thought), saying("<think>cut off")) as server:
        base = f"http://127.0.0.1:{server.port}/v1"
        async with Chat(base, model="m") as chat:
            assert await make(chat)(document) == {name: "On Bees"}
            with pytest.raises(ServiceError, match="said nothing"):
                await make(chat)(document)


@pytest.mark.parametrize(
    "count", ["-1", "1e23", "100000000000000000000000", "NaN", '"7"', "true", "1.5"]
)
async def test_token_counts_of_nonsense_are_none(count: str) -> None:
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": 7}}'
    body = f'{{"choices": [{{"message": {{"content": "x"}}}}], "usage": {usage}}}'
    found = await said(answer(body))
    assert (found.input_tokens, found.output_tokens) == (None, 7)
