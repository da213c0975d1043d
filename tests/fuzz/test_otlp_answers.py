"""Whatever a receiver answers, an exporter gives an `Outcome`: in time, and in bounds.

Some hundred answers, always the same ones; ``SPANRUN_FUZZ=20000`` makes it so many,
drawn anew each time.
"""

import gzip
import os
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, get_args

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.telemetry.export.raw import hear
from tests.telemetry.export.receiver import spans
from tests.telemetry.export.test_exporters import grpc_exporter, grpc_server

from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.export.outcome import Outcome, Verdict, retry_after

EXAMPLES = int(os.environ.get("SPANRUN_FUZZ", "0"))
TIMEOUT = 0.1
HANGS = 60.0
MEMORY = 64 * 1024 * 1024
REQUEST = spans(range(3))
VERDICTS = get_args(Verdict)


def fuzz(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# --- what is answered

numbers = st.integers(-(2**63), 2**63 - 1)
words = st.text(max_size=20)


def _rejecting(items: int, why: str) -> bytes:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = items
    response.partial_success.error_message = why
    return response.SerializeToString()


def _status(message: str, seconds: int, nanos: int) -> bytes:
    info, packed = RetryInfo(), AnyMessage()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, nanos
    packed.Pack(info)
    return Status(code=8, message=message, details=[packed]).SerializeToString()


def _mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, piece in changes:
        at = place % (len(data) + 1)
        if kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        else:
            data = data[:at] + data[at + len(piece) :]
    return data


changes = st.lists(
    st.tuples(
        st.sampled_from(["cut", "insert", "replace", "drop"]),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from(
            [b"\r\n", b"\r\n\r\n", b"\n", b"0\r\n", b":", b"\0", b"\x1b["]
        ),
    ),
    max_size=3,
)
messages = st.builds(_rejecting, numbers, words) | st.builds(
    _status, words, numbers, st.integers(-(2**31), 2**31 - 1)
)
bodies = st.binary(max_size=60) | st.builds(_mutated, messages, changes)
bodies |= bodies.map(gzip.compress)
bodies |= st.sampled_from([b"{}", b"[" * 9_000, b'{"partialSuccess": 3}', b"<html>"])
bodies |= st.sampled_from([gzip.compress(bytes(40_000_000)), b"\x0a\xff" * 40])
names = st.sampled_from(
    [
        *("content-length", "transfer-encoding", "content-encoding", "content-type"),
        *("connection", "retry-after", "location", "x", ""),
    ]
)
values = st.text(st.characters(max_codepoint=255), max_size=12) | st.sampled_from(
    [
        *("0", "1", "-1", "9" * 30, "chunked", "gzip", "identity", "close"),
        *("application/x-protobuf", "application/json", "text/html; charset"),
        *("http://[::1", "//x", "http://h:port/", "http://[fe80::1%25x]/\u2100"),
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 0 Jan 0000 00:00:00 -0000", "1e9"),
    ]
)
headers = st.lists(st.tuples(names, values), max_size=4)
codes = st.sampled_from([100, 101, 103, 200, 204, 301, 400, 404, 413, 429, 431, 503])


def _answer(
    code: int, reason: str, lines: list[tuple[str, str]], body: bytes, framing: str
) -> bytes:
    if framing == "length":
        lines = [*lines, ("Content-Length", str(len(body)))]
    elif framing == "chunks":
        lines = [*lines, ("Transfer-Encoding", "chunked")]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    start = f"HTTP/1.1 {code} {reason}\r\n{head}\r\n"
    return start.encode("latin-1", "replace") + body


shaped = st.builds(
    _answer,
    codes | st.integers(-1, 1_000),
    words,
    headers,
    bodies,
    st.sampled_from(["length", "chunks", "none"]),
)
redirects = st.builds(
    _answer,
    st.sampled_from([301, 302, 308]),
    words,
    st.tuples(st.just("location"), values).map(lambda line: [line]),
    st.just(b""),
    st.just("length"),
)
answers = st.one_of(
    st.binary(max_size=200),
    shaped,
    redirects,
    st.builds(_mutated, shaped, changes),
    st.lists(shaped, max_size=3).map(b"".join),
)


class Server:
    """Says ``answer`` to each request, and then closes or waits."""

    def __init__(self, listening: socket.socket) -> None:
        self.answer = b""
        self.waits = False
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces"

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                while hear(connection):
                    connection.sendall(self.answer)
                    if not self.waits:
                        break


@contextmanager
def serving() -> Iterator[Server]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as pool,
    ):
        server = Server(listening)
        pool.submit(server.serve, listening)
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def check(send: Callable[[bytes], Outcome], aside: ThreadPoolExecutor) -> None:
    """Have it sent on another thread, which may hang."""
    tracemalloc.start()
    try:
        outcome = aside.submit(send, REQUEST).result(HANGS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert outcome.verdict in VERDICTS
    assert len(outcome.detail) <= 200
    assert outcome.rejected >= 0
    assert outcome.after is None or 0 <= outcome.after <= 3600


@given(answer=answers, waits=st.integers(0, 9).map(lambda number: number == 0))
@fuzz(300)
def test_any_answer_over_http(
    server: Server, aside: ThreadPoolExecutor, answer: bytes, *, waits: bool
):
    server.answer, server.waits = answer, waits
    sending = HttpExporter(
        Destination("traces", "http/protobuf", server.url, timeout=TIMEOUT)
    )
    try:
        for _ in range(1 + waits):  # also over a connection that was left open
            check(sending.send, aside)
    finally:
        sending.close()


whole = st.builds(
    _answer,
    st.sampled_from([200, 202]),
    words.filter(str.isalpha),
    st.just([("content-type", "application/x-protobuf")]),
    st.builds(_rejecting, numbers, words),
    st.sampled_from(["length", "chunks"]),
)


@given(answer=whole, cut=st.integers(0, 10_000))
@fuzz(200)
def test_no_part_of_an_answer_is_one(
    server: Server, aside: ThreadPoolExecutor, answer: bytes, cut: int
):
    sending = HttpExporter(Destination("traces", "http/protobuf", server.url))
    server.waits = False
    for size, delivered in ((cut % len(answer), False), (len(answer), True)):
        server.answer = answer[:size]
        outcome = aside.submit(sending.send, REQUEST).result(HANGS)
        assert (outcome.verdict == "delivered") is delivered
    sending.close()


@pytest.fixture(scope="module")
def called() -> Iterator[tuple[dict[str, Any], Any]]:
    """A gRPC server that answers as it is told, and an exporter to it."""
    told: dict[str, Any] = {}

    def export(_: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(told["trailers"])
        if told["code"] is not grpc.StatusCode.OK:
            context.abort(told["code"], told["why"])
        return bytes(told["body"])

    with grpc_server(export) as url:
        sending = grpc_exporter(url, timeout=20.0)
        yield told, sending
        sending.close()


trailers = st.lists(
    st.tuples(
        st.sampled_from(["grpc-status-details-bin", "google.rpc.retryinfo-bin"]),
        st.binary(max_size=40) | st.builds(_mutated, messages, changes),
    ),
    max_size=2,
)


@given(
    code=st.sampled_from(list(grpc.StatusCode)),
    why=words,
    details=trailers,
    body=bodies,
)
@fuzz(100)
def test_any_answer_over_grpc(
    called: Any,
    aside: ThreadPoolExecutor,
    code: grpc.StatusCode,
    why: str,
    details: list[tuple[str, bytes]],
    body: bytes,
):
    told, sending = called
    told.update(code=code, why=why, trailers=tuple(details), body=body)
    check(sending.send, aside)


@given(value=st.text(max_size=40) | values)
@fuzz(300)
def test_any_retry_after(value: str):
    seconds = retry_after(value)
    assert seconds is None or 0 <= seconds <= 3600
