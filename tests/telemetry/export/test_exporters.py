"""What each answer of a receiver means, over HTTP and gRPC."""

import gzip
import logging
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.telemetry.export.receiver import Answer, Got, points, receiving, spans
from tests.waiting import PATIENCE, until

from spanrun.errors import ConfigurationError
from spanrun.settings import SignalSettings
from spanrun.telemetry.export import connection
from spanrun.telemetry.export.connection import Connection
from spanrun.telemetry.export.destination import Destination, destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.export.outcome import Exporter, retry_after
from spanrun.telemetry.export.tls import TlsFiles

HTTP = SignalSettings("otlp", "http/protobuf", None)
GRPC = SignalSettings("otlp", "grpc", None)


def http_exporter(url: str, **options: Any) -> HttpExporter:
    options.setdefault("timeout", 2.0)
    return HttpExporter(Destination("traces", "http/protobuf", url, **options))


# --- where it goes: OTEL_EXPORTER_OTLP_*


def test_without_variables_it_goes_to_the_standard_ports_of_this_machine():
    assert destination("traces", HTTP, {}).url == "http://localhost:4318/v1/traces"
    grpc_one = destination("metrics", GRPC, {})
    assert grpc_one.url == "http://localhost:4317"
    assert grpc_one.insecure


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://c:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/x/"}, "http://c:1/x/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}, "http://c/x"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://own",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://other",
            },
            "http://own",
        ),
    ],
)
def test_http_endpoint(environ: dict[str, str], url: str):
    assert destination("traces", HTTP, environ).url == url


def test_an_endpoint_of_our_own_settings_is_a_base_and_comes_first():
    ours = SignalSettings("otlp", "http/protobuf", "http://mine:9/")
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://own"}
    assert destination("traces", ours, environ).url == "http://mine:9/v1/traces"


@pytest.mark.parametrize(
    ("endpoint", "environ", "url", "insecure"),
    [
        ("http://c:4317", {}, "http://c:4317", True),
        ("https://c:4317", {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, None, False),
        ("c:4317", {}, "https://c:4317", False),
        ("c:4317", {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, "http://c:4317", True),
        (
            "c:4317",
            {
                "OTEL_EXPORTER_OTLP_INSECURE": "false",
                "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
            },
            "http://c:4317",
            True,
        ),
    ],
)
def test_grpc_endpoint(endpoint, environ, url, insecure):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environ}
    found = destination("traces", GRPC, environ)
    assert found.insecure is insecure
    assert found.url == (url or endpoint)


def test_headers_are_decoded_and_a_signals_own_replace_the_general_ones():
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%20b%3D, x = 1 ,"}
    assert destination("traces", HTTP, environ).headers == {"api-key": "a b=", "x": "1"}
    environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = "y=2"
    assert destination("traces", HTTP, environ).headers == {"y": "2"}
    assert "api-key" in destination("metrics", HTTP, environ).headers


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0.5", 0.5), ("10000", 10.0), ("", 10.0)]
)
def test_timeout_is_in_seconds_or_in_milliseconds(text: str, seconds: float):
    environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": text}
    assert destination("traces", HTTP, environ).timeout == seconds


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TIMEOUT", "soon", "must be a number"),
        ("TIMEOUT", "-1", "must be a number"),
        ("COMPRESSION", "zstd", "gzip or none"),
        ("CERTIFICATE", "/nowhere/ca.pem", "no such file"),
        ("HEADERS", "bad header=hunter2", "name=value"),
        ("HEADERS", "no-value-hunter2", "name=value"),
        ("ENDPOINT", "ftp://c", "http://host:4318"),
        ("ENDPOINT", "http://c:port", "http://host:4318"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, message: str):
    with pytest.raises(ConfigurationError, match=message) as caught:
        destination("traces", HTTP, {f"OTEL_EXPORTER_OTLP_{name}": value})
    assert "=hunter2" not in str(caught.value)


