"""`HttpClient`: each send is one span, each answer is checked, nothing is left."""

import asyncio
import datetime
import email.utils
import gzip
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from types import coroutine
from typing import Any

import httpx
import pytest
from tests.waiting import PATIENCE, becomes

from spanrun.clients.http import HttpClient, retry_after, transient
from spanrun.errors import ConfigurationError, EmbeddingError, ServiceError
from spanrun.testing import Captured, EmbeddingServer, no_leaks

Handler = Callable[[httpx.Request], httpx.Response]

BODY = {"model": "m", "input": ["a text"]}
KEY = "s3cret.Key-0123456789"


def client(handler: Handler, url: str = "http://host/v1", **options: Any) -> HttpClient:
    return HttpClient(url, transport=httpx.MockTransport(handler), **options)


def answering(*arguments: Any, **options: Any) -> Handler:
    return lambda _: httpx.Response(*arguments, **options)


def embed(texts: Sequence[str]) -> tuple[list[list[float]], int]:
    return [[1.0, 2.0] for _ in texts], 7


def served(**options: Any) -> EmbeddingServer:
    """A server that answers at once."""
    always = {"latency": 0, "jitter": 0, "rate_limited": 0, "unavailable": 0}
    return EmbeddingServer(**{**always, "embed": embed, **options})


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with served() as running:
        yield running


# Values


def http_date(seconds: float) -> str:
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return email.utils.format_datetime(when, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("1.5", 1.5),
        ("-3", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun Nov  6 08:49:37 1994", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_a_date_to_come() -> None:
    assert retry_after(http_date(30)) == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadError(""), True),
        (httpx.RemoteProtocolError("gone"), True),
        (TimeoutError(), True),
        (ServiceError("busy", status=429), True),
        (EmbeddingError("down", status=503), True),
        (ServiceError("no", status=400), False),
        (ServiceError("no", status=401), False),
        (ServiceError("nonsense", status=200), False),
        (ServiceError("nonsense"), False),
        (ValueError("bug"), False),
    ],
)
def test_transient(error: Exception, *, wanted: bool) -> None:
    assert transient(error) is wanted


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "ftp://host", "http://", "http://h:0x", "http://h:99999", None, 7],
)
def test_a_base_url_that_cannot_be_used(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url="):
        HttpClient(url)


def test_a_refused_base_url_keeps_its_password() -> None:
    with pytest.raises(ConfigurationError) as raised:
        HttpClient("ftp://user:hunter22@host")
    assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize("value", ["two\nlines", "umläut", "nul\0"])
def test_a_header_that_cannot_be_sent_is_refused_unquoted(value: str) -> None:
    with pytest.raises(ConfigurationError, match="Authorization") as raised:
        HttpClient("http://host", headers={"Authorization": value})
    assert value[:3] not in str(raised.value)


@pytest.mark.parametrize(
    ("base", "sent"),
    [
        ("http://host/v1", "http://host/v1/embeddings"),
        ("http://host/v1/", "http://host/v1/embeddings"),
        ("http://host", "http://host/embeddings"),
        ("http://host/v1?api-version=2", "http://host/v1/embeddings?api-version=2"),
        ("http://[::1]:80/v1", "http://[::1]/v1/embeddings"),
    ],
)
async def test_the_path_is_put_behind_the_base(base: str, sent: str) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={})

    calls = client(handler, base)
    await calls.post("/embeddings", BODY)
    await calls.aclose()
    assert asked == [sent]


# Spans


async def test_each_send_is_one_client_span(spanrun_capture: Captured) -> None:
    calls = client(answering(200, json={"a": 1}), "http://host:81/v1")
    assert await calls.post("/x", BODY) == {"a": 1}
    await calls.aclose()
    span = spanrun_capture.span("POST")
    assert span.kind == "CLIENT"
    assert span.status == "UNSET"
    assert span.attributes == {
        "http.request.method": "POST",
        "server.address": "host",
        "server.port": 81,
        "url.full": "http://host:81/v1/x",
        "http.request.body.size": 35,
        "http.response.status_code": 200,
        "http.response.body.size": 7,
        "network.protocol.version": "1.1",
    }
    assert spanrun_capture.count("http.client.request.duration") == 1


