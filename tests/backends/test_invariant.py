"""A whole program behind connections that misbehave: to the span, and each exemplar."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.backends.test_delivery import Proxy
from tests.backends.test_demo import get, promql
from tests.programs import plain_environ
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, json, logging, sys, threading
import spanrun as sr
from spanrun.telemetry import setup

logging.disable(logging.CRITICAL)
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set())).start()

async def job(number):
    await asyncio.sleep(0.02)
    if number % 97 == 5:
        raise LookupError(f"no {number}")
    return number

async def flaky(number, seen=set()):
    await asyncio.sleep(0.005)
    if number not in seen and number % 3 == 0:
        seen.add(number)
        raise ConnectionError("again, please")

def numbers():
    number = 0
    while not stopped.is_set():
        yield number
        number += 1

async def main():
    submitted = 0
    async with sr.Runner("plain", limit=6) as runner:
        async with runner.stream(job, numbers()) as outcomes:
            async for _ in outcomes:
                submitted += 1
    async with sr.Runner("flaky", retry=sr.Retry(on=OSError, base=0.001)) as runner:
        await runner.map(flaky, range(30), trace="linked")
    return submitted

sr.configure(service_name="victim", store="none")
print("ready", flush=True)
submitted = sr.run(main())
telemetry = setup.telemetry()
telemetry.flush(10)
done = sr.shutdown()
account = telemetry.account
print(json.dumps({
    "done": done,
    "jobs": submitted,
    **{name: getattr(account, name)["traces"] for name in
       ("produced", "delivered", "spooled", "sampled_out", "recovered")},
    "dropped": {f"{s} {why}": n for (s, why), n in account.dropped.items()},
}))
"""


@pytest.fixture
def stack(jaeger: Any, prometheus: Any) -> Iterator[dict[str, Any]]:
    """A Collector that has delivered when it answers, and a toxiproxy before it."""
    needs("otelcol")
    needs("toxiproxy")
    at_once = {
        "sending_queue": {"enabled": False},
        "retry_on_failure": {"enabled": False},
    }
    config = {
        "exporters": {
            "otlp_grpc": {
                "endpoint": urlsplit(jaeger.otlp_grpc).netloc,
                "tls": {"insecure": True},
                **at_once,
            },
            "otlp_http": {
                "metrics_endpoint": f"{prometheus.otlp_http}/v1/metrics",
                **at_once,
            },
        },
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["otlp_grpc"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["otlp_http"]},
            }
        },
    }
    with servers.collector(config) as collector, servers.toxiproxy() as toxiproxy:
        yield {
            "jaeger": jaeger,
            "prometheus": prometheus,
            "collector": collector,
            "toxiproxy": toxiproxy,
        }


def run(folder: Path, proxy: Proxy, environ: dict[str, str]) -> dict[str, Any]:
    """Run the program while the proxy does its worst; what it counted."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=folder,
        env={**plain_environ(), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for kind in ("latency", "reset_peer", "slow_close", "limit_data"):
                for stream in ("upstream", "downstream"):
                    proxy.poison(kind, stream)
                    time.sleep(0.4)
                    proxy.heal(kind)
            proxy.enable(enabled=False)
            time.sleep(1.0)
            proxy.enable(enabled=True)
            out, err = process.communicate("\n", timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(
    ("protocol", "ratio"),
    [("http/protobuf", None), ("http/protobuf", "0.1"), ("grpc", "0.1")],
)
def test_the_sum_is_even_to_the_span_and_each_exemplar_opens(
    stack: dict[str, Any], tmp_path: Path, protocol: str, ratio: str | None
) -> None:
    collector = stack["collector"]
    upstream = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    proxy = Proxy(stack["toxiproxy"].url, urlsplit(upstream).netloc)
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{proxy.address}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    if ratio is not None:
        environ["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
        environ["OTEL_TRACES_SAMPLER_ARG"] = ratio
    try:
        found = run(tmp_path, proxy, environ)
    finally:
        proxy.close()
    assert found["done"]
    assert found["jobs"] > 300
    assert found["dropped"] == {}
    assert found["produced"] == found["delivered"] + found["sampled_out"]
    assert found["spooled"] == found["recovered"] == 0
    assert not list(tmp_path.rglob("traces.*"))
    kept = spans(stack["jaeger"])
    assert len(kept) == found["delivered"]
    check_metrics(stack["prometheus"], found)
    check_exemplars(stack, {trace_id for trace_id, _ in kept})
    if ratio is None:
        assert found["sampled_out"] == 0
    else:
        assert found["sampled_out"] > found["delivered"]


def spans(jaeger: Any) -> set[tuple[str, str]]:
    """Trace and span ids of all that Jaeger has. It may have some twice."""
    found = get(f"{jaeger.url}/api/traces", service="victim", limit=100_000)["data"]
    return {
        (trace["traceID"], span["spanID"]) for trace in found for span in trace["spans"]
    }


def check_metrics(prometheus: Any, found: dict[str, Any]) -> None:
    (total,) = promql(
        prometheus,
        'sum(max_over_time(spanrun_jobs_total{spanrun_runner_name="plain"}[10m]))',
    )
    assert int(total["value"][1]) == found["jobs"]


def check_exemplars(stack: dict[str, Any], known: set[str]) -> None:
    now = time.time()
    series = get(
        f"{stack['prometheus'].url}/api/v1/query_exemplars",
        query='{__name__=~"spanrun_.+"}',
        start=now - 600,
        end=now + 60,
    )["data"]
    traces = {
        exemplar["labels"]["trace_id"]
        for each in series
        for exemplar in each["exemplars"]
    }
    assert len(traces) >= 3
    assert traces <= known
    for trace_id in traces:
        (trace,) = get(f"{stack['jaeger'].url}/api/traces/{trace_id}")["data"]
        assert trace["spans"]
