"""Metrics that a real Prometheus scrapes: exact counts, and no exemplars."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.waiting import PATIENCE, until

PROGRAM = """
import sys
import spanrun as sr

async def job(number):
    if number % 10 == 3:
        raise ValueError

async def main():
    async with sr.Runner("work", limit=8) as runner:
        await runner.map(job, range(1000), errors="collect")

sr.configure(service_name="scraped", store="none")
sr.run(main())
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_real_prometheus_has_the_exact_counts(tmp_path: Path):
    needs("prometheus")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    job = {
        "job_name": "spanrun",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    environ = {
        **os.environ,
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    with (
        servers.prometheus({"scrape_configs": [job]}) as prometheus,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=environ,
        ) as program,
        httpx.Client(base_url=prometheus.url, trust_env=False) as client,
    ):
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"

        def asked(query: str) -> dict[str, float]:
            answer = client.get("/api/v1/query", params={"query": query})
            found: list[Any] = answer.raise_for_status().json()["data"]["result"]
            return {
                each["metric"].get("spanrun_job_outcome", ""): float(each["value"][1])
                for each in found
            }

        by_outcome = (
            'sum by (spanrun_job_outcome) (%s{service_name="scraped",'
            'spanrun_runner_name="work"})'
        )
        jobs = by_outcome % "spanrun_jobs_total"
        until(lambda: asked(jobs).get("ok"), "a scrape")
        assert asked(f"{jobs} > 0") == {"ok": 900, "failed": 100}
        assert asked(f"{by_outcome % 'spanrun_job_duration_seconds_count'} > 0") == {
            "ok": 900,
            "failed": 100,
        }
        exemplars = client.get(
            "/api/v1/query_exemplars",
            params={
                "query": "spanrun_job_duration_seconds_bucket",
                "start": "0",
                "end": "9999999999",
            },
        )
        assert exemplars.json()["data"] == []
        program.communicate(timeout=PATIENCE)
    assert program.returncode == 0
