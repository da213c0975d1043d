"""What is between an exporter and its receiver: proxies, paths, and who says no."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.telemetry.export.raw import hear, saying
from tests.telemetry.export.receiver import Answer, receiving, spans

from spanrun.errors import ConfigurationError
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.export.outcome import Outcome
from spanrun.telemetry.export.tls import TlsFiles
from spanrun.telemetry.signals import Signal


def ask(url: str, signal: Signal = "traces", **options: Any) -> Outcome:
    sending = HttpExporter(Destination(signal, "http/protobuf", url, **options))
    try:
        return sending.send(spans([1]))
    finally:
        sending.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{found.getsockname()[1]}"


# --- proxies


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_loopback_is_not_called_by_proxy(
    monkeypatch: pytest.MonkeyPatch, nobody: str, name: str
):
    monkeypatch.setenv(name, f"http://{nobody}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with receiving() as receiver:
        assert ask(receiver.url).verdict == "delivered"
        by_name = receiver.url.replace("127.0.0.1", "localhost")
        assert ask(by_name).verdict == "delivered"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_named(
    monkeypatch: pytest.MonkeyPatch, nobody: str, scheme: str
):
    monkeypatch.setenv("ALL_PROXY", f"http://me:hunter2@{nobody}")
    outcome = ask(f"{scheme}://collector.test:4318/v1/traces")
    assert (outcome.verdict, outcome.code) == ("retry", "ConnectionRefusedError")
    assert f"via the proxy http://{nobody} (ALL_PROXY)" in outcome.detail
    assert "hunter2" not in outcome.detail


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (407, "misconfigured"),
        (403, "misconfigured"),
        (400, "misconfigured"),
        (503, "retry"),
        (500, "retry"),
    ],
)
def test_a_proxy_that_does_not_connect_us(
    monkeypatch: pytest.MonkeyPatch, status: int, verdict: str
):
    answer = b"HTTP/1.1 %d Because\r\ncontent-length: 0\r\n\r\n" % status
    with saying(answer) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:pass@"))
        outcome = ask("https://[fd00::1]:4318/v1/traces")
    assert (outcome.verdict, outcome.code) == (verdict, str(status))
    assert outcome.detail == f"via the proxy {proxy.url} (https_proxy): Because"
    (heard,) = proxy.heard
    first, *headers = heard.rstrip().split(b"\r\n")
    assert first == b"CONNECT [fd00::1]:4318 HTTP/1.1"
    assert sorted(line.lower() for line in headers) == [
        b"accept: */*",
        b"host: [fd00::1]:4318",
        b"proxy-authorization: basic bwu6cgfzcw==",
    ]


@contextmanager
def connecting(to: str) -> Iterator[str]:
    """A proxy that connects each of its clients to ``to``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            host, _, port = to.rpartition(":")
            with client, socket.create_connection((host, int(port))) as beyond:
                hear(client)
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=copy, args=(beyond, client))
                back.start()
                copy(client, beyond)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_collector_over_tls_is_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, certificates: Path
):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    where = certificates / "server.pem"
    with receiving(tls=tls) as receiver:
        port = receiver.url.rpartition(":")[2]
        with connecting(f"127.0.0.1:{port}") as proxy:
            monkeypatch.setenv("https_proxy", proxy)
            # An address of another machine; the certificate is for 127.0.0.1.
            outcome = ask(f"https://192.0.2.1:{port}", tls=TlsFiles(where))
    assert outcome.code == "SSLCertVerificationError"
    assert "192.0.2.1" in outcome.detail
    assert proxy in outcome.detail


def test_tls_in_tls_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "https://p:3128")
    with pytest.raises(ConfigurationError, match=r"^https_proxy='https://p:3128'"):
        ask("https://collector.test:4318/v1/traces")


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_grpc_is_named_and_not_asked_for_loopback(
    monkeypatch: pytest.MonkeyPatch, nobody: str, variable: str
):
    monkeypatch.setenv(variable, f"http://{nobody}")
    there = Destination(
        "traces", "grpc", "http://collector.test:4317", insecure=True, timeout=20.0
    )
    sending = exporter(there)
    outcome = sending.send(b"")
    sending.close()
    assert outcome.verdict == "retry"
    assert f"via the proxy http://{nobody} ({variable})" in outcome.detail


@pytest.mark.parametrize("value", ["socks5://p:1080", "https://p:3128"])
def test_a_proxy_that_grpc_can_not_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("ALL_PROXY", value)
    for url in ("http://collector.test:4317", "dns:///collector.test:4317"):
        with pytest.raises(ConfigurationError, match=f"^ALL_PROXY='{value}'"):
            exporter(Destination("traces", "grpc", url, insecure=True))
    exporter(Destination("traces", "grpc", "unix:/run/otel.sock", insecure=True))


# --- paths


def test_a_path_that_is_not_there_is_told():
    with receiving(lambda _: Answer(404, body=b"page not found")) as receiver:
        outcome = ask(f"{receiver.url}/v1/metrics?key=hunter2", "metrics")
    assert outcome.verdict == "misconfigured"
    assert outcome.detail.startswith("Not Found for /v1/metrics: ")
    assert "/api/v1/otlp for Prometheus" in outcome.detail
    assert outcome.detail.endswith("page not found")
    assert "hunter2" not in outcome.detail


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/login?next=hunter2", "{}/login"),
        ("https://me:hunter2@other.test:8443/x#hunter3", "https://other.test:8443/x"),
        ("//other.test", "http://other.test"),
        ("", "{}/v1/traces"),
        ("http://[::1", "what isn't a URL"),
    ],
)
def test_a_redirect_is_told_with_both_paths(location: str, text: str):
    with receiving(lambda _: Answer(302, {"location": location})) as receiver:
        outcome = ask(f"{receiver.url}/v1/traces")
    expected = text.format(receiver.url)
    assert outcome.verdict == "misconfigured"
    assert outcome.detail == f"/v1/traces redirects to {expected}"


def test_a_port_that_is_for_tls_is_a_misconfiguration():
    """As Go's servers answer, the Collector among them."""
    said = (
        b"HTTP/1.0 400 Bad Request\r\n\r\n"
        b"Client sent an HTTP request to an HTTPS server.\n"
    )
    with saying(said) as server:
        outcome = ask(server.url)
    assert (outcome.verdict, outcome.code) == ("misconfigured", "400")
