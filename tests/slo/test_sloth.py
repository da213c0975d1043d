"""The rules against those of Sloth v0.16.0 for the same objective.

Its rules are recorded in tests/data/slo, with the command that made them. Where the
two differ is explained in docs/explanation/burn-rates.md, and shown here.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.slo.files import AVAILABILITY, FAILED, OK, changed, one, rules_of
from tests.slo.promtool import (
    Values,
    check,
    counter,
    evaluate,
    nothing,
    run_tests,
    shown,
)

from spanrun.slo import groups
from spanrun.slo.burn import MINUTES
from spanrun.slo.rules import ALERT

RECORDED = Path(__file__).parents[1] / "data" / "slo"
ERRORS = "slo:sli_error:ratio_rate"


def sloth(days: int = 30) -> Path:
    return RECORDED / f"sloth-{days}d.yaml"


def sloth_groups() -> Path:
    return RECORDED / "sloth-groups-30d.yaml"


def copied(folder: Path) -> Path:
    """Sloth's rules, where promtool may write beside them."""
    path = folder / "sloth.yaml"
    path.write_text(sloth().read_text(encoding="utf-8"), encoding="utf-8")
    return path


def thresholds(rules: Any, pattern: str) -> dict[str, set[tuple[str, float]]]:
    """For each severity the windows and thresholds of its alerts."""
    return {
        rule["labels"]["severity"]: {
            (window, round(eval(limit), 9))  # noqa: S307 -- a product of numbers
            for window, limit in re.findall(pattern, rule["expr"])
        }
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


@pytest.mark.parametrize("days", [28, 30])
def test_alerts_have_the_same_windows_and_factors(days: int) -> None:
    theirs = yaml.safe_load(sloth(days).read_text(encoding="utf-8"))
    ours = groups([one(changed(AVAILABILITY, "30d", f"{days}d"))])
    wanted = thresholds(theirs, r"ratio_rate(\w+)\{.*?> (\(.*?\))")
    assert sum(map(len, wanted.values())) == 8
    assert thresholds(ours, r"ratio_(\w+)\{.*?> ([\d.]+)") == wanted


def test_its_input_asks_for_the_same_events() -> None:
    """What is recorded belongs to the objective that we compile."""
    text = (RECORDED / "sloth-input.yaml").read_text(encoding="utf-8")
    queries = re.findall(r"spanrun_jobs_total\{.*?\}", text)
    (group,) = groups([one(AVAILABILITY)])["groups"]
    total, bad = (rule["expr"] for rule in group["rules"][:2])
    assert queries[0] in bad
    assert queries[1] in total
    check(sloth())


STEADY = {OK % 1: counter([97] * 240), FAILED % 1: counter([3] * 240)}


def test_same_ratios_and_alerts_in_steady_traffic(tmp_path: Path) -> None:
    firing = {200: ("page", "ticket")}
    busy: dict[str, Values] = {
        OK % 1: counter([97] * 240),
        FAILED % 1: counter([30] * 240),
    }
    ours, theirs = rules_of(tmp_path, AVAILABILITY), copied(tmp_path)
    windows = [*MINUTES, "period"]
    evaluate(
        ours,
        STEADY,
        {(230, f"slo:bad:ratio_{window}"): 0.03 for window in windows},
        {200: ("ticket",)},
    )
    evaluate(
        theirs,
        STEADY,
        {(230, f"{ERRORS}{window}"): 0.03 for window in [*MINUTES, "30d"]},
        {200: ("ticket",)},
    )
    evaluate(ours, busy, {}, firing)
    evaluate(theirs, busy, {}, firing)


def test_one_idle_hour_makes_its_period_nan(tmp_path: Path) -> None:
    series: dict[str, Values] = {
        OK % 1: counter([99] * 60 + [0] * 60 + [99] * 60),
        FAILED % 1: counter([1] * 60 + [0] * 60 + [1] * 60),
    }
    nan = f"count({ERRORS}30d != {ERRORS}30d)"
    evaluate(copied(tmp_path), series, {(180, nan): 1, (50, nan): None})
    evaluate(
        rules_of(tmp_path, AVAILABILITY), series, {(180, "slo:bad:ratio_period"): 0.01}
    )


def test_it_weighs_minutes_and_not_events(tmp_path: Path) -> None:
    """An hour of 1,000 jobs a minute, then one of 10, half of which fail."""
    series: dict[str, Values] = {
        OK % 1: counter([1_000] * 60 + [5] * 60),
        FAILED % 1: counter([0] * 60 + [5] * 60),
    }
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        series,
        {(124, "slo:bad:ratio_period"): 300 / 60_600},
    )
    wrong = f"({ERRORS}30d > bool 0.2) * ({ERRORS}30d < bool 0.3)"
    evaluate(copied(tmp_path), series, {(120, wrong): 1})


