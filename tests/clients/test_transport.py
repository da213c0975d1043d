"""`Transport` under anybody's `httpx.AsyncClient`: what httpx does works as before."""

import asyncio
import functools
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpcore
import httpx
import pytest
from tests.clients.conformance import Faulty, counting_awaits
from tests.clients.h2_server import h2_serving
from tests.clients.scripted import answer, scripted
from tests.waiting import becomes, turns

from spanrun.clients import Embeddings, Transport
from spanrun.errors import ConfigurationError, EmbeddingError
from spanrun.testing import Captured, no_leaks
from spanrun.testing._http import Answer

GOOD = b'{"a": 1}'


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client; options that begin with ``client_`` are its own."""
    own = {key[7:]: value for key, value in options.items() if key[:7] == "client_"}
    ours = {key: value for key, value in options.items() if key[:7] != "client_"}
    async with httpx.AsyncClient(transport=Transport(**ours), **own) as made:
        yield made


def nothing_left(test: Callable[..., Any]) -> Callable[..., Any]:
    """``test``, which leaves no socket and no task."""

    @functools.wraps(test)
    async def checked(*args: Any, **kwargs: Any) -> None:
        async with no_leaks():
            await test(*args, **kwargs)
            await turns()

    return checked


# Hosts


@nothing_left
async def test_a_host_is_never_answered_by_another_ones_connection() -> None:
    """Today's pool under an `httpx.AsyncClient` answered from A, asked for B."""
    with Faulty(b"of A") as one, Faulty(b"of B") as two:
        async with client() as calls:
            for _ in range(3):
                assert (await calls.get(one.url)).text == "of A"
                assert (await calls.get(two.url)).text == "of B"
            many = [one.url, two.url] * 16
            answers = await asyncio.gather(*(calls.get(url) for url in many))
            assert [each.text for each in answers] == ["of A", "of B"] * 16
        hosts = {request.headers["host"] for request in one.requests}
        assert hosts == {one.url.removeprefix("http://")}


@nothing_left
async def test_the_connection_used_last_is_taken_first() -> None:
    with Faulty(GOOD) as server:
        async with client() as calls:
            await asyncio.gather(*(calls.get(server.url) for _ in range(5)))
            opened = server.connections
            for _ in range(10):
                await calls.get(server.url)
            assert server.connections == opened <= 5


@nothing_left
async def test_what_is_no_http_is_refused() -> None:
    async with client() as calls:
        with pytest.raises(httpx.UnsupportedProtocol):
            await calls.get("ftp://127.0.0.1/x")


@nothing_left
async def test_a_refused_connection_names_the_address() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with client() as calls:
            with pytest.raises(httpx.ConnectError, match=rf"127\.0\.0\.1.*{port}"):
                await calls.get(f"http://127.0.0.1:{port}")


# What httpx does


@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@nothing_left
async def test_verbs(spanrun_capture: Captured, verb: str) -> None:
    body = b"" if verb == "HEAD" else GOOD
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
    async with scripted(head + body) as server, client() as calls:
        for _ in range(2):
            response = await calls.request(verb, server.url)
            assert (response.status_code, response.content) == (200, body)
        assert [each.method for each in server.requests] == [verb] * 2
    assert len(spanrun_capture.find(verb)) == 2


@nothing_left
async def test_a_verb_of_nobodys_is_no_name_of_a_span(
    spanrun_capture: Captured,
) -> None:
    async with scripted(answer("{}")) as server, client() as calls:
        await calls.request("BREW", server.url)
    span = spanrun_capture.span("HTTP")
    assert span.attributes["http.request.method"] == "_OTHER"


@nothing_left
async def test_redirects_cookies_auth_and_hooks(spanrun_capture: Captured) -> None:
    seen: list[str] = []

    async def sent(request: httpx.Request) -> None:
        seen.append(request.url.path)

    with Faulty(GOOD) as server:
        server.answers.append(
            Answer(302, headers={"location": "/next", "set-cookie": "id=7"})
        )
        async with client(
            client_follow_redirects=True,
            client_auth=("user", "word"),
            client_event_hooks={"request": [sent]},
        ) as calls:
            assert (await calls.get(f"{server.url}/first")).json() == {"a": 1}
            assert calls.cookies["id"] == "7"
        _, second = server.requests
        assert second.headers["cookie"] == "id=7"
        assert second.headers["authorization"].startswith("Basic ")
    assert seen == ["/first", "/next"]
    first, last = spanrun_capture.find("GET")
    assert first.attributes["http.response.status_code"] == 302
    assert (first.status, last.status) == ("UNSET", "UNSET")
    assert "http.request.resend_count" not in first.attributes
    assert last.attributes["http.request.resend_count"] == 1
    told = [request.headers["traceparent"] for request in server.requests]
    assert [each.split("-")[2] for each in told] == [
        f"{span.span_id:016x}" for span in (first, last)
    ]


