"""The clients' own connections: HTTP/1.1 and 2, TLS, reuse, and what goes wrong."""

import asyncio
import gc
import gzip
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.clients.conformance import Faulty, counting_awaits
from tests.clients.h2_server import h2_serving
from tests.waiting import PATIENCE, becomes, turns

from spanrun.clients import _network
from spanrun.clients._network import Network, dial
from spanrun.clients.http import HttpClient, transient
from spanrun.errors import ServiceError
from spanrun.testing import Captured, FakeClock, no_leaks
from spanrun.testing._http import Answer

LOST = "can't be reached|gave no whole answer"

GOOD = b'{"a": 1}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n'
)
PARTS = [f"spanrun.http.time.{part}" for part in ("pool", "connect", "tls")] + [
    f"spanrun.http.time.{part}" for part in ("send", "wait", "receive")
]


@asynccontextmanager
async def client(port: int, **options: Any) -> AsyncIterator[HttpClient]:
    scheme = "https" if "tls" in options else "http"
    made = HttpClient(f"{scheme}://127.0.0.1:{port}/v1", **options)
    try:
        yield made
    finally:
        await made.aclose()


def links(calls: HttpClient) -> set[Any]:
    """The connections that are open."""
    pool = calls._own._inner._direct  # type: ignore[attr-defined]
    return set(pool._open) if pool else set()


def parts(span: Any) -> dict[str, float]:
    """The parts of the time that are on ``span``, by their last name."""
    found = {key: span.attributes[key] for key in PARTS if key in span.attributes}
    return {key.rpartition(".")[2]: seconds for key, seconds in found.items()}


# HTTP/1.1


@asynccontextmanager
async def raw(*answers: bytes) -> AsyncIterator[int]:
    """Gives one of ``answers`` on each connection, and closes it."""
    waiting = list(answers)
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        await reader.read(65536)
        writer.write(waiting.pop(0))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*filter(None, serving))


async def test_connections_are_used_again() -> None:
    async with no_leaks():
        with Faulty(GOOD) as server:
            async with client(int(server.url[17:])) as calls:
                for _ in range(5):
                    await calls.post("/x", {})
                assert server.connections == 1
                for _ in range(3):
                    await asyncio.gather(*(calls.post("/x", {}) for _ in range(10)))
                assert server.connections <= 10


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
    two = raw(head + GOOD, head + GOOD)
    async with no_leaks(), two as port, client(port) as calls:
        assert await calls.post("/x", {}) == {"a": 1}
        await becomes(lambda: all(link.stream.ended for link in links(calls)))
        assert await calls.post("/x", {}) == {"a": 1}


async def test_the_connection_that_waited_too_long_is_closed() -> None:
    async with no_leaks():
        with Faulty(GOOD) as server:
            async with client(int(server.url[17:])) as calls:
                await asyncio.gather(calls.post("/x", {}), calls.post("/x", {}))
                for link in links(calls):
                    link.http._expire_at -= 31
                await calls.post("/x", {})
                assert server.connections == 3
                assert len(links(calls)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED,
        b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
        + GOOD,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(GOOD),
    ],
    ids=["chunked", "until-closed", "1.0", "continue", "gzip"],
)
async def test_answers_of_other_forms_are_read(answer: bytes) -> None:
    async with no_leaks(), raw(answer) as port, client(port) as calls:
        assert await calls.post("/x", {}) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000,
        b"HTTP/1.1 200",
    ],
    ids=["none", "words", "colon", "length", "short", "chunk", "flood", "cut"],
)
async def test_what_is_no_answer_is_a_lost_connection(answer: bytes) -> None:
    async with no_leaks(), raw(answer) as port, client(port) as calls:
        with pytest.raises(ServiceError, match=LOST) as raised:
            await calls.post("/x", {})
        assert transient(raised.value)


async def test_large_bodies_go_both_ways() -> None:
    async with no_leaks():
        big = b'"' + b"x" * 5_000_000 + b'"'
        with Faulty(big) as server:
            async with client(int(server.url[17:])) as calls:
                assert len(await calls.post("/x", {"a": "y" * 5_000_000})) == 5_000_000
            assert len(server.requests[0].body) > 5_000_000