def test_it_sees_nothing_of_a_single_sample(tmp_path: Path) -> None:
    series: dict[str, Values] = {
        OK % 1: [*nothing(10), 90.0],
        FAILED % 1: [*nothing(10), 10.0],
    }
    evaluate(copied(tmp_path), series, {(12, f"{ERRORS}1h"): None})
    evaluate(rules_of(tmp_path, AVAILABILITY), series, {(20, "slo:bad:ratio_1h"): 0.1})


def test_it_has_no_floor_of_events(tmp_path: Path) -> None:
    series: dict[str, Values] = {
        OK % 1: [0, 1, 2, *[2] * 30],
        FAILED % 1: [0, 1, *[1] * 31],
    }
    evaluate(copied(tmp_path), series, {}, {4: ("page", "ticket")})
    evaluate(rules_of(tmp_path, AVAILABILITY), series, {}, {4: ()})


GROUPED = changed(
    AVAILABILITY,
    "\nspec:\n",
    "\n  annotations:\n    spanrun/group-by: spanrun.runner.name\nspec:\n",
)
BY_RUNNER = 'spanrun_jobs_total{spanrun_job_outcome="%s",spanrun_runner_name="%s"}'
RUNS: dict[str, dict[str, list[tuple[int, int, int]]]] = {
    "one fails wholly, and is mended": {
        "small": [(60, 10, 0), (90, 0, 10), (150, 10, 0)],
        "bulk": [(300, 500, 0)],
    },
    "one fails a little, for long": {
        "small": [(300, 97, 3)],
        "bulk": [(300, 500, 1)],
    },
    "both, one after the other": {
        "small": [(40, 100, 0), (80, 70, 30), (180, 100, 0)],
        "bulk": [(120, 500, 0), (30, 400, 100), (150, 500, 0)],
    },
    "at the edge of a page": {
        "small": [(60, 100, 0), (240, 92, 8)],
        "bulk": [(60, 500, 0), (240, 475, 25)],
    },
}
"""For each runner: so many minutes with so many good and bad jobs each; four samples
in a minute, as `rate` leaves out what grew before the first one in its window."""


NEAR = 1
"""Evaluations, one a minute. Ours count what happened up to a minute ago."""


def ours_fire(around: str = "") -> str:
    """Our alerts, by runner and severity, as PromQL."""
    firing = f'ALERTS{{alertname="{ALERT}",alertstate="firing"}}{around}'
    return f"sum by (severity, spanrun_runner_name) ({firing})"


def theirs_fire(around: str = "") -> str:
    """The same of Sloth's, where the objective is called as the runner."""
    named = f'ALERTS{{alertname="Burns",alertstate="firing"}}{around}'
    replaced = (
        f'label_replace({named}, "spanrun_runner_name", "$1", "sloth_slo", "(.*)")'
    )
    return f"sum by (severity, spanrun_runner_name) ({replaced})"


def unmatched(fire: Any, other: Any) -> str:
    """What one has, and the other has not at about that time."""
    near = " or ".join(
        other(f" offset {minutes}m") for minutes in range(-NEAR, NEAR + 1)
    )
    return f"{fire()} unless ({near})"


@pytest.mark.parametrize("name", RUNS)
def test_groups_fire_when_an_objective_each_of_sloth_does(
    name: str, tmp_path: Path
) -> None:
    """In each minute, within one evaluation; and no other group does."""
    theirs = yaml.safe_load(sloth_groups().read_text(encoding="utf-8"))
    ours = groups([one(GROUPED)])
    rules = tmp_path / "both.yaml"
    rules.write_text(yaml.safe_dump({"groups": ours["groups"] + theirs["groups"]}))
    series = {
        BY_RUNNER % (outcome, runner): counter(
            [part[place] / 4 for part in parts for _ in range(4 * part[0])]
        )
        for runner, parts in RUNS[name].items()
        for outcome, place in (("ok", 1), ("failed", 2))
    }
    tests = {
        "interval": "15s",
        "input_series": [
            {"series": each, "values": shown(values)} for each, values in series.items()
        ],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{minute}m", "exp_samples": []}
            for minute in range(10, 300)
            for expr in (
                unmatched(ours_fire, theirs_fire),
                unmatched(theirs_fire, ours_fire),
            )
        ]
        + [
            {
                "expr": "count(count_over_time(ALERTS[5h])) by (alertname) > bool 0",
                "eval_time": "300m",
                "exp_samples": [
                    {"labels": f'{{alertname="{each}"}}', "value": 1}
                    for each in ("Burns", ALERT)
                ],
            }
        ],
    }
    run_tests(rules, [tests])