@nothing_left
async def test_a_stream_is_read_as_it_comes(spanrun_capture: Captured) -> None:
    go_on = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n" + GOOD[:4])
        await go_on.wait()
        writer.write(GOOD[4:])

    async with (
        scripted(slowly) as server,
        client() as calls,
        calls.stream("GET", server.url) as response,
    ):
        parts = response.aiter_raw()
        assert await anext(parts) == GOOD[:4]
        assert not spanrun_capture.find("GET")  # it hasn't ended
        go_on.set()
        assert [part async for part in parts] == [GOOD[4:]]
    assert spanrun_capture.span("GET").attributes["http.response.body.size"] == 8


@nothing_left
async def test_a_stream_that_is_left_gives_no_connection_back() -> None:
    big = answer(b"x" * 1_000_000)
    async with scripted(big, answer(GOOD)) as server, client() as calls:
        async with calls.stream("GET", server.url) as response:
            await anext(response.aiter_raw(10))
        assert (await calls.get(server.url)).json() == {"a": 1}


@nothing_left
async def test_a_body_may_be_sent_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"chunked" in await reader.readuntil(b"\r\n\r\n")
        got.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(answer(GOOD))
        await reader.read()
        writer.close()

    got: list[bytes] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as calls:
        port = server.sockets[0].getsockname()[1]
        await calls.post(f"http://127.0.0.1:{port}", content=parts())
    assert got == [b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"]


# Limits


@nothing_left
async def test_no_more_requests_at_once_than_the_limit() -> None:
    with Faulty(GOOD) as server:
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=2)
        async with client(limits=limits) as calls:
            await asyncio.gather(*(calls.get(server.url) for _ in range(20)))
        assert server.connections == 2


@nothing_left
async def test_who_waits_too_long_for_a_place_is_told() -> None:
    with Faulty(GOOD) as server:
        server.answers.append(Answer(200, delivery="hang"))
        limits = httpx.Limits(max_connections=1)
        waits = httpx.Timeout(None, pool=0.01)
        async with client(limits=limits, client_timeout=waits) as calls:
            first = asyncio.ensure_future(calls.get(server.url))
            await server.asked()
            with pytest.raises(httpx.PoolTimeout):
                await calls.get(server.url)
            first.cancel()
            await asyncio.wait([first])
            assert (await calls.get(server.url, timeout=None)).json() == {"a": 1}


@nothing_left
async def test_idle_connections_are_closed_beyond_the_limit() -> None:
    with Faulty(GOOD) as server:
        limits = httpx.Limits(max_keepalive_connections=1)
        async with client(limits=limits) as calls:
            await asyncio.gather(*(calls.get(server.url) for _ in range(5)))
            pool: Any = calls._transport
            assert len(pool._inner._direct._open) == 1


# Time


@nothing_left
async def test_httpx_own_timeouts_fire() -> None:
    with Faulty(GOOD) as server:
        server.answers.append(Answer(200, delivery="hang"))
        async with client(client_timeout=httpx.Timeout(None, read=0.01)) as calls:
            with pytest.raises(httpx.ReadTimeout):
                await calls.get(server.url)
            assert (await calls.get(server.url, timeout=None)).json() == {"a": 1}


