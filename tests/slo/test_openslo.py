"""The subset of OpenSLO: what is read, and what is refused by name and line."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.slo.files import AVAILABILITY, LATENCY, changed, one

from spanrun import semconv
from spanrun.errors import ConfigurationError
from spanrun.slo import load, parse
from spanrun.slo.model import Availability, Latency, Match

FAILED = Match(semconv.SPANRUN_JOB_OUTCOME, ("failed", "timed_out"))
ENDED = Match(semconv.SPANRUN_JOB_OUTCOME, ("ok", "failed", "timed_out"))


def test_availability_is_read_whole() -> None:
    slo = one(AVAILABILITY)
    assert (slo.name, slo.title) == ("demo", "Demo jobs return a value")
    assert (slo.service, slo.description) == ("demo", "What it is for.")
    assert (slo.target, slo.budget, slo.period) == (0.99, 0.01, 30)
    assert slo.indicator == Availability(
        semconv.METRIC_SPANRUN_JOBS, (ENDED,), (FAILED,), part_is_bad=True
    )


def test_latency_is_read_whole() -> None:
    slo = one(LATENCY)
    ok = Match(semconv.SPANRUN_JOB_OUTCOME, ("ok",))
    assert slo.indicator == Latency(
        semconv.METRIC_SPANRUN_JOB_DURATION, (ok,), 1.0, native=False
    )
    assert slo.title == "demo"


def test_good_is_as_well_as_bad() -> None:
    text = changed(AVAILABILITY, "bad:", "good:")
    slo = one(changed(text, "[failed, timed_out]", "ok"))
    assert isinstance(slo.indicator, Availability)
    assert not slo.indicator.part_is_bad


@pytest.mark.parametrize(("written", "days"), [("28d", 28), ("4w", 28), ("30d", 30)])
def test_period(written: str, days: int) -> None:
    assert one(changed(AVAILABILITY, "30d", written)).period == days


def test_target_percent_is_the_same_target() -> None:
    percent = changed(AVAILABILITY, "target: 0.99", "targetPercent: 99.95")
    assert one(percent).target == 0.9995
    assert one(percent).budget == 0.0005


def test_annotations() -> None:
    text = changed(
        AVAILABILITY,
        "  name: demo",
        '  name: demo\n  annotations: {spanrun/min-bad-events: "20",'
        " spanrun/runbook: 'https://wiki/jobs'}",
    )
    slo = one(text)
    assert (slo.min_bad_events, slo.runbook) == (20, "https://wiki/jobs")


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("error.type: KeyError", Match(semconv.ERROR_TYPE, ("KeyError",))),
        ("error.type: [A, B]", Match(semconv.ERROR_TYPE, ("A", "B"))),
        ("error.type: {not: A}", Match(semconv.ERROR_TYPE, ("A",), negated=True)),
        ("error.type: {present: true}", Match(semconv.ERROR_TYPE, ("",), negated=True)),
        ("error.type: {present: false}", Match(semconv.ERROR_TYPE, ("",))),
        ("service.name: ingest", Match(semconv.SERVICE_NAME, ("ingest",))),
    ],
)
def test_where(where: str, match: Match) -> None:
    text = changed(
        AVAILABILITY,
        "spanrun.job.outcome: [failed, timed_out]",
        f"spanrun.job.outcome: failed\n                {where}",
    )
    slo = one(text)
    assert isinstance(slo.indicator, Availability)
    assert slo.indicator.part[1] == match


TOTAL = "spanrun.job.outcome: [ok, failed, timed_out]"

REFUSED = [
    # What is changed in the file, into what; the line and name, and what is said.
    ("openslo/v1", "openslo/v1alpha", "1: apiVersion is 'openslo/v1alpha'"),
    ("kind: SLO", "kind: SLI", "2: kind is 'SLI'"),
    ("kind: SLO", "kind: SLO\nkind: SLO", "3: kind is there twice"),
    ("kind: SLO\n", "", "1: the document has no kind"),
    ("name: demo", "name: Demo", "4: metadata.name is 'Demo'"),
    ("name: demo", "labels: {a: b}\n  name: demo", "4: metadata.labels is not in"),
    ("name: demo", "annotations: {a: b}\n  name: demo", "4: metadata.annotations.a"),
    (
        "name: demo",
        "annotations: {spanrun/min-bad-events: none}\n  name: demo",
        "4: metadata.annotations.spanrun/min-bad-events is 'none'",
    ),
    ("What it is for.", "x" * 1_051, "7: spec.description has 1051 characters"),
    ("What it is for.", '"a\\x07"', "7: spec.description is 'a\\x07'"),
    ("service: demo", "service:", "8: spec.service is no single value"),
    ("service: demo", "service: 17", "8: spec.service is '17'"),
    ("  service: demo\n", "", "6: spec has no service"),
    ("service: demo", "alertPolicies: []", "8: spec.alertPolicies is not in"),
    ("  indicator:", "  indicatorRef: x\n  indicator:", "9: spec.indicatorRef is not"),
    ("counter: true", "counter: false", "14: spec.indicator.spec.ratioMetric.counter"),
    (
        "counter: true",
        "counter: 1",
        "spec.ratioMetric.counter is neither",
    ),
    ("bad:", "raw:", "15: spec.indicator.spec.ratioMetric.raw is not in"),
    ("type: spanrun", "type: Prometheus", "17: spec.indicator.spec.ratioMetric.bad.m"),
    ("type: spanrun", "metricSourceRef: x", "17: spec.indicator.spec.ratioMetric.bad"),
    ("metric: spanrun.jobs", "query: up", "19: spec.indicator.spec.ratioMetric.bad.m"),
    (
        "metric: spanrun.jobs",
        "metric: spanrun.job",
        "is 'spanrun.job', which counts no events of spanrun: use one of spanrun.jobs",
    ),
    (
        "metric: spanrun.jobs",
        "metric: spanrun.runner.limit",
        "which counts no events of spanrun",
    ),
    (
        "metric: spanrun.jobs",
        "metric: spanrun.job.duration",
        "counts spanrun.job.duration, total counts spanrun.jobs",
    ),
    (
        "spanrun.job.outcome: [failed, timed_out]",
        "spanrun.job.outcomes: failed",
        "where.spanrun.job.outcomes is no attribute of spanrun.jobs: use one of span",
    ),
    ("[failed, timed_out]", "error", "outcome is 'error': use one of ok, failed,"),
    ("[failed, timed_out]", "[failed, x]", "outcome[1] is 'x': use one of ok"),
    ("[failed, timed_out]", "[]", "outcome is empty: name at least one"),
    ("[failed, timed_out]", "{not: ok, present: true}", "needs either not or present"),
    ("[failed, timed_out]", "{present: maybe}", "is neither true nor false"),
    ("[failed, timed_out]", "cancelled", "bad has events that total leaves out by"),
    ("[failed, timed_out]", "{not: ok}", "bad has events that total leaves out by"),
    (
        "spanrun.job.outcome: [failed, timed_out]",
        "error.type: {present: true}",
        "bad has events that total leaves out by spanrun.job.outcome",
    ),
    ("30d", "7d", "30: spec.timeWindow[0].duration is '7d': it must be 28d or 4w or"),
    ("isRolling: true", "isRolling: false", "31: spec.timeWindow[0].isRolling is fal"),
    ("isRolling: true", "calendar: {}", "31: spec.timeWindow[0].calendar is not in"),
    ("      isRolling: true\n", "", "30: spec.timeWindow[0] has no isRolling"),
    ("Occurrences", "Timeslices", "32: spec.budgetingMethod is 'Timeslices'"),
    ("- target: 0.99", "- target: 0.99\n    - target: 0.9", "has 2 entries"),
    ("    - target: 0.99", "    []", "33: spec.objectives has 0 entries"),
    ("    - target: 0.99", "    target: 0.99", "33: spec.objectives is no list"),
    ("target: 0.99", "target: 1", "34: spec.objectives[0].target is 1: it must be"),
    ("target: 0.99", "target: 0", "34: spec.objectives[0].target is 0"),
    ("target: 0.99", "target: .nan", "34: spec.objectives[0].target is '.nan'"),
    ("target: 0.99", "target: '0.99'", "34: spec.objectives[0].target is '0.99'"),
    ("target: 0.99", "target: 99%", "34: spec.objectives[0].target is '99%'"),
    ("target: 0.99", "targetPercent: 100", "34: spec.objectives[0].targetPercent is"),
    ("target: 0.99", "op: lte", "34: spec.objectives[0] needs either target or"),
    ("target: 0.99", "target: 0.9\n      op: lte", "35: spec.objectives[0].op has no"),
    ("target: 0.99", "timeSliceTarget: 1", "34: spec.objectives[0].timeSliceTarget is"),
    ("service: demo", "service: *other", "8 isn't YAML"),
    ("service: demo", "service: [", "10 isn't YAML"),
    ("service: demo", "\tservice: demo", "8 isn't YAML"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED, ids=range(len(REFUSED)))
def test_refused_by_name_and_line(old: str, new: str, said: str) -> None:
    assert old in AVAILABILITY
    with pytest.raises(ConfigurationError) as refused:
        parse(AVAILABILITY.replace(old, new, 1), "slo.yaml")
    told = str(refused.value)
    assert said in told
    assert told.startswith("slo.yaml:")
    if said[0].isdigit():
        assert told.startswith(f"slo.yaml:{said}")
    what, _, to_do = told.rpartition(": ")
    assert what
    assert to_do


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("value: 1", "value: 0.4", "no bucket of spanrun.job.duration ends: use 0.25 "),
        ("value: 1", "value: 0.4", "0.25 or 0.5, or let the source say histogram=nat"),
        ("value: 1", "value: 0.001", "use 0.005, or let"),
        ("value: 1", "value: 400", "use 300, or let"),
        ("value: 1", "value: 0", "value is 0: it must be above 0"),
        ("value: 1", "value: .inf", "value is '.inf'"),
        ("      value: 1\n", "", "spec.objectives[0] has no value"),
        ("op: lte", "op: lt", "op is 'lt': use lte"),
        ("op: lte", "op: gte", "op is 'gte': use lte"),
        ("    - op: lte\n      value", "    - value", "spec.objectives[0] has no op"),
        ("spanrun.job.duration", "spanrun.jobs", "a threshold needs a histogram"),
        ("where:", "histogram: sparse\n            where:", "histogram is 'sparse'"),
        ("thresholdMetric", "ratioMetric", "has no meaning for a ratioMetric"),
        ("thresholdMetric", "description", "needs either ratioMetric or thresholdM"),
    ],
)
def test_latency_is_refused_with_what_to_do(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(changed(LATENCY, old, new))
    assert said in str(refused.value)


@pytest.mark.parametrize("bound", semconv.METRIC_SPANRUN_JOB_DURATION.boundaries)
def test_every_boundary_is_a_threshold(bound: float) -> None:
    assert one(changed(LATENCY, "value: 1", f"value: {bound}"))


def test_native_histogram_has_any_threshold() -> None:
    text = changed(LATENCY, "where:", "histogram: native\n            where:")
    slo = one(changed(text, "value: 1", "value: 0.4"))
    assert isinstance(slo.indicator, Latency)
    assert slo.indicator.native


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no objective"),
        ("---\n---\n", "has no objective"),
        ("just text", "slo.yaml:1: the document is no mapping"),
        ("- a\n- b", "slo.yaml:1: the document is no mapping"),
        ("a: b", "slo.yaml:1: a is not in the subset"),
        ("? [a]\n: b", "slo.yaml:1: ? is not in the subset"),
        ("&x [*x]", "the document is no mapping"),
        ("<<: {kind: SLO}", "slo.yaml:1: << is not in the subset"),
        ("a: \x00", "isn't YAML"),
        ("[" * 600, "is nested too deeply"),
        (f"{AVAILABILITY}---\nnonsense", "slo.yaml:36: the document is no mapping"),
    ],
)
def test_nonsense_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text)
    assert said in str(refused.value)


def test_a_file_may_have_several(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    second = changed(LATENCY, "name: demo", "name: other")
    path.write_text(f"{AVAILABILITY}---\n{second}", encoding="utf-8")
    assert [slo.name for slo in load([path])] == ["demo", "other"]
    with pytest.raises(ConfigurationError, match="demo is there already"):
        load([path, path])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigurationError, match="isn't UTF-8"):
        load([path])


def test_without_pyyaml_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from spanrun.slo import parse\n"
        "try: parse('a: b')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "ConfigurationError reading an SLO file needs yaml: pip install 'spanrun[slo]'"
    )
