"""A run of a second is one export for others; here every job of it is seen."""

import os
import subprocess
import sys
from typing import Any

import httpx

SCRIPT = """
import asyncio
import spanrun as sr

async def job(number: int) -> None:
    await asyncio.sleep(0.02)
    if number % 100 == 7:
        raise LookupError(number)

async def main() -> None:
    async with sr.Runner("short", limit=20) as runner:
        await runner.map(job, range(1_000), errors="collect")

sr.configure(service_name="short")
sr.run(main())
"""


def value(prometheus: Any, query: str) -> float:
    answer = httpx.get(
        f"{prometheus.url}/api/v1/query",
        params={"query": query},
        trust_env=False,
        verify=False,
    )
    (row,) = answer.json()["data"]["result"]
    return float(row["value"][1])


def test_one_second_run_is_exact_by_max_and_seen_by_rate(prometheus: Any) -> None:
    endpoint = f"{prometheus.otlp_http}/v1/metrics"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**clean, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint},
        check=True,
        timeout=30,
    )

    ok = 'spanrun_jobs_total{spanrun_job_outcome="ok"}'
    failed = 'spanrun_jobs_total{spanrun_job_outcome="failed"}'
    assert value(prometheus, f"sum(max_over_time({ok}[5m]))") == 990
    assert value(prometheus, f"sum(max_over_time({failed}[5m]))") == 10
    # `increase` sees the whole rise, from a zero point, and stretches it to its
    # window: never less than what happened, where one lone sample gives nothing.
    assert 990 <= value(prometheus, f"sum(increase({ok}[5m]))") < 2 * 990
    assert 10 <= value(prometheus, f"sum(increase({failed}[5m]))") < 2 * 10
