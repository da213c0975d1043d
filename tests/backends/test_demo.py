"""The main job, seen by the real Jaeger and the real Prometheus."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.programs import plain_environ
from tests.waiting import PATIENCE

from spanrun.ingest.documents import topics

RUNNERS = ("split", "extract", "embed", "store", "search", "search documents")


def demo(folder: Path, **environ: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "spanrun", "demo", "--json", "--no-progress"],
        cwd=folder,
        env={**plain_environ(), "OTEL_SERVICE_NAME": "demo", **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def get(url: str, **parameters: Any) -> Any:
    answer = httpx.get(
        url, params=parameters, timeout=10, trust_env=False, verify=False
    )
    answer.raise_for_status()
    return answer.json()


def promql(prometheus: Any, query: str) -> list[dict[str, Any]]:
    return get(f"{prometheus.url}/api/v1/query", query=query)["data"]["result"]


class Trace:
    """One trace as Jaeger's API gives it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.spans = {span["spanID"]: span for span in data["spans"]}
        self.trace_id = data["traceID"]

    def names(self) -> Counter[str]:
        return Counter(span["operationName"] for span in self.spans.values())

    def parent(self, span: dict[str, Any]) -> dict[str, Any] | None:
        for reference in span["references"]:
            if reference["refType"] == "CHILD_OF":
                return self.spans[reference["spanID"]]
        return None

    def ancestors(self, span: dict[str, Any]) -> list[str]:
        names: list[str] = []
        above = self.parent(span)
        while above is not None:
            names.append(above["operationName"])
            above = self.parent(above)
        return names

    def named(self, name: str) -> list[dict[str, Any]]:
        return [s for s in self.spans.values() if s["operationName"] == name]


@pytest.fixture
def seen(tmp_path: Path, jaeger: Any, prometheus: Any) -> dict[str, Any]:
    """A demo run whose traces went to Jaeger and whose metrics to Prometheus."""
    told = demo(
        tmp_path,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{jaeger.otlp_http}/v1/traces",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{prometheus.otlp_http}/v1/metrics",
    )
    return {"told": told, "jaeger": jaeger, "prometheus": prometheus}


def traces(jaeger: Any) -> list[Trace]:
    found = get(f"{jaeger.url}/api/traces", service="demo", limit=1000)["data"]
    return [Trace(data) for data in found]


def test_demo_run_is_whole_in_jaeger_and_exact_in_prometheus(
    seen: dict[str, Any],
) -> None:
    told, jaeger, prometheus = seen["told"], seen["jaeger"], seen["prometheus"]
    jobs = {stats["name"]: stats["jobs"] for stats in told["runners"]}
    documents = len(topics())
    assert told["documents"]["stored"] == documents
    assert jobs["split"] == jobs["extract"] == jobs["store"] == documents
    assert jobs["search"] == 3
    assert told["telemetry"]["dropped"] == 0
    assert told["telemetry"]["delivered"] == told["telemetry"]["produced"]

    check_ingest_trace(
        told,
        next(trace for trace in traces(jaeger) if trace.trace_id == told["trace_id"]),
        jobs,
    )
    check_counts(prometheus, jobs)
    check_exemplars(prometheus, jaeger)


def check_ingest_trace(
    told: dict[str, Any], trace: Trace, jobs: dict[str, int]
) -> None:
    names = trace.names()
    assert names["run ingest"] == 1
    for runner in ("split", "extract", "store"):
        assert names[f"job {runner}"] == jobs[runner]
        assert names[f"run {runner}"] == 1
    # Each batch has one job; the other `embed` jobs are single calls, elsewhere.
    assert names["batch embed"] == names["job embed"] == jobs["embed"] - 4
    items = sum(tag(span, "spanrun.batch.items") for span in trace.named("batch embed"))
    assert items == told["chunks"]

    ways = Counter(tuple(trace.ancestors(span)) for span in trace.named("POST"))
    assert set(ways) == {
        (
            "embeddings wordllama-l2-256",
            "attempt embed",
            "job embed",
            "batch embed",
            "run embed",
            "run ingest",
        )
    }
    attempts = sum(
        tag(span, "spanrun.job.attempts") for span in trace.named("job embed")
    )
    assert names["POST"] == names["attempt embed"] == attempts
    retried = defaultdict(list)
    for span in trace.named("POST"):
        retried[tag(span, "http.response.status_code")].append(
            tag(span, "http.request.resend_count", 0)
        )
    assert len(retried[200]) == names["job embed"]
    check_times(trace)


def check_times(trace: Trace) -> None:
    """A child lies inside its parent, and a job's parts add up to its duration."""
    slack = 2_000  # µs: Jaeger keeps microseconds, and start and end are rounded
    for span in trace.spans.values():
        above = trace.parent(span)
        if above is not None:
            assert span["startTime"] >= above["startTime"] - slack
            end = above["startTime"] + above["duration"]
            assert span["startTime"] + span["duration"] <= end + slack
        if span["operationName"].startswith("job "):
            parts = sum(
                entry["value"]
                for entry in span["tags"]
                if entry["key"].startswith("spanrun.job.time.")
            )
            assert parts * 1e6 == pytest.approx(span["duration"], rel=0.01, abs=1_000)


def tag(span: dict[str, Any], key: str, default: Any = None) -> Any:
    for entry in span["tags"]:
        if entry["key"] == key:
            return entry["value"]
    assert default is not None, f"{span['operationName']} has no {key}"
    return default


def check_counts(prometheus: Any, jobs: dict[str, int]) -> None:
    """Exact by max_over_time, and seen whole by rate: there is a zero point."""
    exact = promql(
        prometheus,
        "sum by (spanrun_runner_name, spanrun_job_outcome) "
        "(max_over_time(spanrun_jobs_total[5m]))",
    )
    counted = {
        (
            row["metric"]["spanrun_runner_name"],
            row["metric"]["spanrun_job_outcome"],
        ): float(row["value"][1])
        for row in exact
    }
    assert {runner: counted[runner, "ok"] for runner in RUNNERS} == jobs
    for runner in RUNNERS:
        assert counted[runner, "failed"] == 0
        rate = promql(
            prometheus,
            f'sum(rate(spanrun_jobs_total{{spanrun_runner_name="{runner}"}}[5m]))',
        )
        assert float(rate[0]["value"][1]) > 0
    observed = promql(
        prometheus, "sum(max_over_time(spanrun_job_duration_seconds_count[5m]))"
    )
    assert float(observed[0]["value"][1]) == sum(jobs.values())


def check_exemplars(prometheus: Any, jaeger: Any) -> None:
    now = get(f"{prometheus.url}/api/v1/query", query="time()")["data"]["result"][0]
    found = get(
        f"{prometheus.url}/api/v1/query_exemplars",
        query="spanrun_job_duration_seconds_bucket",
        start=now - 300,
        end=now + 10,
    )["data"]
    ids = {
        exemplar["labels"]["trace_id"]
        for series in found
        for exemplar in series["exemplars"]
    }
    assert ids
    known = {trace.trace_id for trace in traces(jaeger)}
    assert ids <= known


def test_the_same_through_a_collector_over_grpc(
    tmp_path: Path, collector_of: Any, jaeger: Any, prometheus: Any
) -> None:
    told = demo(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector_of.otlp_grpc,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    jobs = {stats["name"]: stats["jobs"] for stats in told["runners"]}
    assert told["telemetry"]["dropped"] == 0
    check_counts(prometheus, jobs)
    assert (
        sum(len(trace.spans) for trace in traces(jaeger))
        == (told["telemetry"]["delivered"]["traces"])
    )