@pytest.mark.parametrize("where", ["head", "body"])
@nothing_left
async def test_the_total_fires_on_a_server_that_drips(
    spanrun_capture: Captured, where: str
) -> None:
    """httpx's own timeouts never do."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        if where == "body":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.005)

    async with scripted(drip, answer(GOOD)) as server, client(total=0.1) as calls:
        with pytest.raises(httpx.ReadTimeout, match=r"no whole answer within 0\.1 s"):
            await calls.get(server.url)
        assert not calls._transport._inner._direct._open  # type: ignore[attr-defined]
    span = spanrun_capture.span("GET")
    assert (span.status, span.attributes["error.type"]) == (
        "ERROR",
        "httpx.ReadTimeout",
    )


# Answers


@pytest.mark.parametrize("coding", ["gzip", ""])
@nothing_left
async def test_an_answer_is_bounded_unpacked(coding: str) -> None:
    body = b" " * 100_000
    sent = gzip.compress(body) if coding else body
    headers = {"Content_Encoding": coding} if coding else {}
    async with (
        scripted(answer(sent, **headers)) as server,
        client(max_bytes=1_000) as calls,
    ):
        with pytest.raises(httpx.DecodingError, match="larger than 1000 bytes"):
            await calls.get(server.url)
    async with (
        scripted(answer(sent, **headers)) as server,
        client(max_bytes=100_000) as calls,
    ):
        assert (await calls.get(server.url)).content == body
        assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


@nothing_left
async def test_a_failed_answer_is_on_the_span(spanrun_capture: Captured) -> None:
    async with scripted(answer("no", "404 Not Found")) as server, client() as calls:
        assert (await calls.get(server.url)).status_code == 404
    span = spanrun_capture.span("GET")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "404")


@nothing_left
async def test_one_that_closes_at_once_is_an_error_and_not_asked_again() -> None:
    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted(close, answer(GOOD)) as server, client() as calls:
        with pytest.raises(httpx.RemoteProtocolError):
            await calls.get(server.url)
        assert len(server.requests) == 1
        assert (await calls.get(server.url)).json() == {"a": 1}


@nothing_left
async def test_the_users_trace_is_told_as_well(spanrun_capture: Captured) -> None:
    events: list[str] = []

    async def trace(event: str, _: object) -> None:
        events.append(event)

    with Faulty(GOOD) as server:
        async with client() as calls:
            await calls.get(server.url, extensions={"trace": trace})
    assert "connection.connect_tcp.complete" in events
    assert "http11.receive_response_headers.complete" in events
    assert "spanrun.http.time.wait" in spanrun_capture.span("GET").attributes


# Cancellation


@pytest.mark.parametrize("step_of", ["connecting", "asking"])
@nothing_left
async def test_cancelled_at_each_await_it_leaves_no_broken_connection(
    spanrun_capture: Captured, step_of: str
) -> None:
    cancelled = 0
    with Faulty(GOOD) as server:
        for step in range(1_000):
            async with client() as calls:
                if step_of == "asking":
                    await calls.get(server.url)
                asking = await cancelled_at(step, calls.post(server.url, json={}))
                assert (await calls.get(server.url)).json() == {"a": 1}
                pool: Any = calls._transport
                assert len(pool._inner._direct._open) == 1
            if not asking.cancelled():
                break
            cancelled += 1
    assert asking.result().json() == {"a": 1}
    assert cancelled >= (3 if step_of == "connecting" else 1)
    assert not spanrun_capture.unfinished()


def test_the_lock_that_is_left_out_is_still_called_so() -> None:
    origin = httpcore.Origin(b"http", b"localhost", 80)
    made = httpcore.AsyncHTTP11Connection(origin, httpcore.AsyncMockStream([]))
    assert "_state_lock" in vars(made)  # else a request costs a tenth more


async def cancelled_at(step: int, asked: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run it, and cancel it where it waits for the time after this number."""
    awaits = 0
    asking: asyncio.Task[Any] | None = None

    def tick() -> None:
        nonlocal awaits
        awaits += asyncio.current_task() is asking
        if awaits > step and asking is not None:
            asking.cancel()

    with counting_awaits(tick):
        asking = asyncio.ensure_future(asked)
        await asyncio.wait([asking])
    return asking


# TLS and HTTP/2


@nothing_left
async def test_a_private_ca(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer(GOOD))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        async with client(tls=trusting) as calls:
            for _ in range(2):
                assert (await calls.get(url)).json() == {"a": 1}
        async with client() as calls:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY"):
                await calls.get(url)


