"""An objective with groups: each has its own budget, and its alert names it."""

import json
from pathlib import Path

import pytest
import yaml
from tests.slo.files import AVAILABILITY, LATENCY, changed, one, rules_of
from tests.slo.promtool import check, counter, run_tests, shown

from spanrun import recordings
from spanrun.errors import ConfigurationError
from spanrun.slo import groups, parse
from spanrun.slo.annotations import RUNBOOKS
from spanrun.slo.local import Part, check_run
from spanrun.slo.promql import label
from spanrun.slo.rules import ALERT
from spanrun.slo.text import rule_file

HOUR = 60
PROMETHEUS = Path(__file__).parents[2] / "instrumentation" / "prometheus"
BY_RUNNER = "  annotations:\n    spanrun/group-by: spanrun.runner.name\nspec:\n"
JOBS = 'spanrun_jobs_total{spanrun_job_outcome="%s",spanrun_runner_name="%s"}'
BUCKET = (
    'spanrun_job_duration_seconds_bucket{spanrun_job_outcome="ok",'
    'spanrun_runner_name="%s",le="%s"}'
)
COUNT = (
    'spanrun_job_duration_seconds_count{spanrun_job_outcome="ok",'
    'spanrun_runner_name="%s"}'
)


def grouped(text: str) -> str:
    return changed(text, "\nspec:\n", f"\n{BY_RUNNER}")


@pytest.mark.parametrize(
    "text", [AVAILABILITY, LATENCY, changed(AVAILABILITY, "bad:", "good:")]
)
def test_prometheus_takes_the_rules(text: str, tmp_path: Path) -> None:
    check(rules_of(tmp_path, grouped(text)))


def test_a_failing_runner_is_not_diluted(tmp_path: Path) -> None:
    """One whose jobs all fail pages, and is named; the bulk one beside it isn't.

    Both do within five minutes: a new one, and one that did well for an hour.
    """
    minutes = 3 * HOUR
    series = {
        JOBS % ("ok", "bulk"): counter([500] * minutes),
        JOBS % ("failed", "bulk"): counter([0] * minutes),
        JOBS % ("failed", "new"): [None] * HOUR + counter([10] * (minutes - HOUR)),
        JOBS % ("ok", "small"): counter([10] * HOUR + [0] * (minutes - HOUR)),
        JOBS % ("failed", "small"): counter([0] * HOUR + [10] * (minutes - HOUR)),
    }
    burning = 'ALERTS{alertstate="firing", severity="page"}'
    firing = f"count by (spanrun_runner_name) ({burning})"
    small, new = (
        {"labels": f'{{spanrun_runner_name="{runner}"}}', "value": 1}
        for runner in ("small", "new")
    )
    tests = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": shown(values)} for name, values in series.items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples}
            for minute, samples in (
                (HOUR, []),
                (HOUR + 5, [new, small]),
                (minutes, [new, small]),
            )
        ],
    }
    run_tests(rules_of(tmp_path, grouped(AVAILABILITY)), [tests])
    alone = tests | {
        "promql_expr_test": [
            {"expr": burning, "eval_time": f"{minutes}m", "exp_samples": []}
        ]
    }
    run_tests(rules_of(tmp_path, AVAILABILITY), [alone])


def test_each_group_has_its_own_numbers(tmp_path: Path) -> None:
    """Also one of which no event is bad, and one that begins later."""
    series = {
        JOBS % ("ok", "bulk"): counter([99] * HOUR),
        JOBS % ("failed", "bulk"): counter([1] * HOUR),
        JOBS % ("ok", "clean"): counter([10] * HOUR),
    }
    values = {
        "slo:bad:ratio_period": (0.01, 0),
        "slo:budget_remaining:ratio": (0, 1),
        "slo:error_budget:ratio": (0.01, 0.01),
        "slo:objective:ratio": (0.99, 0.99),
        "slo:time_period:days": (30, 30),
    }
    tests = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": shown(each)} for name, each in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'round(1e6 * {name}{{spanrun_runner_name="{runner}"}}) / 1e6',
                "eval_time": "50m",
                "exp_samples": [
                    {
                        "labels": '{service="demo",slo="demo",'
                        f'spanrun_runner_name="{runner}"}}',
                        "value": value,
                    }
                ],
            }
            for name, pair in values.items()
            for runner, value in zip(("bulk", "clean"), pair, strict=True)
        ],
    }
    run_tests(rules_of(tmp_path, grouped(AVAILABILITY)), [tests])


def test_latency_of_each_group(tmp_path: Path) -> None:
    series = {
        BUCKET % ("slow", "1"): counter([5] * HOUR),
        BUCKET % ("slow", "+Inf"): counter([10] * HOUR),
        COUNT % "slow": counter([10] * HOUR),
        BUCKET % ("quick", "1"): counter([100] * HOUR),
        BUCKET % ("quick", "+Inf"): counter([100] * HOUR),
        COUNT % "quick": counter([100] * HOUR),
    }
    tests = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": shown(each)} for name, each in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": "sum by (spanrun_runner_name) (slo:bad:ratio_1h)",
                "eval_time": "50m",
                "exp_samples": [
                    {"labels": '{spanrun_runner_name="quick"}', "value": 0},
                    {"labels": '{spanrun_runner_name="slow"}', "value": 0.5},
                ],
            }
        ],
    }
    run_tests(rules_of(tmp_path, grouped(LATENCY)), [tests])


