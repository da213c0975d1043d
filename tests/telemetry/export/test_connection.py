"""An answer that isn't whole is none, however it was cut."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.telemetry.export.raw import hear, saying
from tests.telemetry.export.receiver import receiving, spans
from tests.waiting import until

from spanrun.telemetry.export import stream
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.export.outcome import Outcome
from spanrun.telemetry.export.response import MAX_BODY
from spanrun.telemetry.export.stream import bound
from spanrun.telemetry.export.tls import TlsFiles

PROTOBUF = b"content-type: application/x-protobuf\r\n"


def rejecting(items: int, why: str = "") -> bytes:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = items
    response.partial_success.error_message = why
    return response.SerializeToString()


BODY = rejecting(3, "too old, all of them")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def sized(body: bytes, more: bytes = b"", *, size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (more, length, body)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\n" + PROTOBUF + b"transfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + end


def ask(url: str, **options: Any) -> Outcome:
    sending = HttpExporter(Destination("traces", "http/protobuf", url, **options))
    try:
        return sending.send(spans([1]))
    finally:
        sending.close()


WHOLE = {
    "no body": OK,
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a length": sized(BODY, PROTOBUF),
    "chunks": chunked(BODY[:5], BODY[5:]),
    "chunks with an extension and a trailer": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0;x=y\r\nexpires: never\r\n\r\n"
    ),
    "HTTP/1.0 until the end": b"HTTP/1.0 200 OK\r\n" + PROTOBUF + b"\r\n" + BODY,
    "HTTP/1.1 until the end": b"HTTP/1.1 200 OK\r\n" + PROTOBUF + b"\r\n" + BODY,
    "gzip": sized(gzip.compress(BODY), PROTOBUF + b"content-encoding: gzip\r\n"),
    "behind interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\n" + OK
    ),
    "words": sized(b"\xffokay"),
    "words said to be HTML": sized(b"ok", b"content-type: text/html\r\n"),
    "JSON": sized(
        b'{"partialSuccess":{"rejectedSpans":"3"}, "more": 1}',
        b"content-type: application/json\r\n",
    ),
    "JSON that isn't any": sized(b"ok", b"content-type: application/json\r\n"),
}
REJECTING = {"a length", "chunks", "gzip", "JSON"}
REJECTING |= {"HTTP/1.0 until the end", "HTTP/1.1 until the end"}
CUT = {
    "nothing": b"",
    "within the status": b"HTTP/1.1 20",
    "behind the status": b"HTTP/1.1 200 OK\r\n",
    "within the name of a header": b"HTTP/1.1 200 OK\r\ncontent-le",
    "within its value": b"HTTP/1.1 200 OK\r\ncontent-length: 2",
    "before the empty line": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
    "within the empty line": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r",
    "within the body": sized(BODY, PROTOBUF)[:-1],
    "a length that lies": sized(b"", size=7),
    "a length that isn't one": OK.replace(b": 0", b": all"),
    "a length below zero": OK.replace(b": 0", b": -1"),
    "a length with too many digits": OK.replace(b": 0", b": " + b"9" * 5000),
    "two lengths": OK.replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n"),
    "without any chunk": chunked(end=b""),
    "within a chunk": chunked(end=b"1d\r\n" + BODY[:5]),
    "before the last chunk": chunked(BODY, end=b""),
    "within the last chunk": chunked(BODY, end=b"0"),
    "a chunk of no size": chunked(end=b"here\r\n"),
    "another coding": OK.replace(b"content-length: 0", b"transfer-encoding: gzip"),
    "within gzip": sized(
        gzip.compress(BODY)[:-3], PROTOBUF + b"content-encoding: gzip\r\n"
    ),
    "gzip that isn't": sized(BODY, PROTOBUF + b"content-encoding: gzip\r\n"),
    "packed otherwise": sized(BODY, PROTOBUF + b"content-encoding: br\r\n"),
    "protobuf that isn't": sized(b"\xff" + BODY, PROTOBUF),
    "protobuf cut, HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + PROTOBUF + b"\r\n" + BODY[:-1],
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "HTTP/2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\x10\0\0\0\6\0\0\x40\0",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_one(name: str):
    with saying(WHOLE[name]) as server:
        outcome = ask(server.url)
    assert (outcome.verdict, outcome.code[:2]) == ("delivered", "20")
    assert outcome.rejected == (3 if name in REJECTING else 0)
    assert len(server.heard) == 1


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_is_cut_is_asked_for_again(name: str, ending: str):
    with saying(CUT[name], ending=ending) as server:
        outcome = ask(server.url)
    assert outcome.verdict == "retry"
    assert len(server.heard) == 1


@pytest.mark.parametrize("status", [b"400 Bad Request", b"500 Oops", b"413 Big"])
def test_a_refusal_that_is_cut_refuses_nothing(status: bytes):
    with saying(sized(b"be", size=7).replace(b"200 OK", status)) as server:
        assert ask(server.url).verdict == "retry"


def test_a_connection_that_is_reset_is_no_end_of_an_answer():
    until_closed = b"HTTP/1.1 200 OK\r\n\r\n"
    with saying(until_closed, ending="reset") as server:
        assert ask(server.url).verdict == "retry"


def test_what_was_answered_in_part_is_not_sent_again_at_once():
    with saying(OK, sized(b"x", size=9), OK, ending="keep") as server:
        sending = HttpExporter(
            Destination("traces", "http/protobuf", server.url, timeout=0.2)
        )
        assert sending.send(spans([1])).verdict == "delivered"
        assert sending.send(spans([2])).verdict == "retry"
        assert len(server.heard) == 2
        sending.close()


def test_an_answer_without_an_end_takes_no_longer_than_the_timeout():
    for endless in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
        with saying(endless, ending="wait") as server:
            outcome = ask(server.url, timeout=0.2)
            assert (outcome.verdict, outcome.code) == ("retry", "TimeoutError")


def test_a_timeout_is_one_whatever_our_clock_says_when_the_system_ends_the_call(
    monkeypatch: pytest.MonkeyPatch,
):
    def sooner(sock: socket.socket, _: float) -> None:
        bound(sock, 0.01)

    with saying(OK, b"", OK, ending="keep") as server:
        sending = HttpExporter(
            Destination("traces", "http/protobuf", server.url, timeout=3600.0)
        )
        assert sending.send(spans([1])).verdict == "delivered"
        monkeypatch.setattr(stream, "bound", sooner)
        outcome = sending.send(spans([2]))
        sending.close()
        assert (outcome.verdict, outcome.code) == ("retry", "TimeoutError")
        until(lambda: len(server.heard) >= 2)
    assert len(server.heard) == 2, "sent again at once"


@contextmanager
def repeating(start: bytes, again: bytes) -> Iterator[str]:
    """A server that answers without any end, as fast as it can."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                hear(connection)
                try:
                    connection.sendall(start)
                    while True:
                        connection.sendall(again * 64)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_interim_answers_without_an_end_take_no_longer_than_the_timeout():
    with repeating(b"", b"HTTP/1.1 102 Wait\r\n\r\n") as url:
        outcome = ask(url, timeout=0.2)
    assert (outcome.verdict, outcome.code) == ("retry", "TimeoutError")