@nothing_left
async def test_http_2_shares_one_connection(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server_tls.set_alpn_protocols(["h2"])
    async with (
        h2_serving(GOOD, server_tls) as (server, port),
        client(http2=True, tls=trusting) as calls,
    ):
        url = f"https://127.0.0.1:{port}"
        answers = await asyncio.gather(*(calls.get(url) for _ in range(50)))
        assert {each.http_version for each in answers} == {"HTTP/2"}
        assert len(server.connections) == 1


# Proxies


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A proxy: forwards bytes to whom ``CONNECT`` names."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    assert b"Proxy-Authorization: Basic dTp3b3Jk" in head
    there, to_there = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            to.write(data)
        to.close()

    await asyncio.gather(copy(reader, to_there), copy(there, writer))


@nothing_left
async def test_a_proxys_tunnel(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server_tls.set_alpn_protocols(["h2"])
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    place = f"http://u:word@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    async with proxy, h2_serving(GOOD, server_tls) as (server, port):
        async with client(proxy=place, tls=trusting, http2=True) as calls:
            for _ in range(2):
                assert (await calls.get(f"https://127.0.0.1:{port}")).json() == {"a": 1}
        await becomes(lambda: all(each.is_closing() for each in server.connections))


@nothing_left
async def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(answer(GOOD)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        async with client() as calls:
            assert (await calls.get("http://service.example/x")).json() == {"a": 1}
        assert proxy.requests[0].path == "http://service.example/x"


# Under `Embeddings`


VECTOR = b'{"data": [{"index": 0, "embedding": [1.0, 2.0]}]}'


@nothing_left
async def test_a_clients_own_settings_count(spanrun_capture: Captured) -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    with Faulty(VECTOR) as server:
        server.answers.append(Answer(307, headers={"location": "/moved"}))
        async with client(
            client_headers={"x-team": "search"},
            client_follow_redirects=True,
            client_event_hooks={"response": [read]},
        ) as calls:
            made = Embeddings(f"{server.url}/v1", model="m", http_client=calls)
            assert await made.aget_text_embedding("a") == [1.0, 2.0]
            await made.aclose()
            assert not calls.is_closed
        assert server.requests[1].path == "/moved"
        assert server.requests[1].headers["x-team"] == "search"
    assert len(spanrun_capture.find("POST")) == 2


@nothing_left
async def test_a_client_with_httpx_own_transport_tells_the_trace() -> None:
    with Faulty(VECTOR) as server:
        async with (
            httpx.AsyncClient() as calls,
            Embeddings(f"{server.url}/v1", model="m", http_client=calls) as made,
        ):
            assert await made.aget_text_embedding("a") == [1.0, 2.0]


@nothing_left
async def test_too_many_redirects_are_the_services_error() -> None:
    async with (
        scripted(answer("", "307 Moved", Location="/again")) as server,
        client(client_follow_redirects=True) as calls,
        Embeddings(server.url, model="m", retry=None, http_client=calls) as made,
    ):
        with pytest.raises(EmbeddingError, match="redirects"):
            await made.aget_text_embedding("a")


def test_what_is_the_clients_own_is_given_to_its_transport() -> None:
    with pytest.raises(ConfigurationError, match="give them to its Transport"):
        Embeddings(
            "http://h/v1", model="m", http_client=httpx.AsyncClient(), http2=True
        )


@pytest.mark.parametrize(
    "option",
    [
        {"http2": True},
        {"tls": ssl.create_default_context()},
        {"proxy": ""},
        {"trust_env": False},
        {"limits": httpx.Limits()},
    ],
    ids=min,
)
def test_what_another_transport_would_have_to_do_is_refused(
    option: dict[str, Any],
) -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(200))
    with pytest.raises(ConfigurationError, match=f"{min(option)}=…"):
        Transport(transport=other, **option)
    Transport(transport=other, total=1, max_bytes=1)


def test_a_proxy_that_is_refused_keeps_its_password() -> None:
    with pytest.raises(ConfigurationError, match="proxy=") as raised:
        Transport(proxy="ftp://user:hunter22@proxy:3128")
    assert "hunter22" not in str(raised.value)


@nothing_left
async def test_it_opens_anew_on_another_loop() -> None:
    with Faulty(GOOD) as server:
        calls = httpx.AsyncClient(transport=Transport())

        def once() -> Any:
            return asyncio.run(calls.get(server.url)).json()

        for _ in range(2):
            assert await asyncio.to_thread(once) == {"a": 1}
        assert server.connections == 2