async def test_a_server_that_reads_nothing_makes_the_sender_wait() -> None:
    gone = asyncio.Event()

    async def stuck(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.transport.abort()

    async with no_leaks():
        server = await asyncio.start_server(stuck, "127.0.0.1", 0, limit=1)
        async with server, client(server.sockets[0].getsockname()[1]) as calls:
            sending = asyncio.ensure_future(calls.post("/x", {"a": "y" * 30_000_000}))
            await becomes(
                lambda: any(
                    not link.stream._wire.writable.is_set() for link in links(calls)
                )
            )
            assert not sending.done()
            gone.set()
            with pytest.raises(ServiceError, match=LOST):
                await sending
            await turns()


# HTTP/2


async def test_over_http_2_all_share_one_connection(spanrun_capture: Captured) -> None:
    async with no_leaks(), h2_serving(GOOD) as (server, port):
        async with client(port, http2=True) as calls:
            answers = await asyncio.gather(*(calls.post("/x", {}) for _ in range(150)))
        assert answers == [{"a": 1}] * 150
        assert len(server.connections) == 1
    spans = spanrun_capture.find("POST")
    assert {span.attributes["network.protocol.version"] for span in spans} == {"2"}
    assert sum("connect" in parts(span) for span in spans) == 1
    for span in spans:
        assert sum(parts(span).values()) <= span.duration


async def test_over_http_2_large_bodies_go_both_ways() -> None:
    big = b'"' + b"x" * 2_000_000 + b'"'
    async with no_leaks(), h2_serving(big) as (server, port):
        async with client(port, http2=True) as calls:
            two = (calls.post("/x", {"a": "y" * 2_000_000}) for _ in range(2))
            assert [len(text) for text in await asyncio.gather(*two)] == [2_000_000] * 2
        assert server.received > 4_000_000


async def test_over_http_2_a_cancelled_request_harms_no_other() -> None:
    async with (
        no_leaks(),
        h2_serving(GOOD) as (server, port),
        client(port, http2=True) as calls,
    ):
        server.unanswered = {1}
        asking = [asyncio.ensure_future(calls.post("/x", {})) for _ in range(3)]
        await server.asked(3)
        asking[0].cancel()
        first, *others = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert others == [{"a": 1}] * 2
        assert await calls.post("/x", {}) == {"a": 1}
        assert len(server.connections) == 2


async def test_over_http_2_a_cancellation_at_any_await_harms_no_other() -> None:
    async with (
        no_leaks(),
        h2_serving(GOOD) as (_, port),
        client(port, http2=True) as calls,
    ):
        for step in range(1_000):
            awaits = 0
            victim: asyncio.Task[Any] | None = None

            def tick() -> None:
                nonlocal awaits
                if asyncio.current_task() is victim:  # noqa: B023 -- of this round
                    awaits += 1
                    if awaits > step and victim is not None:  # noqa: B023 -- the same
                        victim.cancel()  # noqa: B023 -- the same

            others = [asyncio.ensure_future(calls.post("/x", {})) for _ in range(2)]
            with counting_awaits(tick):
                victim = asyncio.ensure_future(calls.post("/x", {}))
                await asyncio.wait([victim], timeout=PATIENCE)
            assert await asyncio.gather(*others) == [{"a": 1}] * 2
            if not victim.cancelled():
                break
    assert victim is not None
    assert victim.result() == {"a": 1}
    assert step > 3


async def test_over_http_2_a_server_that_goes_away_is_connected_to_again() -> None:
    async with no_leaks(), h2_serving(GOOD) as (server, port):
        server.goes_away = True
        async with client(port, http2=True) as calls:
            for _ in range(3):
                assert await calls.post("/x", {}) == {"a": 1}
        assert len(server.connections) == 3


async def test_over_http_2_a_connection_that_has_ended_is_not_used() -> None:
    async with no_leaks(), h2_serving(GOOD) as (server, port):
        async with client(port, http2=True) as calls:
            assert await calls.post("/x", {}) == {"a": 1}
            server.connections[0].close()
            (link,) = links(calls)
            await becomes(lambda: link.stream.ended)
            assert await calls.post("/x", {}) == {"a": 1}
        assert len(server.connections) == 2


async def test_over_http_2_a_server_that_speaks_1_1_alone_is_an_error() -> None:
    async with no_leaks():
        with Faulty(GOOD) as server:
            async with client(int(server.url[17:]), http2=True) as calls:
                with pytest.raises(ServiceError, match=LOST):
                    await calls.post("/x", {})


async def test_over_http_2_closing_ends_a_request_that_runs() -> None:
    async with no_leaks(), h2_serving(GOOD) as (server, port):
        server.unanswered = {1, 2}
        async with client(port, http2=True) as calls:
            asking = [asyncio.ensure_future(calls.post("/x", {})) for _ in range(2)]
            await server.asked(2)
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(end, ServiceError) for end in ends)


