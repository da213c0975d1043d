"""What a ratio keeps, on a real Jaeger; and what metrics say, on a real Prometheus."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.backends.test_demo import get, promql
from tests.programs import plain_environ

pytestmark = pytest.mark.slow

SLOW = 0.5
PROGRAM = """
import asyncio, json, sys
import spanrun as sr

SLOW = float(sys.argv[1])
told = []

class Watch:
    def run_opened(self, run):
        told.append({"id": run.id, "wanted": [], "jobs": 0, "runner": run.runner})

    def job_ended(self, run, outcome):
        # By their own times, so that no machine is too slow for the test.
        of_run = next(each for each in told if each["id"] == run.id)
        of_run["jobs"] += 1
        if isinstance(outcome, sr.Err) or outcome.timings.duration >= SLOW:
            of_run["wanted"].append(outcome.index)

    def run_closed(self, run): ...

@sr.instrumented
async def job(number):
    await asyncio.sleep(SLOW if number % 50 == 7 else 0)
    if number % 50 == 11:
        raise LookupError(number)
    return number

async def batch(numbers):
    await asyncio.sleep(SLOW if numbers[0] % 80 == 8 else 0)
    if numbers[0] % 80 == 16:
        raise LookupError(numbers)
    return numbers

async def main():
    for trace in ("child", "linked"):
        async with sr.Runner(trace, limit=100, observers=[Watch()]) as runner:
            with sr.unit("enclosing"):
                await runner.map(job, range(1_000), errors="collect", trace=trace)
            await runner.map(job, [1, 2, 3], trace=trace)
            await runner.map_batches(
                batch, range(400), size=8, errors="collect", trace=trace
            )

sr.configure(store="none")
sr.run(main())
assert sr.shutdown(30)
print(json.dumps(told))
"""


def program(
    folder: Path, service: str, ratio: str, jaeger: Any, prometheus: Any
) -> list[dict[str, Any]]:
    """Run it, and give its runs: their ids, and the jobs of them that must be kept."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(SLOW)],
        cwd=folder,
        env={
            **plain_environ(),
            "OTEL_SERVICE_NAME": service,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": ratio,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_http}/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{prometheus.otlp_http}/v1/metrics",
            "SPANRUN_SLOW": str(SLOW),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout))


def found(jaeger: Any, service: str, **tags: str) -> dict[str, dict[str, Any]]:
    """The spans of all traces that one search gives, by their ids."""
    traces = get(
        f"{jaeger.url}/api/traces",
        service=service,
        limit=100_000,
        **({"tags": json.dumps(tags)} if tags else {}),
    )["data"]
    return {
        span["spanID"]: {
            **{tag["key"]: tag["value"] for tag in span["tags"]},
            "name": span["operationName"],
            "leads to": [each["spanID"] for each in span["references"]],
            "trace": span["traceID"],
        }
        for trace in traces
        for span in trace["spans"]
    }


def totals(prometheus: Any, service: str) -> dict[tuple[Any, ...], int]:
    """All that was counted, by metric and labels; of histograms how many."""
    names = "spanrun_jobs_total|spanrun_(job_duration|batch_size|unit_duration).*_count"
    labels = "spanrun_runner_name,spanrun_job_outcome,error_type,spanrun_unit_name"
    series = f'last_over_time({{__name__=~"{names}",job="{service}"}}[10m])'
    rows = promql(prometheus, f"sum by (__name__,{labels}) ({series})")
    return {tuple(sorted(row["metric"].items())): int(row["value"][1]) for row in rows}


def exemplars(prometheus: Any, service: str) -> set[tuple[str, str]]:
    now = time.time()
    series = get(
        f"{prometheus.url}/api/v1/query_exemplars",
        query=f'{{__name__=~"spanrun_.+",job="{service}"}}',
        start=now - 600,
        end=now + 60,
    )["data"]
    return {
        (exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"])
        for each in series
        for exemplar in each["exemplars"]
    }


def test_one_search_finds_a_run_and_all_of_it_that_failed_or_was_slow(
    tmp_path: Path, jaeger: Any, prometheus: Any
) -> None:
    runs = program(tmp_path, "ratio", "0.01", jaeger, prometheus)
    assert [each["runner"] for each in runs] == ["child"] * 3 + ["linked"] * 3
    for run in runs:
        spans = found(jaeger, "ratio", **{"spanrun.run.id": run["id"]}).values()
        own = [span for span in spans if span.get("spanrun.run.id") == run["id"]]
        (unit,) = (span for span in own if span["name"] == f"run {run['runner']}")
        jobs = {
            span["spanrun.job.index"]: span for span in own if "job " in span["name"]
        }
        assert set(run["wanted"]) <= jobs.keys()
        assert unit["spanrun.run.trace"] == run["runner"]
        run["kept"] = len(jobs)
    for first, *_ in (runs[0:3], runs[3:6]):  # of a few jobs exemplars may keep all
        assert 40 <= len(first["wanted"]) <= first["kept"] < first["jobs"]
    batches = runs[2], runs[5]
    for run in batches:
        spans = found(jaeger, "ratio", **{"spanrun.run.id": run["id"]})
        for span in spans.values():
            if span["name"].startswith("job "):
                (above,) = (spans[each] for each in span["leads to"])
                assert span["spanrun.batch.index"] == above["spanrun.batch.index"]
            if span["name"].startswith("batch "):
                assert len(span["leads to"]) == (run["runner"] == "child")
    everything = found(jaeger, "ratio")
    assert any(span["name"] == "enclosing" for span in everything.values())
    for span in everything.values():
        assert all(each in everything for each in span["leads to"]), span
    led = exemplars(prometheus, "ratio")
    assert led
    for trace_id, span_id in led:
        assert everything[span_id]["trace"] == trace_id


def test_metrics_are_the_same_at_any_ratio(
    tmp_path: Path, jaeger: Any, prometheus: Any
) -> None:
    every = []
    for ratio in ("1", "0.1", "0"):
        service = f"ratio-{ratio}"
        runs = program(tmp_path, service, ratio, jaeger, prometheus)
        counted = totals(prometheus, service)
        assert len({dict(key)["__name__"] for key in counted}) == 4
        jobs = [n for key, n in counted.items() if "jobs_total" in str(key)]
        assert sum(jobs) == sum(run["jobs"] for run in runs)
        every.append(counted)
        everything = found(jaeger, service)
        assert {span_id for _, span_id in exemplars(prometheus, service)} <= (
            everything.keys()
        )
    assert every[0] == every[1] == every[2]