def test_no_secret_is_in_the_text_of_a_destination():
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:hunter2@c/?token=hunter3",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hunter4",
    }
    found = destination("traces", HTTP, environ)
    assert "hunter" not in repr(found) + found.label
    assert found.scrub("bad token hunter4 for hunter2") == (
        "bad token [redacted] for [redacted]"
    )


# --- HTTP


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "delivered") for status in (200, 202, 204)),
        *((status, "retry") for status in (408, 425, 429, 502, 503, 504, 507)),
        (413, "split"),
        *((status, "misconfigured") for status in (301, 302, 307, 308)),
        *((status, "misconfigured") for status in (401, 402, 403, 404, 405, 406)),
        *((status, "misconfigured") for status in (407, 410, 411, 414, 415, 417)),
        *((status, "misconfigured") for status in (421, 426, 428, 431, 451)),
        *((status, "misconfigured") for status in (501, 505, 511)),
        *((status, "refused") for status in (400, 409, 422, 499, 500, 599, 999)),
    ],
)
def test_http_status(status: int, verdict: str):
    with receiving(lambda _: Answer(status)) as receiver:
        sending = http_exporter(f"{receiver.url}/v1/traces")
        outcome = sending.send(spans([1]))
        sending.close()
    assert (outcome.verdict, outcome.code) == (verdict, str(status))


def test_a_request_is_what_otlp_wants_and_the_connection_is_kept():
    with receiving() as receiver:
        sending = http_exporter(f"{receiver.url}/x/v1/traces", headers={"api-key": "k"})
        for number in range(5):
            assert sending.send(spans([number])).verdict == "delivered"
        sending.close()
    assert receiver.connections == 1
    got = receiver.requests[0]
    assert got.path == "/x/v1/traces"
    assert got.headers["content-type"] == "application/x-protobuf"
    assert got.headers["api-key"] == "k"
    assert "content-encoding" not in got.headers
    assert sorted(receiver.taken) == [0, 1, 2, 3, 4]


def test_gzip():
    with receiving() as receiver:
        sending = http_exporter(receiver.url, compression="gzip")
        sending.send(spans(range(100)))
        sending.close()
    assert receiver.requests[0].headers["content-encoding"] == "gzip"
    assert len(receiver.taken) == 100


def test_a_redirect_is_named_and_not_followed():
    with receiving() as stranger:
        to = {"location": f"{stranger.url}/v1/traces?key=hunter2"}
        with receiving(lambda _: Answer(301, to)) as receiver:
            sending = http_exporter(receiver.url, headers={"api-key": "k"})
            outcome = sending.send(spans([1]))
            sending.close()
    assert outcome.verdict == "misconfigured"
    assert f"/ redirects to {stranger.url}/v1/traces" in outcome.detail
    assert "hunter2" not in outcome.detail
    assert stranger.requests == []


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_partial_success_is_counted(signal: Any):
    traces, metrics = ExportTraceServiceResponse(), ExportMetricsServiceResponse()
    traces.partial_success.rejected_spans = 3
    metrics.partial_success.rejected_data_points = 3
    body = (traces if signal == "traces" else metrics).SerializeToString()
    with receiving(lambda _: Answer(200, body=body)) as receiver:
        sending = HttpExporter(Destination(signal, "http/protobuf", receiver.url))
        outcome = sending.send(spans(range(5)))
        sending.close()
    assert (outcome.verdict, outcome.rejected) == ("delivered", 3)


def test_a_success_with_a_body_in_words_is_one():
    with receiving(lambda _: Answer(200, body=b"\xffokay")) as receiver:
        sending = http_exporter(receiver.url)
        assert sending.send(spans([1])).rejected == 0
        sending.close()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999", 3600.0),
        (formatdate(1_000_030, usegmt=True), 30.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None):
    assert retry_after(value, 1_000_000.0) == seconds


def test_retry_after_of_an_answer_is_told():
    with receiving(lambda _: Answer(503, {"retry-after": "60"})) as receiver:
        sending = http_exporter(receiver.url)
        assert sending.send(spans([1])).after == 60.0
        sending.close()