async def test_a_failed_send_has_its_status_as_error(spanrun_capture: Captured) -> None:
    calls = client(answering(503, text="later"))
    with pytest.raises(
        ServiceError, match=r"host/v1/x answered 503 .*: later"
    ) as raised:
        await calls.post("/x", BODY)
    await calls.aclose()
    assert (raised.value.status, raised.value.body) == (503, "later")
    assert not raised.value.blames_request
    span = spanrun_capture.span("POST")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "503")
    assert spanrun_capture.count(
        "http.client.request.duration",
        {"error.type": "503", "http.response.status_code": 503},
    )


async def test_no_answer_is_a_failed_span(spanrun_capture: Captured) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    calls = client(refuse)
    with pytest.raises(ServiceError, match="can't be reached: refused"):
        await calls.post("/x", BODY)
    await calls.aclose()
    span = spanrun_capture.span("POST")
    assert span.status == "ERROR"
    assert span.attributes["error.type"] == "httpx.ConnectError"
    assert "http.response.status_code" not in span.attributes


async def test_no_secret_is_in_a_span_or_an_error(spanrun_capture: Captured) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        sent = request.headers["Authorization"]
        return httpx.Response(401, json={"error": f"{'.' * 280}{sent}: {KEY} is bad"})

    for base, headers in (
        ("http://host/v1", {"Authorization": f"Bearer {KEY}"}),
        (f"http://user:hunter22@host/v1?code={KEY}", {}),
    ):
        calls = client(echo, base, headers=headers)
        with pytest.raises(ServiceError) as raised:
            await calls.post("/x", BODY)
        await calls.aclose()
        if headers:
            assert KEY[:8] not in str(raised.value) + raised.value.body
    first, second = spanrun_capture.find("POST")
    assert first.attributes["url.full"] == second.attributes["url.full"]
    seen = repr(first) + repr(second.attributes)
    assert KEY[:8] not in seen
    assert "hunter22" not in seen


# Answers


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"error": {"message": "too long", "type": "x"}}', "too long"),
        ('{"error": "no such model"}', "no such model"),
        ('{"message": "no"}', "no"),
        ('{"detail": "not here"}', "not here"),
        ('{"error": {"message": 7}}', '{"error": {"message": 7}}'),
        ("<h1>Oh</h1>", "<h1>Oh</h1>"),
        ("[" * 100_000, "[" * 299 + "…"),
    ],
)
async def test_the_reason_is_found_in_an_errors_body(body: str, reason: str) -> None:
    calls = client(answering(400, text=body))
    with pytest.raises(ServiceError) as raised:
        await calls.post("/x", BODY)
    await calls.aclose()
    assert str(raised.value) == f"host/v1/x answered 400 Bad Request: {reason}"
    assert raised.value.blames_request


@pytest.mark.parametrize("body", ["", "<html>", '{"data": [', "[" * 100_000, "\xff"])
async def test_an_answer_that_is_no_json(body: str) -> None:
    calls = client(answering(200, content=body.encode("latin-1")))
    with pytest.raises(
        ServiceError, match="the answer of host/v1/x is no JSON"
    ) as raised:
        await calls.post("/x", BODY)
    await calls.aclose()
    assert raised.value.status == 200
    assert not raised.value.blames_request


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def moved(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"Location": "http://evil/v1"})

    calls = client(moved, headers={"Authorization": f"Bearer {KEY}"})
    with pytest.raises(ServiceError) as raised:
        await calls.post("/x", BODY)
    await calls.aclose()
    assert asked == ["host"]
    assert str(raised.value) == (
        "host/v1/x answered 307 Temporary Redirect: "
        "moved to http://evil/v1, which isn't followed"
    )


async def test_a_body_without_end_is_cut_off() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b" " * 100

    calls = client(answering(200, content=endless()), max_bytes=1_000)
    with pytest.raises(ServiceError, match="is larger than 1000 bytes") as raised:
        await calls.post("/x", BODY)
    await calls.aclose()
    assert given == 11
    assert not raised.value.blames_request  # a batch isn't split for that


