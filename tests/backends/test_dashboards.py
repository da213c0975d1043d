"""Every panel and every recording rule, asked of a real Prometheus after real runs."""

import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from instrumentation import stack
from instrumentation.backends import servers
from instrumentation.workload.seen import RATE_WINDOW, Seen, rules_file, shipped_groups
from tests import solr
from tests.backends.conftest import needs
from tests.dashboards import reading
from tests.dashboards.reading import Asked
from tests.programs import plain_environ
from tests.waiting import PATIENCE

from spanrun import semconv
from spanrun.slo import load, records
from spanrun.slo.promql import label

pytestmark = pytest.mark.slow

solr_server = solr.solr_server

ROOT = Path(__file__).parents[2]
INSTRUMENTATION = ROOT / "instrumentation"
OBJECTIVES = load(sorted((INSTRUMENTATION / "slo").glob("*.yaml")))
QUERIES = reading.queries()


@dataclass(frozen=True)
class RunSeen(Seen):
    """What the backends have of one run, and what the run says of itself."""

    jaeger: str
    phases: dict[str, float]


def run(*arguments: str, **environ: str) -> Any:
    """What the eventful program says at its end."""
    done = subprocess.run(
        [sys.executable, "-m", "instrumentation.workload.eventful", *arguments],
        env={
            **plain_environ(),
            "PYTHONPATH": str(ROOT),
            "OTEL_SERVICE_NAME": "eventful",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CASES = {
    "classic": ((), {}),
    "native": (
        (),
        {
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
                "base2_exponential_bucket_histogram"
            )
        },
    ),
    "clean": (("--clean",), {}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def seen(
    case: str, solr_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunSeen]:
    """A run of its own, in a Prometheus and a Jaeger of its own."""
    for name in ("prometheus", "jaeger"):
        needs(name)
    rules = rules_file(tmp_path_factory.mktemp("rules"))
    config = stack.prometheus_config() | {"rule_files": [str(rules)]}
    arguments, environ = CASES[case]
    with servers.prometheus(config) as prometheus, servers.jaeger() as jaeger:
        start = time.time()
        told = run(
            *(*arguments, "--solr", solr_server.url),
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{prometheus.otlp_http}/v1/metrics",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{jaeger.otlp_http}/v1/traces",
            **environ,
        )
        time.sleep(2.5)  # the rules see the last point
        with httpx.Client(timeout=30, trust_env=False, verify=False) as client:
            yield RunSeen(
                *(client, prometheus.url, "eventful", start - 1, time.time()),
                *(jaeger.url, told["phases"]),
            )


NOTHING_FAILED = {
    "Duration without a result",
    "Time to exhaustion",
    "Objectives",  # how long the budget lasts
}
"""Empty while there are only results, as they should be."""


def test_every_panel_has_data(seen: RunSeen, case: str) -> None:
    now = (asked for asked in QUERIES if "offset 1w" not in asked.expr)
    empty = {asked.panel for asked in now if not seen.has_data(asked)}
    assert empty == (NOTHING_FAILED if case == "clean" else set())


def test_histograms_are_of_the_kind_that_was_asked_for(
    seen: RunSeen, case: str
) -> None:
    names = set(seen.api("label/__name__/values"))
    assert ("spanrun_job_duration_seconds_bucket" in names) is (case != "native")
    assert ("spanrun_job_duration_seconds" in names) is (case == "native")


def test_every_recording_rule_has_data(seen: RunSeen) -> None:
    evaluated = seen.api("rules")["groups"]
    assert {rule["health"] for group in evaluated for rule in group["rules"]} == {"ok"}
    recorded = [
        rule
        for group in shipped_groups()
        for rule in group["rules"]
        if "record" in rule
    ]
    assert len(recorded) > 50
    for rule in recorded:
        values = seen.now(f'{rule["record"]}{{slo="{rule["labels"]["slo"]}"}}')
        assert values, rule
        assert all(map(math.isfinite, values.values())), rule


def test_errors_spend_the_budget_and_their_absence_does_not(
    seen: RunSeen, case: str
) -> None:
    for slo in OBJECTIVES:
        if not slo.name.endswith("-availability"):
            continue
        ratios, left = (
            seen.now(f'sum by (spanrun_runner_name) ({name}{{slo="{slo.name}"}})')
            for name in (records.ratio(records.PERIOD), records.BUDGET_REMAINING)
        )
        assert (len(ratios) > 1) is bool(slo.group_by)
        assert any(ratios.values()) is (case != "clean"), slo.name
        assert left == pytest.approx(
            {group: 1 - ratio / slo.budget for group, ratio in ratios.items()}
        ), slo.name


def named(board: str, panel: str) -> Asked:
    (asked,) = (q for q in QUERIES if (q.board, q.panel) == (board, panel))
    return asked


def by_label(rows: list[Any], attribute: str) -> dict[str, Any]:
    return {row["metric"][label(attribute)]: row["values"] for row in rows}


def test_the_stack_of_phases_agrees_with_the_ledger(seen: RunSeen) -> None:
    """The area of each phase is the time that the outcomes say of it."""
    asked = named("where-the-time-goes", "Jobs by phase")
    curves = seen.over_time(seen.expression(asked), more=RATE_WINDOW)
    areas = {
        phase: sum(float(value) for _, value in values)
        for phase, values in by_label(curves, semconv.SPANRUN_JOB_PHASE).items()
    }
    assert areas.keys() == seen.phases.keys()
    whole = sum(seen.phases.values())
    for phase, area in areas.items():
        assert area == pytest.approx(seen.phases[phase], abs=0.02 * whole), phase


def test_totals_by_phase_are_the_ledger(seen: RunSeen) -> None:
    asked = named("where-the-time-goes", "Time by runner and phase")
    rows = seen.api("query", query=seen.expression(asked), time=seen.end)["result"]
    totals: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        totals[row["metric"][label(semconv.SPANRUN_JOB_PHASE)]] += float(
            row["value"][1]
        )
    assert totals == pytest.approx(seen.phases, rel=1e-6)


@pytest.mark.parametrize("asked", [q for q in QUERIES if q.exemplars], ids=str)
def test_every_exemplar_opens_its_trace(seen: RunSeen, asked: Asked) -> None:
    found = seen.api(
        "query_exemplars",
        query=seen.expression(asked),
        start=seen.start,
        end=seen.end + 1,
    )
    ids = {
        exemplar["labels"]["trace_id"]
        for series in found
        for exemplar in series["exemplars"]
    }
    assert ids
    for trace_id in ids:
        answer = seen.client.get(f"{seen.jaeger}/api/traces/{trace_id}")
        assert answer.status_code == 200, trace_id
        assert answer.json()["data"][0]["traceID"] == trace_id