def test_what_an_error_says_is_told_without_the_secret():
    status = Status(code=3, message="bad key hunter2!").SerializeToString()
    kind = {"content-type": "application/x-protobuf"}
    with receiving(lambda _: Answer(400, kind, status)) as receiver:
        sending = http_exporter(receiver.url, headers={"api-key": "hunter2"})
        assert "bad key [redacted]!" in sending.send(spans([1])).detail
        sending.close()


def test_no_connection_and_no_answer_are_to_be_retried():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sending = http_exporter(f"http://127.0.0.1:{port}")
    outcome = sending.send(b"x")
    assert (outcome.verdict, outcome.code) == ("retry", "ConnectionRefusedError")
    with receiving(lambda _: Answer(0)) as receiver:
        sending = http_exporter(receiver.url)
        assert sending.send(spans([1])).verdict == "retry"
        sending.close()


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing():
    with receiving() as receiver:
        sending = http_exporter(receiver.url)
        assert sending.send(spans([1])).verdict == "delivered"
        port = int(receiver.url.rpartition(":")[2])
    with receiving(port=port) as again:
        assert sending.send(spans([2])).verdict == "delivered"
        sending.close()
    assert list(again.taken) == [2]


def test_a_slow_answer_ends_at_the_timeout():
    over = threading.Event()

    def answer(_: Got) -> Answer:
        over.wait()
        return Answer()

    with receiving(answer) as receiver:
        sending = http_exporter(receiver.url, timeout=0.15)
        outcome = sending.send(spans([1]))
        over.set()
        sending.close()
    assert (outcome.verdict, outcome.code) == ("retry", "TimeoutError")


@contextmanager
def dripping():
    """A server that sends a byte of its answer now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over, asked = threading.Event(), threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                asked.set()
                try:
                    while not over.wait(0.02):
                        connection.sendall(b"H")
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        over.set()
        thread.join()


@contextmanager
def black_hole():
    """A port where a connection is never answered: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(address)
            fillers.append(filler)
        asked = threading.Event()
        asked.set()  # nothing will ever arrive
        yield f"http://127.0.0.1:{address[1]}", asked
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("place", [dripping, black_hole])
def test_a_hanging_request_can_be_ended_from_another_thread(place: Any):
    with place() as (url, asked), ThreadPoolExecutor(1) as pool:
        sending = http_exporter(url, timeout=3600.0)
        running = pool.submit(sending.send, spans([1]))
        until(lambda: asked.is_set() and sending._connection)
        assert not running.done()
        sending.abort()
        assert running.result(PATIENCE).verdict == "retry"
        sending.close()


def test_a_connection_is_shut_that_was_not_begun(monkeypatch: pytest.MonkeyPatch):
    class Late(socket.socket):
        """Somebody else has his turn before it begins to connect."""

        def connect(self, where: Any) -> None:
            sending.abort()
            super().connect(where)

        def connect_ex(self, where: Any) -> int:
            sending.abort()
            return super().connect_ex(where)

    with black_hole() as (url, _):
        sending = http_exporter(url, timeout=3600.0)
        monkeypatch.setattr(socket, "socket", Late)
        assert sending.send(spans([1])).verdict == "retry"
        sending.close()


def test_a_proxy_is_used_and_told_who_we_are(monkeypatch: pytest.MonkeyPatch):
    with receiving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:pass@"))
        monkeypatch.setenv("no_proxy", "")
        sending = http_exporter("http://collector.test:4318/v1/traces")
        assert sending.send(spans([1])).verdict == "delivered"
        sending.close()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = http_exporter(f"{proxy.url}/direct")
        direct.send(spans([2]))
        direct.close()
    first, second = proxy.requests
    assert first.path == "http://collector.test:4318/v1/traces"
    assert first.headers["host"] == "collector.test:4318"
    assert first.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
    assert second.path == "/direct"


# --- TLS, with certificates made by the openssl on the path


