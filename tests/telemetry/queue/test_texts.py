"""What a receiver says reaches the log without secrets, inert and on one line."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.telemetry.export.receiver import Answer, receiving, spans
from tests.telemetry.export.test_exporters import (
    grpc_exporter,
    grpc_server,
    http_exporter,
)
from tests.test_text import ACTIVE, HOSTILE

from spanrun.errors import ConfigurationError
from spanrun.settings import SignalSettings, load
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import destination
from spanrun.telemetry.export.outcome import Exporter
from spanrun.telemetry.queue.queued_exporter import QueuedExporter

OURS = "our-own-key"
HEADERS = {"api-key": f"Bearer {OURS}"}
SAYS = (
    f"{HOSTILE} <password>hunter2</password> X-Auth-Token abc123def456 {OURS} "
    "curl -u admin:hunter2"
)
SECRETS = ("hunter2", "abc123def456", OURS)


def printable(text: str) -> str:
    """As a header or a status line of HTTP can carry it."""
    return text.encode("ascii", "ignore").decode().replace("\r", "").replace("\0", "")


def rejected() -> bytes:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    answer.partial_success.error_message = SAYS.replace("\ud800", "")
    return answer.SerializeToString()


BODIES = {
    "json": (
        400,
        "application/json",
        json.dumps({"message": SAYS, "trace": {"password": "hunter2"}}).encode(),
    ),
    "words": (503, "text/plain", SAYS.encode("utf-8", "replace")),
    "status": (
        400,
        "application/x-protobuf",
        Status(message=SAYS.replace("\ud800", "")).SerializeToString(),
    ),
    "unauthorized": (401, "text/plain", SAYS.encode("utf-8", "replace")),
    "rejected": (200, "application/x-protobuf", rejected()),
}


@contextmanager
def status_line(line: bytes) -> Iterator[str]:
    """A server which begins each answer with ``line``."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                peer.recv(65_536)
                peer.sendall(
                    line + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            if ended.is_set():
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"x")
        listener.close()
        thread.join()


def logged(
    folder: Path,
    exporter: Exporter,
    caplog: pytest.LogCaptureFixture,
    said: Callable[..., Any],
) -> str:
    """What is in the log, and in the status, after a request to ``exporter``."""
    caplog.set_level(logging.DEBUG)
    spooled = QueuedExporter(folder, {"traces": exporter}, Account())
    spooled.put("traces", spans([1]), 1)
    spooled.flush(5.0, patient=False)
    told = str(spooled.status())
    spooled.close(2.0)
    assert said()
    records = [record.getMessage() for record in caplog.records]
    assert records
    for text in records:
        assert not set(text) & {*ACTIVE, "\n", "\t"}
        assert not [secret for secret in SECRETS if secret in text]
    assert not [secret for secret in SECRETS if secret in told]
    return "\n".join(records)


@pytest.mark.parametrize("body", BODIES)
def test_what_is_in_a_body(
    body: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, kind, content = BODIES[body]
    answer = Answer(status, {"content-type": kind}, content)
    with receiving(lambda _: answer) as receiver:
        exporter = http_exporter(f"{receiver.url}/v1/traces", headers=HEADERS)
        told = logged(tmp_path, exporter, caplog, lambda: receiver.requests)
    assert "[redacted]" in told
    assert "\\x1b" in told or "\\u001b" in told


def test_what_is_in_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = f"HTTP/1.1 503 {printable(SAYS)}".encode()
    with status_line(line) as url:
        exporter = http_exporter(f"{url}/v1/traces", headers=HEADERS)
        told = logged(tmp_path, exporter, caplog, lambda: True)
    assert "[redacted]" in told
    assert "\\x1b" in told


def test_what_is_in_a_location(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"https://me:hunter2@elsewhere.example/\x1b[31m{OURS}"
    answer = Answer(302, {"location": place})
    with receiving(lambda _: answer) as receiver:
        exporter = http_exporter(f"{receiver.url}/v1/traces", headers=HEADERS)
        told = logged(tmp_path, exporter, caplog, lambda: receiver.requests)
    assert "elsewhere.example" in told


def test_what_is_in_the_details_of_grpc(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import grpc  # noqa: PLC0415 -- as the exporter does

    asked = []

    def export(payload: bytes, context: Any) -> bytes:
        asked.append(payload)
        return context.abort(grpc.StatusCode.INVALID_ARGUMENT, printable(SAYS))

    with grpc_server(export) as url:
        exporter = grpc_exporter(url, headers=HEADERS)
        told = logged(tmp_path, exporter, caplog, lambda: asked)
    assert "[redacted]" in told
    assert "\\x1b" in told


def test_the_login_of_a_url_is_hidden_in_each_form() -> None:
    url = "http://me:p%40ss%20word@h/v1/traces"
    exporter = http_exporter(url)
    for written in ("p%40ss%20word", "p@ss word", "bWU6cEBzcyB3b3Jk"):
        assert written not in exporter.destination.scrub(f"refused {written} here")


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abc123def456",
        "Authorization: Bearer abc123def456==",
        "abc123def456",
        "api key=abc123def456",
        "ok=1,Bearer abc123def456",
    ],
)
def test_a_header_without_a_name_is_not_taken_for_one(value: str) -> None:
    settings = SignalSettings("otlp", "http/protobuf", None)
    with pytest.raises(ConfigurationError, match="name=value") as caught:
        destination("traces", settings, {"OTEL_EXPORTER_OTLP_HEADERS": value})
    assert "abc123def456" not in str(caught.value)


@pytest.mark.parametrize(
    "variable", ["SPANRUN_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
)
def test_an_endpoint_that_cannot_be_used_is_told_without_its_password(
    variable: str,
) -> None:
    value = "me:hunter2@collector.example:4318\x1b[2J"
    with pytest.raises(ConfigurationError, match=r"collector\.example") as caught:
        load(environ={variable: value})
    assert "hunter2" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
