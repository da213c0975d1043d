"""Log records at a real Collector: none is lost, and each has its trace."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.telemetry.export.receiver import Receiver, receiving
from tests.telemetry.logs.arrived import records, values
from tests.waiting import PATIENCE, until

from spanrun.telemetry.queue.inspection import inspect_spool

JOBS, EACH = 1_000, 100
PROGRAM = f"""
import asyncio, json, logging, sys
import spanrun as sr
from spanrun.telemetry import setup

logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
log = logging.getLogger("app")
traces = {{}}

async def job(number):
    for each in range({EACH}):
        log.info("record %d of job %d", each, number)
    await asyncio.sleep(0)

async def main():
    async with sr.Runner("work", limit=8) as runner:
        outcomes = await runner.map(
            job, range({JOBS}), errors="collect", trace="linked"
        )
    return {{f"{{each.trace_id:032x}}": each.index for each in outcomes}}

sr.configure(service_name="logs", logs="INFO")
traces = sr.run(main())
print(json.dumps(traces), flush=True)
sys.stdin.read()  # while the collector is down
while not setup.telemetry().flush(1.0):
    pass  # gRPC waits between two tries to connect
print(sr.shutdown(), flush=True)
"""


@pytest.fixture
def sink() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def config(sink: Receiver) -> Any:
    """A Collector that answers when the sink has answered, and keeps nothing."""
    exporter = {
        "endpoint": sink.url,
        "compression": "none",
        "sending_queue": {"enabled": False},
        "retry_on_failure": {"enabled": False},
    }
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_http"]}
    return {
        "exporters": {"otlp_http": exporter},
        "service": {"pipelines": {"traces": pipeline, "logs": pipeline}},
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_100_000_records_outlast_an_outage_each_with_its_trace(
    sink: Receiver, tmp_path: Path, protocol: str
):
    needs("otelcol")
    needs("toxiproxy")
    from tests.backends.test_delivery import Proxy  # noqa: PLC0415 -- needs httpx

    with servers.collector(config(sink)) as collector, servers.toxiproxy() as toxi:
        upstream = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
        proxy = Proxy(toxi.url, upstream.removeprefix("http://"))
        proxy.enable(enabled=False)
        environ = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{proxy.address}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "none",
            "SPANRUN_SPOOL": str(tmp_path / "spool"),
        }
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=environ,
        ) as program:
            assert program.stdout is not None
            traces = json.loads(program.stdout.readline())
            until(
                lambda: waiting(tmp_path / "spool") == JOBS * EACH,
                "all of them on disk",
            )
            assert records(sink.requests) == []
            proxy.enable(enabled=True)
            out, _ = program.communicate(timeout=PATIENCE)
        proxy.close()
    assert (program.returncode, out) == (0, b"True\n")
    found = records(sink.requests)
    assert len(found) == JOBS * EACH
    assert len({(each.trace_id, each.body.string_value) for each in found}) == len(
        found
    )
    for record in found:
        index = traces[record.trace_id.hex()]
        assert record.body.string_value.endswith(f"of job {index}")
        assert values(record)["spanrun.job.index"] == index


def waiting(spool: Path) -> int:
    """Log records on disk."""
    return sum(writer.items.get("logs", 0) for writer in inspect_spool(spool).writers)