def test_tls_with_a_client_certificate(certificates: Path):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    tls.load_verify_locations(certificates / "client.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    with receiving(tls=tls) as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates / "server.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates / "client.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates / "client.key"),
        }
        sending = exporter(destination("traces", HTTP, environ))
        assert sending.send(spans([1])).verdict == "delivered"
        assert sending.send(spans([2])).verdict == "delivered"
        sending.close()
    assert receiver.connections == 1


def test_an_unknown_authority_is_a_misconfiguration(certificates: Path):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with receiving(tls=tls) as receiver:
        sending = http_exporter(receiver.url)
        outcome = sending.send(spans([1]))
        sending.close()
    assert (outcome.verdict, outcome.code) == (
        "misconfigured",
        "SSLCertVerificationError",
    )


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("nonsense")
    where = Destination(
        "traces", "http/protobuf", "https://c", tls=TlsFiles(tmp_path / "ca.pem")
    )
    with pytest.raises(ConfigurationError, match="certificates for https://c"):
        HttpExporter(where)


# --- gRPC


@contextmanager
def grpc_server(answer: Any, signal: str = "trace"):
    """A server whose ``Export`` is ``answer(payload, context)``, bytes to bytes."""
    name = signal.capitalize()
    service = f"opentelemetry.proto.collector.{signal}.v1.{name}Service"
    method = grpc.unary_unary_rpc_method_handler(answer)
    handler = grpc.method_handlers_generic_handler(service, {"Export": method})
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}"
        server.stop(0).wait()


def grpc_exporter(url: str, **options: Any) -> Exporter:
    options.setdefault("timeout", 2.0)
    return exporter(Destination("traces", "grpc", url, insecure=True, **options))


def test_grpc_sends_the_bytes_as_they_are_with_headers_and_gzip():
    seen: list[Any] = []

    def export(payload: bytes, context: Any) -> bytes:
        seen.append((payload, dict(context.invocation_metadata())))
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 2
        return response.SerializeToString()

    with grpc_server(export) as url:
        sending = grpc_exporter(url, headers={"api-key": "k"}, compression="gzip")
        outcome = sending.send(spans([1, 2, 3]))
        sending.close()
    assert (outcome.verdict, outcome.code, outcome.rejected) == ("delivered", "OK", 2)
    payload, metadata = seen[0]
    assert payload == spans([1, 2, 3])
    assert metadata["api-key"] == "k"


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("CANCELLED", "retry"),
        ("DEADLINE_EXCEEDED", "retry"),
        ("ABORTED", "retry"),
        ("OUT_OF_RANGE", "retry"),
        ("UNAVAILABLE", "retry"),
        ("DATA_LOSS", "retry"),
        ("RESOURCE_EXHAUSTED", "split"),
        ("UNAUTHENTICATED", "misconfigured"),
        ("PERMISSION_DENIED", "misconfigured"),
        ("UNIMPLEMENTED", "misconfigured"),
        ("INVALID_ARGUMENT", "refused"),
        ("INTERNAL", "refused"),
        ("UNKNOWN", "refused"),
        ("FAILED_PRECONDITION", "refused"),
    ],
)
def test_grpc_code(code: str, verdict: str):
    def export(_: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode[code], "because of hunter2")

    with grpc_server(export) as url:
        sending = grpc_exporter(url, headers={"api-key": "hunter2"})
        outcome = sending.send(b"")
        sending.close()
    assert (outcome.verdict, outcome.code) == (verdict, code)
    assert outcome.detail == "because of [redacted]"


