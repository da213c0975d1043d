"""Objectives of any metric in Prometheus: what is read, and the rules that follow."""

from pathlib import Path
from typing import Any

import pytest
from tests.slo.files import AVAILABILITY, changed, one, rules_of
from tests.slo.promtool import check, counter, evaluate, run_tests, shown

from spanrun.errors import ConfigurationError
from spanrun.slo import judge, parse
from spanrun.slo.local import require_recorded
from spanrun.slo.model import Queried

HOUR = 60
ROUTE = "http_server_request_duration_seconds_count"
TOTAL = f'{ROUTE}{{http_route="/items/{{id}}"}}'
BAD = f'{ROUTE}{{http_route="/items/{{id}}",http_response_status_code=~"5.."}}'
HEAD, _, REST = AVAILABILITY.partition("      ratioMetric:\n")
TAIL = REST[REST.index("  timeWindow:") :]
SERIES = (
    f'{ROUTE}{{http_route="/items/{{id}}",http_response_status_code="%s",pod="%s"}}'
)


def source(query: str) -> str:
    return (
        "          metricSource:\n"
        "            type: prometheus\n"
        "            spec:\n"
        "              query: |-\n"
        f"                {query}\n"
    )


def ratio(total: str, part: str, which: str = "bad") -> str:
    return (
        f"{HEAD}      ratioMetric:\n        counter: true\n"
        f"        {which}:\n{source(part)}        total:\n{source(total)}{TAIL}"
    )


def share(query: str, kind: str) -> str:
    return (
        f"{HEAD}      ratioMetric:\n        rawType: {kind}\n"
        f"        raw:\n{source(query)}{TAIL}"
    )


def by(labels: str, text: str) -> str:
    annotations = f'\n  annotations:\n    spanrun/group-by: "{labels}"\nspec:\n'
    return changed(text, "\nspec:\n", annotations)


WINDOW = "sum(increase(%s[{{.window}}]))"
OBJECTIVES = {
    "counters": ratio(TOTAL, BAD),
    "good counters": ratio(TOTAL, BAD.replace("=~", "!~"), "good"),
    "window": ratio(WINDOW % TOTAL, WINDOW % BAD),
    "success": share("avg(probe_success)", "success"),
    "failure": share("1 - avg(probe_success)", "failure"),
}


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("groups", ["", "pod"])
def test_prometheus_takes_the_rules(kind: str, groups: str, tmp_path: Path):
    text = OBJECTIVES[kind].replace("sum(", "sum by (pod) (").replace("avg(", "(")
    check(rules_of(tmp_path, by(groups, text) if groups else OBJECTIVES[kind]))


def test_the_file_is_read():
    slo = one(OBJECTIVES["counters"])
    assert slo.indicator == Queried(TOTAL, BAD, part_is_bad=True, form="counters")
    assert (slo.part_is_bad, slo.min_bad_events) == (True, 5)
    slo = one(OBJECTIVES["good counters"])
    assert slo.part_is_bad is False
    assert judge(slo, 100, 98).bad == 2
    slo = one(OBJECTIVES["success"])
    assert slo.indicator == Queried(
        "", "avg(probe_success)", part_is_bad=False, form="share"
    )
    assert slo.min_bad_events == 0


@pytest.mark.parametrize("kind", ["counters", "good counters", "window"])
def test_a_route_that_fails_pages(kind: str, tmp_path: Path):
    minutes = 3 * HOUR
    good = counter([100] * HOUR + [50] * (minutes - HOUR))
    bad = counter([0] * HOUR + [50] * (minutes - HOUR))
    series = {
        SERIES % ("200", "a"): good,
        SERIES % ("500", "a"): bad,
        f'{ROUTE}{{http_route="/other",http_response_status_code="500"}}': bad,
    }
    burning = [f"slo:bad:ratio_5m{{slo={'demo'!r}}}".replace("'", '"')]
    expected: dict[Any, Any] = {(minutes, burning[0]): 0.5}
    if kind != "window":  # `increase` guesses
        expected[minutes, 'slo:total:increase_5m{slo="demo"}'] = 500
        expected[minutes, 'slo:bad:increase_5m{slo="demo"}'] = 250
    rules = rules_of(tmp_path, OBJECTIVES[kind])
    firing = {HOUR - 1: [], minutes - 1: ["page", "ticket"]}
    evaluate(rules, series, expected, firing)


@pytest.mark.parametrize("kind", ["success", "failure"])
def test_a_share_that_is_too_low_pages(kind: str, tmp_path: Path):
    minutes = 3 * HOUR
    up = [1.0] * HOUR + [0.25] * (minutes - HOUR)
    rules = rules_of(tmp_path, OBJECTIVES[kind])
    expected = {
        (HOUR - 1, 'slo:bad:ratio_5m{slo="demo"}'): 0.0,
        (minutes, 'slo:bad:ratio_5m{slo="demo"}'): 0.75,
    }
    firing = {HOUR - 1: [], minutes - 1: ["page", "ticket"]}
    evaluate(rules, {"probe_success": up}, expected, firing)


def test_a_share_that_is_not_there_is_no_event(tmp_path: Path):
    rules = rules_of(tmp_path, OBJECTIVES["success"])
    values = [1.0] * 10 + [None] * 30
    evaluate(
        rules,
        {"probe_success": values},
        {(9, 'slo:bad:ratio_5m{slo="demo"}'): 0.0, (39, "slo:bad:ratio_5m"): None},
    )


def test_groups_are_labels_of_the_series(tmp_path: Path):
    minutes = 2 * HOUR
    series = {
        SERIES % ("200", "good"): counter([1000] * minutes),
        SERIES % ("500", "bad"): counter([10] * minutes),
    }
    found = {"labels": '{pod="bad"}', "value": 1}
    tests = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": shown(values)} for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (pod) (ALERTS{alertstate="firing",severity="page"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [found],
            }
        ],
    }
    run_tests(rules_of(tmp_path, by("pod", OBJECTIVES["counters"])), [tests])


REFUSED = {
    "a rate": (ratio(f"sum(rate({TOTAL}[$window]))", BAD), "say increase"),
    "a sum": (ratio(f"sum({TOTAL})", BAD), "counters are summed here"),
    "a range": (ratio(f"{TOTAL}[5m]", BAD), "is neither counters"),
    "two kinds": (ratio(TOTAL, WINDOW % BAD), "of different kinds"),
    "a share with a window": (share(WINDOW % TOTAL, "success"), "has a window"),
    "a share and a total": (
        changed(OBJECTIVES["success"], "raw:", f"total:\n{source(TOTAL)}        raw:"),
        "has no meaning beside raw",
    ),
    "no query": (changed(OBJECTIVES["counters"], "query:", "promql:"), "remove it"),
    "no counters": (
        changed(OBJECTIVES["counters"], "counter: true", "counter: false"),
        "write a share as raw",
    ),
    "our label": (by("service", OBJECTIVES["counters"]), "slo and service are ours"),
    "no label": (by("a-b", OBJECTIVES["counters"]), "name labels of the series"),
    "both types": (
        OBJECTIVES["counters"].replace("type: prometheus", "type: spanrun", 1),
        "it must be prometheus",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_kept_is_refused(what: str):
    text, why = REFUSED[what]
    with pytest.raises(ConfigurationError, match=why):
        parse(text)


def test_a_recording_can_not_answer_a_query():
    with pytest.raises(ConfigurationError, match="check it with --prometheus"):
        require_recorded([one(OBJECTIVES["counters"])])
