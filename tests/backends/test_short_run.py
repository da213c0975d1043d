"""A run of a second is one export for others; here every job of it is seen."""

import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from tests.programs import plain_environ
from tests.waiting import PATIENCE

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
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**plain_environ(), "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint},
        check=True,
        timeout=PATIENCE,
    )

    ok = 'spanrun_jobs_total{spanrun_job_outcome="ok"}'
    failed = 'spanrun_jobs_total{spanrun_job_outcome="failed"}'
    assert value(prometheus, f"sum(max_over_time({ok}[5m]))") == 990
    assert value(prometheus, f"sum(max_over_time({failed}[5m]))") == 10
    # `increase` sees the whole rise, from a zero point, and stretches it to its
    # window: never less than what happened, where one lone sample gives nothing.
    assert 990 <= value(prometheus, f"sum(increase({ok}[5m]))") < 2 * 990
    assert 10 <= value(prometheus, f"sum(increase({failed}[5m]))") < 2 * 10


SPREAD = """
import asyncio
import sys
import spanrun as sr

NAPS = [0.001, 0.007, 0.015, 0.03, 0.06, 0.12, 0.3, 0.6, 0.9, 1.5]

async def nap(number: int) -> None:
    await asyncio.sleep(NAPS[number % 10])

async def main() -> None:
    async with sr.Runner("spread", limit=100) as runner:
        await runner.map(nap, range(100), trace=sys.argv[1])

sr.configure(service_name="spread")
sr.run(main())
"""


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("trace", ["child", "linked"])
@pytest.mark.parametrize("ratio", ["1", "0.01"])
def test_each_bucket_of_a_short_run_has_an_exemplar_that_opens(
    prometheus: Any, jaeger: Any, trace: str, ratio: str, pure: str
) -> None:
    subprocess.run(
        [sys.executable, "-c", SPREAD, trace],
        env={
            **plain_environ(),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{prometheus.otlp_http}/v1/metrics",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_http}/v1/traces",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": ratio,
            "SPANRUN_PURE_PYTHON": pure,
        },
        check=True,
        timeout=PATIENCE,
    )
    buckets = get(
        f"{prometheus.url}/api/v1/query",
        query='spanrun_job_duration_seconds_bucket{spanrun_job_outcome="ok"}',
    )["result"]
    below, moved = 0, set()
    for bound, count in sorted(
        (float(row["metric"]["le"]), int(row["value"][1])) for row in buckets
    ):
        if count > below:
            moved.add(bound)
        below = count
    now = time.time()
    found = get(
        f"{prometheus.url}/api/v1/query_exemplars",
        query="spanrun_job_duration_seconds_bucket",
        start=str(now - 600),
        end=str(now + 60),
    )
    assert moved
    assert {float(each["seriesLabels"]["le"]) for each in found} == moved
    for trace_id in {
        exemplar["labels"]["trace_id"]
        for each in found
        for exemplar in each["exemplars"]
    }:
        (opened,) = get(f"{jaeger.url}/api/traces/{trace_id}")
        assert opened["spans"]


def get(url: str, **asked: str) -> Any:
    answer = httpx.get(url, params=asked, trust_env=False, verify=False)
    return answer.json()["data"]