@pytest.mark.parametrize("key", ["grpc-status-details-bin", "google.rpc.retryinfo-bin"])
def test_grpc_retry_info(key: str):
    info = RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = 7, 500_000_000
    packed = AnyMessage()
    packed.Pack(info)
    status = Status(code=8, message="slow", details=[packed])
    value = (status if key.startswith("grpc") else info).SerializeToString()

    def export(_: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(((key, value),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow")

    with grpc_server(export) as url:
        sending = grpc_exporter(url)
        outcome = sending.send(b"")
        sending.close()
    assert (outcome.verdict, outcome.after) == ("retry", 7.5)


@pytest.mark.parametrize("packing", ["NoCompression", "Gzip"])
def test_a_grpc_answer_beyond_the_bound_is_never_halved(packing: str):
    def export(_, context):
        context.set_compression(grpc.Compression[packing])
        return b"\x7a\x00" * (3 * 2**20)

    with grpc_server(export) as url:
        sending = grpc_exporter(url)
        outcome = sending.send(spans([1, 2]))
        sending.close()
    assert outcome.verdict == "misconfigured"
    assert "essage larger than max" in outcome.detail


def test_a_packed_http_answer_is_never_unpacked():
    body = gzip.compress(b" " * 2**26)
    headers = {"content-encoding": "gzip", "content-type": "text/plain"}
    with receiving(lambda _: Answer(400, headers, body)) as receiver:
        sending = http_exporter(receiver.url)
        outcome = sending.send(spans([1]))
        sending.close()
        assert receiver.requests[0].headers["accept-encoding"] == "identity"
    assert outcome.verdict == "refused"
    assert len(outcome.detail) <= 200


def test_grpc_without_a_server_and_with_one_again():
    with grpc_server(lambda *_: b"") as url:
        sending = grpc_exporter(url)
        assert sending.send(b"").verdict == "delivered"
    outcome = sending.send(b"")
    assert (outcome.verdict, outcome.code) == ("retry", "UNAVAILABLE")
    sending.close()


def test_a_hanging_grpc_call_ends_at_the_timeout_and_by_abort():
    over, calls = threading.Event(), []

    def export(*call: Any) -> bytes:
        calls.append(call)
        over.wait()
        return b""

    with grpc_server(export) as url, ThreadPoolExecutor(1) as pool:
        assert grpc_exporter(url, timeout=0.1).send(b"").code == "DEADLINE_EXCEEDED"
        sending = grpc_exporter(url, timeout=3600.0)
        running = pool.submit(sending.send, b"")
        until(lambda: len(calls) == 2)
        sending.abort()
        assert running.result(PATIENCE).verdict == "retry"
        over.set()
        sending.close()


def test_a_grpc_call_is_aborted_that_is_only_being_made():
    over = threading.Event()

    def export(*_: Any) -> bytes:
        over.wait()
        return b""

    with grpc_server(export) as url:
        sending = grpc_exporter(url, timeout=3600.0)
        make = sending._open().future

        def future(*given: Any, **named: Any) -> Any:
            call = make(*given, **named)
            sending.abort()
            return call

        sending._export = SimpleNamespace(future=future)
        assert sending.send(b"").verdict == "retry"
        over.set()
        sending.close()


def test_an_http_request_is_aborted_whose_connection_is_only_being_made(monkeypatch):
    with receiving(lambda _: Answer(200)) as receiver:
        sending = http_exporter(receiver.url)

        def making(*way: Any) -> Connection:
            sending.abort()
            return Connection(*way)

        monkeypatch.setattr(connection, "Connection", making)
        assert sending.send(spans([1])).verdict == "retry"
        monkeypatch.undo()
        assert sending.send(spans([1])).verdict == "delivered"
        sending.close()
    assert len(receiver.requests) == 1


def test_grpc_metrics_go_to_their_own_service():
    seen: list[bytes] = []

    def export(payload: bytes, _: Any) -> bytes:
        seen.append(payload)
        return b""

    with grpc_server(export, "metrics") as url:
        sending = exporter(Destination("metrics", "grpc", url, insecure=True))
        assert sending.send(points([1])).verdict == "delivered"
        sending.close()
    assert seen == [points([1])]


def test_nothing_of_a_failure_is_logged_here(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "spanrun"):
        http_exporter("http://127.0.0.1:1", headers={"api-key": "hunter2"}).send(b"x")
    assert "hunter2" not in caplog.text


def test_gzip_is_worth_it():
    payload = spans(range(512))
    assert len(gzip.compress(payload, 1)) < len(payload) / 2
