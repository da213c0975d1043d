"""What an on-call engineer asks of the workload, and what the real backends answer."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
REFUSED = "spanrun.errors.CircuitOpen"


class Answers(NamedTuple):
    """The servers after the workload, and what really happened in it."""

    prometheus: str
    jaeger: str
    truth: dict[str, dict[str, Any]]

    def by(self, labels: str, query: str) -> dict[tuple[str, ...], float]:
        """The newest value of a query by some labels, without those that are 0."""
        asked = f"sum by ({labels}) (max_over_time({query}[1h])) > 0"
        rows = get(f"{self.prometheus}/api/v1/query", query=asked)["data"]["result"]
        names = [each.strip() for each in labels.split(",")]
        return {
            tuple(row["metric"].get(name, "") for name in names): float(row["value"][1])
            for row in rows
        }


def get(url: str, **params: str) -> Any:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        return client.get(url, params=params).raise_for_status().json()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    needs("jaeger")
    needs("prometheus")
    with servers.jaeger() as jaeger, servers.prometheus() as prometheus:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        done = subprocess.run(
            [sys.executable, "-m", "instrumentation.workload", "--jobs", "400"],
            env={
                **clean,
                "PYTHONPATH": str(ROOT),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_http}/v1/traces",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": (
                    f"{prometheus.otlp_http}/v1/metrics"
                ),
            },
            cwd=tmp_path_factory.mktemp("workload"),
            check=True,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        told = json.loads(done.stdout)
        assert told["delivered"] is True, done.stderr
        yield Answers(prometheus.url, jaeger.url, told["runners"])


def test_how_many_jobs_failed_and_of_what(answers: Answers):
    jobs = answers.by(
        "spanrun_runner_name, spanrun_job_outcome, error_type",
        'spanrun_jobs_total{service_name="workload"}',
    )
    wanted: dict[tuple[str, ...], float] = {}
    for name, told in answers.truth.items():
        wanted[name, "ok", ""] = told["ok"]
        for error, count in told["errors"].items():
            wanted[name, "failed", error] = count
    assert jobs == wanted


def test_who_blocked_the_loop(answers: Answers):
    blocked = answers.by("spanrun_runner_name", "spanrun_loop_blocked_total")
    assert blocked["fetch",] >= 1


def test_the_breaker_refused_jobs_and_closed_again(answers: Answers):
    told = answers.truth["broken"]
    refused = answers.by(
        "spanrun_runner_name", f'spanrun_jobs_total{{error_type="{REFUSED}"}}'
    )
    assert refused == {("broken",): told["errors"][REFUSED]}


def test_the_slow_ones_are_counted_to_the_last(answers: Answers):
    """None of them is among the quick ones, whatever p95 says."""
    for name, told in answers.truth.items():
        assert 0 < told["slow"] < 0.1 * told["jobs"], name
    total = answers.by(
        "spanrun_runner_name",
        'spanrun_job_duration_seconds_count{spanrun_job_outcome="ok"}',
    )
    quick = answers.by(
        "spanrun_runner_name",
        'spanrun_job_duration_seconds_bucket{spanrun_job_outcome="ok",le="0.5"}',
    )
    assert (
        total["fetch",] - quick.get(("fetch",), 0)
        >= answers.truth["fetch"]["slow"] - (answers.truth["fetch"]["failing"])
    )


def test_the_rate_limit_is_what_was_waited_for(answers: Answers):
    waits = answers.by(
        "spanrun_runner_name, spanrun_job_phase", "spanrun_job_phase_time_seconds_total"
    )
    assert {runner for runner, phase in waits if phase == "rate_limit"} == {"paced"}


def test_every_exemplar_leads_to_its_trace(answers: Answers):
    found = get(
        f"{answers.prometheus}/api/v1/query_exemplars",
        query="spanrun_job_duration_seconds_bucket",
        start="0",
        end="9999999999",
    )["data"]
    traces = defaultdict(int)
    for series in found:
        for exemplar in series["exemplars"]:
            traces[exemplar["labels"]["trace_id"]] += 1
    assert traces

    def kept() -> int:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            urls = [f"{answers.jaeger}/api/traces/{each}" for each in traces]
            return sum(client.get(url).status_code == 200 for url in urls)

    until(lambda: kept() == len(traces), "all exemplars resolve")