def test_the_local_store_is_judged_by_group() -> None:
    store = Path(__file__).parents[1] / "data" / "store" / "format-3.db"
    slo = one(grouped(AVAILABILITY))
    with recordings.open(store) as recording:
        session = recording.session().id
        runners = {run.id: run.runner for run in recording.runs(session)}
        jobs = [
            (runners[job.run], job.outcome)
            for job in recording.jobs(session)
            if job.outcome in ("ok", "failed", "timed_out")
        ]
        verdicts = check_run(recording, Part(session), [slo])
    names = [each.group["spanrun.runner.name"] for each in verdicts]
    assert sorted(names) == sorted({runner for runner, _ in jobs})
    for verdict, runner in zip(verdicts, names, strict=True):
        of_it = [outcome for name, outcome in jobs if name == runner]
        assert verdict.total == len(of_it)
        assert verdict.bad == len(of_it) - of_it.count("ok")
        assert verdict.name == f"demo ({runner})"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("spanrun.job.phase", "has 'spanrun.job.phase', which is no attribute"),
        ("spanrun.runner.name, spanrun.runner.name", "names an attribute twice"),
        ("','", "has '', which is no attribute"),
    ],
)
def test_what_cannot_be_grouped_by_is_named(value: str, said: str) -> None:
    text = grouped(AVAILABILITY)
    with pytest.raises(ConfigurationError, match=said):
        parse(text.replace("group-by: spanrun.runner.name", f"group-by: {value}"))


def test_alerts_link_to_the_board_of_their_group(tmp_path: Path) -> None:
    slo = one(grouped(AVAILABILITY))
    made = groups([slo], grafana="https://grafana/")
    path = tmp_path / "rules.yaml"
    path.write_text(rule_file(made), encoding="utf-8")
    check(path)
    (group,) = made["groups"]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    chosen = "var-slo=demo&var-runner={{ $labels.spanrun_runner_name | urlquery }}"
    wanted = f"https://grafana/d/spanrun-slo?{chosen}"
    assert {rule["annotations"]["dashboard_url"] for rule in alerts} == {wanted}
    (group,) = groups([slo])["groups"]
    assert not any("dashboard_url" in str(rule) for rule in group["rules"])


def test_a_page_silences_the_ticket_of_its_group_alone() -> None:
    shipped = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text("utf-8"))
    (rule,) = shipped["inhibit_rules"]
    group_by = {
        label(name)
        for path in (PROMETHEUS.parent / "slo").glob("*.yaml")
        for slo in parse(path.read_text("utf-8"))
        for name in slo.group_by
    }
    assert set(rule["equal"]) == {"slo", "service", *group_by}
    matched = {*rule["source_matchers"], *rule["target_matchers"]}
    assert matched == {f"alertname = {ALERT}", "severity = page", "severity = ticket"}


def test_the_alert_of_a_group_says_what_burns_its_budget(tmp_path: Path) -> None:
    """Neither the budget nor the errors of another runner, whatever they are called."""
    text = changed(grouped(AVAILABILITY), "0.99", "0.9")
    odd = 'a"%d'
    series = {
        ("odd", "KeyError"): (odd, "0+10x30"),
        ("odd", "OSError"): (odd, "0+5x30"),
        ("bulk", "ValueError"): ("bulk", "0+10x30"),
        ("bulk", ""): ("bulk", "0+490x30"),
    }
    whose = f"demo of demo · spanrun.runner.name {odd}"
    wanted = {
        "exp_labels": {
            "slo": "demo",
            "service": "demo",
            "severity": "ticket",
            "spanrun_runner_name": odd,
        },
        "exp_annotations": {
            "summary": "Demo jobs return a value: the error budget burns too fast"
            f" · spanrun.runner.name {odd}",
            "description": f"{whose}: 100% of the events are bad, where 10% may be. "
            "More than 3 times over 1d or 1 times over 3d what 30 days allow. "
            "-900% of the budget are left. Most of the bad ones: KeyError.",
            "runbook_url": f"{RUNBOOKS}/errors-burn-the-budget.md",
        },
    }
    page = {
        "exp_labels": wanted["exp_labels"] | {"severity": "page"},
        "exp_annotations": wanted["exp_annotations"]
        | {
            "description": wanted["exp_annotations"]["description"].replace(
                "3 times over 1d or 1 times over 3d", "6 times over 6h"
            )
        },
    }
    test = {
        "interval": "1m",
        "input_series": [
            {
                "series": changed(
                    JOBS.replace('"%s"', "%s"),
                    "}",
                    f",error_type={json.dumps(error)}}}",
                )
                % ('"failed"' if error else '"ok"', json.dumps(runner)),
                "values": values,
            }
            for (_, error), (runner, values) in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": ALERT, "exp_alerts": [page, wanted]}
        ],
    }
    run_tests(rules_of(tmp_path, text), [test])
