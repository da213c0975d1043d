"""The spool in front of a real Collector, through connections that misbehave."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from instrumentation.backends import servers
from tests.telemetry.export.receiver import Receiver, receiving, spans

from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.retry import Backoff

TOXICS: dict[str, dict[str, Any]] = {
    "latency": {"latency": 150, "jitter": 50},
    "reset_peer": {"timeout": 5},
    "slow_close": {"delay": 300},
    "limit_data": {"bytes": 3000},
    "timeout": {"timeout": 100},
    "bandwidth": {"rate": 100},
}


class Proxy:
    """A toxiproxy between the exporter and the Collector."""

    def __init__(self, api: str, upstream: str) -> None:
        self._api = httpx.Client(base_url=api, trust_env=False, verify=False)
        made = self._post(
            "/proxies", name="otlp", listen="127.0.0.1:0", upstream=upstream
        )
        self.address = made["listen"]

    def _post(self, path: str, **body: Any) -> Any:
        answer = self._api.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    def poison(self, kind: str, stream: str) -> None:
        self._post(
            "/proxies/otlp/toxics",
            name=kind,
            type=kind,
            stream=stream,
            attributes=TOXICS[kind],
        )

    def heal(self, kind: str) -> None:
        self._api.delete(f"/proxies/otlp/toxics/{kind}").raise_for_status()

    def enable(self, *, enabled: bool) -> None:
        self._post("/proxies/otlp", enabled=enabled)

    def close(self) -> None:
        self._api.close()


@pytest.fixture(scope="module")
def sink() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def collector(sink: Receiver) -> Iterator[Any]:
    """A Collector that answers when the sink has answered, and keeps nothing."""
    need("otelcol")
    exporter = {
        "endpoint": sink.url,
        "compression": "none",
        "sending_queue": {"enabled": False},
        "retry_on_failure": {"enabled": False},
    }
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_http"]}
    config = {
        "exporters": {"otlp_http": exporter},
        "service": {"pipelines": {"traces": pipeline}},
    }
    with servers.collector(config) as server:
        yield server


@pytest.fixture(scope="module")
def toxiproxy() -> Iterator[Any]:
    need("toxiproxy")
    with servers.toxiproxy() as server:
        yield server


def need(name: str) -> None:
    reason = servers.why_missing(name)
    if reason is not None:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def proxy(collector: Any, toxiproxy: Any, protocol: str) -> Iterator[Proxy]:
    upstream = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    proxy = Proxy(toxiproxy.url, urlsplit(upstream).netloc)
    yield proxy
    httpx.delete(f"{toxiproxy.url}/proxies/otlp", trust_env=False, verify=False)
    proxy.close()


@pytest.fixture
def spooled(proxy: Proxy, protocol: Any, tmp_path: Path) -> Iterator[QueuedExporter]:
    path = "" if protocol == "grpc" else "/v1/traces"
    where = Destination(
        "traces", protocol, f"http://{proxy.address}{path}", timeout=1.0, insecure=True
    )
    made = QueuedExporter(
        tmp_path / "spool",
        {"traces": exporter(where)},
        Account(),
        linger=0.05,
        request_bytes=20_000,
        backoff=lambda: Backoff(random.Random(), base=0.02, cap=0.1),
    )
    yield made
    made.close(1.0)


def put(spooled: QueuedExporter, first: int, seconds: float) -> set[int]:
    """Hand over 600 spans, spread over ``seconds``."""
    numbers = range(first, first + 600)
    for at in range(0, 600, 20):
        spooled.put("traces", spans(numbers[at : at + 20], "x" * 50), 20)
        time.sleep(seconds / 30)
    return set(numbers)


def check(spooled: QueuedExporter, sink: Receiver, expected: set[int]) -> None:
    assert expected <= set(sink.taken)
    found = spooled.status().signals["traces"]
    assert found.produced == found.delivered == len(expected)
    assert found.dropped == {}
    assert found.in_memory == found.on_disk == 0


def first_of(sink: Receiver) -> int:
    return max(sink.taken, default=0) + 1


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("kind", list(TOXICS))
def test_all_arrives_through_a_connection_with(
    spooled: QueuedExporter, proxy: Proxy, sink: Receiver, kind: str, stream: str
):
    first = first_of(sink)
    proxy.poison(kind, stream)
    expected = put(spooled, first, 0.4)
    proxy.heal(kind)
    assert spooled.flush(8)
    check(spooled, sink, expected)


@pytest.mark.slow
def test_all_arrives_after_an_outage(
    spooled: QueuedExporter, proxy: Proxy, sink: Receiver
):
    first = first_of(sink)
    spooled.put("traces", spans([first]), 1)
    assert spooled.flush(5)
    proxy.enable(enabled=False)
    expected = put(spooled, first + 1, 0.3) | {first}
    time.sleep(0.2)
    assert spooled.status().signals["traces"].on_disk == 600
    proxy.enable(enabled=True)
    assert spooled.flush(8)
    check(spooled, sink, expected)


@pytest.mark.slow
def test_a_collector_without_the_signal_is_a_misconfiguration(
    collector: Any, protocol: Any
):
    # It has no pipeline for metrics: 404 over HTTP, UNIMPLEMENTED over gRPC.
    base = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    path = "" if protocol == "grpc" else "/v1/metrics"
    sending = exporter(Destination("metrics", protocol, base + path, insecure=True))
    outcome = sending.send(b"")
    sending.close()
    assert outcome.verdict == "misconfigured"
    assert outcome.code in {"404", "UNIMPLEMENTED"}


@pytest.mark.slow
def test_a_request_that_a_collector_cannot_read_is_refused(
    collector: Any, protocol: Any
):
    base = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    path = "" if protocol == "grpc" else "/v1/traces"
    sending = exporter(Destination("traces", protocol, base + path, insecure=True))
    outcome = sending.send(b"\xff\xff nonsense")
    sending.close()
    assert outcome.verdict == "refused"
    assert outcome.code in {"400", "INTERNAL"}


@pytest.mark.slow
def test_a_collectors_own_limit_of_a_message_is_cut_to(
    collector: Any, sink: Receiver, tmp_path: Path
):
    # gRPC takes 4 MiB by default.
    where = Destination("traces", "grpc", collector.otlp_grpc, insecure=True)
    first = first_of(sink)
    spooled = QueuedExporter(tmp_path / "spool", {"traces": exporter(where)}, Account())
    try:
        numbers = range(first, first + 60)
        spooled.put("traces", spans(numbers, "x" * 100_000), 60)
        assert spooled.flush(10)
        check(spooled, sink, set(numbers))
    finally:
        spooled.close()