@pytest.mark.parametrize(
    ("status", "verdict"), [(b"200 OK", "misconfigured"), (b"503 Busy", "retry")]
)
def test_no_more_is_read_of_an_answer_than_an_export_service_says(
    status: bytes, verdict: str
):
    with repeating(b"HTTP/1.1 " + status + b"\r\n\r\n", b"x" * 1024) as url:
        assert ask(url).verdict == verdict


def test_no_more_is_unpacked_of_an_answer_either():
    bomb = gzip.compress(bytes(8 * MAX_BODY))
    with saying(sized(bomb, PROTOBUF + b"content-encoding: gzip\r\n")) as server:
        outcome = ask(server.url)
    assert outcome.verdict == "misconfigured"


def test_an_answer_of_a_megabyte_is_read():
    body = rejecting(1, "x" * 1_000_000)
    with saying(sized(body, PROTOBUF)) as server:
        outcome = ask(server.url)
    assert (outcome.verdict, outcome.rejected) == ("delivered", 1)


def test_a_web_page_is_no_success():
    page = sized(
        b"\n<!doctype html><title>Log in</title>", b"content-type: text/html\r\n"
    )
    with saying(page) as server:
        outcome = ask(f"{server.url}/login")
    assert outcome.verdict == "misconfigured"
    assert "/login" in outcome.detail


def test_a_server_that_closes_amid_a_request_is_heard():
    """One that won't take a request, and says so before it has read all of it."""
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(early)

        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(serve)
            sending = HttpExporter(
                Destination(
                    "traces",
                    "http/protobuf",
                    f"http://127.0.0.1:{server.getsockname()[1]}",
                )
            )
            outcome = sending.send(spans([1], "x" * 16_000_000))
            sending.close()
            serving.result()
    assert (outcome.verdict, outcome.code) == ("split", "413")


@pytest.mark.foreign_clock
def test_an_address_that_is_silent_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
):
    with receiving() as receiver, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        with socket.create_connection(silent.getsockname()):  # its queue is full
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            port = int(receiver.url.rpartition(":")[2])
            addresses = [
                (*kind, silent.getsockname()),
                (*kind, ("127.0.0.1", port)),
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
            outcome = ask("http://two.test:4318", timeout=8.0)
    assert outcome.verdict == "delivered"


# --- TLS


@contextmanager
def tls_server(certificates: Path, answer: bytes) -> Iterator[str]:
    """A server over TLS that answers, and closes without TLS's farewell."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            plain, _ = server.accept()
            with tls.wrap_socket(plain, server_side=True) as connection:
                hear(connection)
                connection.sendall(answer)
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "verdict"), [(OK, "delivered"), (b"HTTP/1.1 200 OK\r\n\r\n", "retry")]
)
def test_an_end_that_tls_did_not_say_is_none(
    certificates: Path, answer: bytes, verdict: str
):
    with tls_server(certificates, answer) as url:
        outcome = ask(url, tls=TlsFiles(certificates / "server.pem"))
    assert outcome.verdict == verdict


def test_a_connection_that_is_ended_before_it_is_begun_says_so():
    ended = stream.Stream()
    ended.begin(float("inf"))
    ended.shut()
    with pytest.raises(ConnectionAbortedError, match="shut while it was made"):
        ended.connect_tcp("127.0.0.1", 9)


def test_a_handshake_that_hangs_can_be_ended_from_another_thread(certificates: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Destination(
            "traces",
            "http/protobuf",
            f"https://127.0.0.1:{server.getsockname()[1]}",
            tls=TlsFiles(certificates / "server.pem"),
            timeout=600.0,
        )
        sending = HttpExporter(where)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(sending.send, spans([1]))
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1) == b"\x16"  # it has begun to shake hands
                sending.abort()
                assert running.result().verdict == "retry"
        sending.close()