async def test_a_bomb_is_measured_unpacked() -> None:
    async def bomb() -> AsyncIterator[bytes]:
        yield gzip.compress(b" " * 100_000)

    headers = {"Content-Encoding": "gzip"}
    calls = client(answering(200, content=bomb(), headers=headers), max_bytes=1_000)
    with pytest.raises(ServiceError, match="is larger than 1000 bytes"):
        await calls.post("/x", BODY)
    await calls.aclose()


async def test_an_answer_that_cannot_be_unpacked() -> None:
    async def garbage() -> AsyncIterator[bytes]:
        yield b"no gzip"

    headers = {"Content-Encoding": "gzip"}
    calls = client(answering(200, content=garbage(), headers=headers))
    with pytest.raises(ServiceError, match="can't be decompressed"):
        await calls.post("/x", BODY)
    await calls.aclose()


# Connections


@pytest.mark.parametrize("fault", ["reset", "truncate"])
async def test_a_connection_that_breaks_in_the_body(
    server: EmbeddingServer, spanrun_capture: Captured, fault: Any
) -> None:
    server.spoil_next(fault)
    calls = HttpClient(f"{server.url}/v1")
    with pytest.raises(ServiceError, match="gave no whole answer") as raised:
        await calls.post("/embeddings", BODY)
    assert transient(raised.value)
    await calls.aclose()
    span = spanrun_capture.span("POST")
    assert span.attributes["http.response.status_code"] == 200
    assert span.status == "ERROR"


@coroutine
def cancelling(steps: range, call: Any) -> Generator[Any, Any, Any]:
    """Run ``call`` in this task, and cancel that where it waits for these times."""
    task = asyncio.current_task()
    assert task is not None
    waits = call.__await__()
    try:
        waiting = waits.send(None)
        for step in itertools.count():
            if step in steps:
                task.cancel()
            try:
                sent = yield waiting
            except BaseException as error:  # noqa: BLE001 -- handed on
                waiting = waits.throw(error)
            else:
                waiting = waits.send(sent)
    except StopIteration as done:
        return done.value


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancellation_at_any_await_leaves_no_connection(
    spanrun_capture: Captured, times: int
) -> None:
    cut = 0
    async with no_leaks():
        with served() as server:
            for step in itertools.count():
                calls = HttpClient(f"{server.url}/v1")
                call = calls.post("/embeddings", BODY)
                task = asyncio.ensure_future(
                    cancelling(range(step, step + times), call)
                )
                await asyncio.wait([task], timeout=PATIENCE)
                await calls.aclose()
                if not task.cancelled():
                    break
                cut += 1
    assert task.result()
    assert cut > 2
    statuses = {span.status for span in spanrun_capture.find("POST")}
    assert statuses == {"UNSET"}
    assert len(spanrun_capture.find("POST")) == cut + 1
    assert not spanrun_capture.unfinished()


async def test_closing_twice_and_using_it_again() -> None:
    async with no_leaks():
        with served() as server:
            calls = HttpClient(f"{server.url}/v1")
            await calls.aclose()
            for _ in range(2):
                assert await calls.post("/embeddings", BODY)
                await calls.aclose()
                await calls.aclose()


async def test_closing_ends_a_request_that_runs() -> None:
    async with no_leaks():
        with served() as server:
            server.spoil_next("hang")
            calls = HttpClient(f"{server.url}/v1")
            request = asyncio.create_task(calls.post("/embeddings", BODY))
            await becomes(lambda: server.stats.requests)
            await calls.aclose()
            with pytest.raises(ServiceError, match="gave no whole answer"):
                await request


async def test_a_proxy_is_not_asked_for_loopback(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    calls = HttpClient(f"{server.url}/v1")
    assert await calls.post("/embeddings", BODY)
    await calls.aclose()


@pytest.mark.parametrize("value", ["socks4://me:hunter2@p:1080", "http://p:0"])
async def test_a_proxy_that_can_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    calls = HttpClient("http://service.test/v1")
    with pytest.raises(ConfigurationError, match=r"^ALL_PROXY=") as caught:
        await calls.post("/embeddings", BODY)
    assert "hunter2" not in str(caught.value)
    await calls.aclose()