# TLS, with certificates made by the openssl on the path


@pytest.mark.parametrize("offered", [["h2"], ["h2", "http/1.1"]])
async def test_http_2_is_spoken_where_the_server_offers_it(
    server_tls: ssl.SSLContext,
    trusting: ssl.SSLContext,
    spanrun_capture: Captured,
    offered: list[str],
) -> None:
    server_tls.set_alpn_protocols(offered)
    async with (
        no_leaks(),
        h2_serving(GOOD, server_tls) as (_, port),
        client(port, http2=True, tls=trusting) as calls,
    ):
        assert await calls.post("/x", {}) == {"a": 1}
        assert await calls.post("/x", {}) == {"a": 1}
    first, second = spanrun_capture.find("POST")
    assert first.attributes["network.protocol.version"] == "2"
    assert {"pool", "connect", "tls", "send", "wait", "receive"} == parts(first).keys()
    assert parts(second).keys() == {"pool", "send", "wait", "receive"}
    assert sum(parts(first).values()) <= first.duration


async def test_http_1_1_is_spoken_where_the_server_offers_no_other(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext, spanrun_capture: Captured
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n" + GOOD)
        await writer.drain()
        await reader.read()
        writer.close()

    async with no_leaks():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
        async with (
            server,
            client(
                server.sockets[0].getsockname()[1], http2=True, tls=trusting
            ) as calls,
        ):
            assert await calls.post("/x", {}) == {"a": 1}
        await turns()
    span = spanrun_capture.span("POST")
    assert span.attributes["network.protocol.version"] == "1.1"


async def test_a_certificate_that_is_not_trusted_is_refused_for_good(
    server_tls: ssl.SSLContext,
) -> None:
    async with no_leaks(), h2_serving(GOOD, server_tls) as (server, port):
        async with client(port, tls=ssl.create_default_context()) as calls:
            with pytest.raises(ServiceError, match="CERTIFICATE_VERIFY") as error:
                await calls.post("/x", {})
            assert not transient(error.value)
        assert not server.requests


async def test_no_tls_where_tls_is_expected_is_an_error(
    trusting: ssl.SSLContext,
) -> None:
    async with (
        no_leaks(),
        raw(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        client(port, tls=trusting) as calls,
    ):
        with pytest.raises(ServiceError, match="can't be reached"):
            await calls.post("/x", {})


# Connecting


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the next host have these ports of 127.0.0.1 as its addresses."""

    def give(*ports: int) -> None:
        async def resolve(*_: object) -> list[Any]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(_network, "_resolve", resolve)

    return give


def listening(backlog: int = 8) -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    made.setblocking(False)  # noqa: FBT003 -- the standard library's own
    return made


async def test_the_next_address_is_taken_where_the_first_refuses(
    resolved: Callable[..., None],
) -> None:
    async with no_leaks():
        with socket.socket() as dead, listening() as alive:
            dead.bind(("127.0.0.1", 0))
            port = alive.getsockname()[1]
            resolved(dead.getsockname()[1], port)
            with await dial("host", 0) as made:
                assert made.getpeername()[1] == port


async def test_the_next_address_is_tried_while_the_first_is_silent(
    resolved: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = _network._connect

    async def slowly(loop: Any, address: Any) -> socket.socket:
        if address[4][1] == 1:
            await asyncio.Event().wait()
        return await connect(loop, address)

    monkeypatch.setattr(_network, "_connect", slowly)
    async with no_leaks():
        with listening() as alive:
            port = alive.getsockname()[1]
            resolved(1, port)
            began = time.monotonic()
            with await dial("host", 0) as made:
                assert made.getpeername()[1] == port
            assert time.monotonic() - began >= 0.2


async def test_where_no_address_answers_the_first_error_stands(
    resolved: Callable[..., None],
) -> None:
    async with no_leaks():
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            resolved(one.getsockname()[1], two.getsockname()[1])
            with pytest.raises(ConnectionRefusedError):
                await dial("host", 0)


@pytest.mark.parametrize("addresses", [1, 2, 3])
async def test_cancelled_while_it_connects_it_leaves_no_socket(
    resolved: Callable[..., None], addresses: int
) -> None:
    async with no_leaks():
        with listening(64) as alive:
            resolved(*[alive.getsockname()[1]] * addresses)
            for turns in range(12):
                task = asyncio.ensure_future(dial("host", 0))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result().close()


async def test_a_host_without_an_address_is_a_lost_connection() -> None:
    calls = HttpClient("http://no-such-host.invalid")
    with pytest.raises(ServiceError, match="can't be reached"):
        await calls.post("/x", {})
    await calls.aclose()


async def test_closed_while_it_connects_it_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = asyncio.Event()

    connect = Network.connect_tcp

    async def slowly(*args: Any) -> Any:
        made = await connect(*args)
        going.set()
        await turns()  # the client is closed meanwhile
        return made

    monkeypatch.setattr(Network, "connect_tcp", slowly)
    async with no_leaks():
        with Faulty(GOOD) as server:
            async with client(int(server.url[17:])) as calls:
                asking = asyncio.ensure_future(calls.post("/x", {}))
                await going.wait()
            with pytest.raises(ServiceError, match="the client was closed"):
                await asking
            await server.accepted()


async def test_a_stream_may_be_closed_by_many_at_once() -> None:
    async with no_leaks():
        with Faulty(GOOD) as server:
            stream = await Network().connect_tcp("127.0.0.1", int(server.url[17:]))
            await server.accepted()
            await asyncio.wait_for(
                asyncio.gather(*(stream.aclose() for _ in range(3))), timeout=PATIENCE
            )


def test_a_client_that_nobody_holds_is_gone() -> None:
    calls = HttpClient("http://127.0.0.1:9")
    assert calls._place("/x")[1] == "127.0.0.1:9/x"
    gone = weakref.ref(calls)
    del calls
    gc.collect()
    assert gone() is None


# Where the time went


async def test_the_parts_of_the_time_are_where_it_was_spent(
    fake_clock: FakeClock, spanrun_capture: Captured
) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"{}")
            await asyncio.sleep(0.1)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n" + GOOD[:4])
            await asyncio.sleep(0.2)
            writer.write(GOOD[4:])
        await reader.read()
        writer.close()

    async with no_leaks():
        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        async with server, client(server.sockets[0].getsockname()[1]) as calls:
            await calls.post("/x", {})
            await calls.post("/x", {})
        await turns()
    first, second = spanrun_capture.find("POST")
    assert parts(first).keys() == {"pool", "connect", "send", "wait", "receive"}
    assert parts(second).keys() == {"pool", "send", "wait", "receive"}
    for span in (first, second):
        found = parts(span)
        assert found.pop("wait") == pytest.approx(0.1)
        assert found.pop("receive") == pytest.approx(0.2)
        assert set(found.values()) == {0}
        assert span.duration == pytest.approx(0.3)


async def test_a_failed_request_tells_where_it_was(spanrun_capture: Captured) -> None:
    async with no_leaks():
        with Faulty(GOOD) as server:
            server.answers.append(Answer(200, delivery="hang"))
            async with client(int(server.url[17:])) as calls:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(calls.post("/x", {}), 0.2)
                server.answers.append(Answer(503))
                with pytest.raises(ServiceError):
                    await calls.post("/x", {})
    hung, refused = spanrun_capture.find("POST")
    assert parts(hung)["wait"] > 0.1
    assert sum(parts(hung).values()) <= hung.duration
    assert "receive" in parts(refused)
