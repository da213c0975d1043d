"""What can be in the way of gRPC, and isn't about the data."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from h2.exceptions import ProtocolError
from tests.telemetry.export.test_exporters import grpc_exporter, grpc_server

from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.export.outcome import Outcome


def ask(url: str, **options: Any) -> Outcome:
    options.setdefault("timeout", 20.0)
    sending = grpc_exporter(url, **options)
    try:
        return sending.send(b"")
    finally:
        sending.close()


def test_headers_that_are_too_long_are_a_misconfiguration():
    with grpc_server(lambda *_: b"") as url:
        outcome = ask(url, headers={"api-key": "x" * 20_000})
    assert (outcome.verdict, outcome.code) == ("misconfigured", "RESOURCE_EXHAUSTED")


def test_an_answer_that_is_too_long_does_not_split_the_request():
    with grpc_server(lambda *_: bytes(5_000_000)) as url:
        outcome = ask(url)
    assert (outcome.verdict, outcome.code) == ("misconfigured", "RESOURCE_EXHAUSTED")


def test_an_answer_that_can_not_be_decoded_is_asked_for_again():
    with grpc_server(lambda *_: b"\xffokay") as url:
        assert ask(url).verdict == "retry"


@contextmanager
def http2(answer: Callable[[H2Connection, int], object]) -> Iterator[str]:
    """A server that speaks HTTP/2, and answers each request as it is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, answer))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(server: socket.socket, answer: Any) -> None:
    try:
        while True:
            connection, _ = server.accept()
            with connection, suppress(ProtocolError):
                _converse(connection, answer)
    except OSError:
        return


def _converse(connection: socket.socket, answer: Any) -> None:
    state = H2Connection(H2Configuration(client_side=False))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    while data := connection.recv(65536):
        for event in state.receive_data(data):
            if isinstance(event, StreamEnded):
                answer(state, event.stream_id)
        connection.sendall(state.data_to_send())


HEAD = [(":status", "200"), ("content-type", "application/grpc")]
END = [("grpc-status", "0")]


def _no_status(state: H2Connection, stream: int) -> None:
    state.send_headers(stream, HEAD, end_stream=True)


def _no_end(state: H2Connection, stream: int) -> None:
    state.send_headers(stream, HEAD)
    state.send_data(stream, bytes(5), end_stream=True)


def _no_message(state: H2Connection, stream: int) -> None:
    state.send_headers(stream, HEAD)
    state.send_headers(stream, END, end_stream=True)


def _half_a_message(state: H2Connection, stream: int) -> None:
    state.send_headers(stream, HEAD)
    state.send_data(stream, b"\0\0\0\0\x09ab")
    state.send_headers(stream, END, end_stream=True)


def _whole(state: H2Connection, stream: int) -> None:
    state.send_headers(stream, HEAD)
    state.send_data(stream, bytes(5))
    state.send_headers(stream, END, end_stream=True)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (_whole, "delivered"),
        (_no_status, "retry"),
        (_no_end, "retry"),
        (_no_message, "retry"),
        (_half_a_message, "retry"),
    ],
)
def test_an_answer_that_is_cut_is_asked_for_again(answer: Any, verdict: str):
    with http2(answer) as url:
        assert ask(url).verdict == verdict


@pytest.mark.parametrize("code", [1, 2, 5, 7, 8, 11, 13])
def test_a_stream_that_is_reset_is_asked_for_again(code: int):
    def answer(state: H2Connection, stream: int) -> None:
        state.send_headers(stream, HEAD)
        state.reset_stream(stream, code)

    with http2(answer) as url:
        assert ask(url).verdict == "retry"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "retry"),
        (400, "misconfigured"),
        (401, "misconfigured"),
        (404, "misconfigured"),
        (408, "retry"),
        (413, "split"),
        (429, "retry"),
        (431, "misconfigured"),
        (500, "misconfigured"),
        (503, "retry"),
    ],
)
def test_what_speaks_http_and_no_grpc_refuses_no_data(status: int, verdict: str):
    def answer(state: H2Connection, stream: int) -> None:
        headers = [(":status", str(status)), ("content-type", "text/plain")]
        state.send_headers(stream, headers, end_stream=True)

    with http2(answer) as url:
        outcome = ask(url)
    assert outcome.verdict == verdict


@pytest.mark.parametrize(
    "variable", ["grpc_proxy", "http_proxy", "https_proxy", "ALL_PROXY"]
)
def test_loopback_is_not_called_by_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str
):
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with grpc_server(lambda *_: b"") as url:
        for each in (url, url.replace("http://", "dns:///")):
            assert ask(each).verdict == "delivered"


def test_a_unix_socket(tmp_path: Path):
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    method = grpc.unary_unary_rpc_method_handler(lambda *_: b"")
    handler = grpc.method_handlers_generic_handler(name, {"Export": method})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[handler])
        server.add_insecure_port(f"unix:{tmp_path}/otel.sock")
        server.start()
        where = Destination(
            "traces", "grpc", f"unix:{tmp_path}/otel.sock", insecure=True
        )
        sending = exporter(where)
        assert sending.send(b"").verdict == "delivered"
        sending.close()
        server.stop(0).wait()
