"""The expressions: they parse, and ask for what spanrun sends."""

from pathlib import Path
from typing import Any

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.slo.files import AVAILABILITY, LATENCY, changed, one

from spanrun import semconv
from spanrun.slo import Slo, groups, load, panels, promql, queries
from spanrun.slo.health import health
from spanrun.slo.model import Match

SHIPPED = sorted((Path(__file__).parents[2] / "instrumentation" / "slo").glob("*.yaml"))

SLOS = [
    *load(SHIPPED),
    one(AVAILABILITY),
    one(changed(AVAILABILITY, "spanrun.jobs", "spanrun.job.duration")),
    one(LATENCY),
    one(changed(LATENCY, "where:", "histogram: native\n            where:")),
]


@pytest.mark.parametrize("slo", SLOS, ids=range(len(SLOS)))
def test_all_expressions_parse(slo: Slo) -> None:
    (group,) = groups([slo])["groups"]
    shown = [panel.expr for panel in [*panels(slo), *panels()]]
    for expr in [rule["expr"] for rule in group["rules"]] + shown + [*queries(slo)]:
        assert promql_parser.parse(expr) is not None


def test_health_parses() -> None:
    (group,) = health()["groups"]
    for rule in group["rules"]:
        assert promql_parser.parse(rule["expr"]) is not None


def selectors(node: Any) -> list[Any]:
    """The vector selectors in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    found: list[Any] = []
    for name in ("lhs", "rhs", "expr", "vector_selector", "vs", "param"):
        inner = getattr(node, name, None)
        if inner is not None:
            found += selectors(inner)
    for inner in getattr(node, "args", None) or ():
        found += selectors(inner)
    return found


@pytest.mark.parametrize("slo", SLOS, ids=range(len(SLOS)))
def test_only_metrics_of_the_registry_are_asked_for(slo: Slo) -> None:
    known = {
        promql.series(metric) + suffix
        for metric in semconv.METRICS
        for suffix in ("", "_count", "_bucket")
    }
    for count in (promql.total, promql.part):
        expr = count(slo.indicator, promql.MINUTE)
        found = selectors(promql_parser.parse(expr))
        assert found
        for selector in found:
            assert selector.name in known


def test_what_panels_show_is_recorded() -> None:
    slo = one(AVAILABILITY)
    (group,) = groups([slo])["groups"]
    recorded = {rule.get("record") for rule in group["rules"]}
    for panel in panels(slo):
        names = {one.name for one in selectors(promql_parser.parse(panel.expr))}
        assert names
        assert names <= recorded


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (semconv.METRIC_SPANRUN_JOBS, "spanrun_jobs_total"),
        (semconv.METRIC_SPANRUN_JOB_DURATION, "spanrun_job_duration_seconds"),
        (
            semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE,
            "spanrun_telemetry_spool_size_bytes",
        ),
        (semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE, "gen_ai_client_token_usage"),
    ],
)
def test_series_are_named_as_prometheus_does(metric: Any, name: str) -> None:
    assert promql.series(metric) == name


@pytest.mark.parametrize(
    ("threshold", "matcher"),
    [
        (0.5, 'le="0.5"'),
        (0.075, 'le="0.075"'),
        (1.0, r'le=~"1(\\.0)?"'),
        (300.0, r'le=~"300(\\.0)?"'),
        (1_048_576.0, r'le=~"1048576(\\.0)?|1\\.048576e\\+06"'),
        (4_000_000.0, r'le=~"4000000(\\.0)?|4e\\+06"'),
    ],
)
def test_bucket_matches_however_it_is_written(threshold: float, matcher: str) -> None:
    assert promql.bound(threshold) == matcher


@pytest.mark.parametrize(
    ("match", "matcher"),
    [
        (Match("error.type", ("a.B",)), 'error_type="a.B"'),
        (Match("error.type", ("a.B", "C")), r'error_type=~"a\\.B|C"'),
        (Match("error.type", ("A",), negated=True), 'error_type!="A"'),
        (Match("error.type", ("A", "B"), negated=True), 'error_type!~"A|B"'),
        (Match("error.type", ("",), negated=True), 'error_type!=""'),
    ],
)
def test_matcher(match: Match, matcher: str) -> None:
    assert promql.matcher(match) == matcher


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_any_value_comes_through(value: str) -> None:
    parsed = promql_parser.parse(f"up{{{promql.matcher(Match('x', (value,)))}}}")
    assert isinstance(parsed, promql_parser.VectorSelector)
    (found,) = parsed.matchers.matchers
    assert found.value == value
