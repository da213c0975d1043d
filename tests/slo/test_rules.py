"""What the rules give on made-up series, by Prometheus' own evaluation."""

from pathlib import Path

import pytest
from tests.slo.files import AVAILABILITY, FAILED, LATENCY, OK, changed, one, rules_of
from tests.slo.promtool import check, counter, evaluate, nothing, run_tests

from spanrun.slo import groups
from spanrun.slo.annotations import RUNBOOKS

HOUR = 60
BUCKET = 'spanrun_job_duration_seconds_bucket{spanrun_job_outcome="ok",le="%s"}'
COUNT = 'spanrun_job_duration_seconds_count{spanrun_job_outcome="ok"}'
NATIVE = 'spanrun_job_duration_seconds{spanrun_job_outcome="ok"}'


@pytest.mark.parametrize(
    "text",
    [
        AVAILABILITY,
        changed(AVAILABILITY, "30d", "28d"),
        changed(AVAILABILITY, "0.99", "0.5"),
        changed(AVAILABILITY, "Demo jobs return a value", "'{{ \"Demo: jobs'"),
        changed(AVAILABILITY, "spanrun.jobs", "spanrun.job.duration"),
        LATENCY,
        changed(LATENCY, "value: 1", "value: 0.25"),
        changed(LATENCY, "where:", "histogram: native\n            where:"),
    ],
)
def test_prometheus_takes_the_rules(text: str, tmp_path: Path) -> None:
    check(rules_of(tmp_path, text))


@pytest.mark.parametrize("process_ends", [False, True])
def test_idle_hours_weigh_nothing(*, process_ends: bool, tmp_path: Path) -> None:
    """1 h of traffic, 10 h idle, 1 h with 2 % errors."""
    if process_ends:
        series = {
            OK % 1: counter([100] * HOUR),
            FAILED % 1: counter([0] * HOUR),
            OK % 2: nothing(11 * HOUR) + counter([98] * HOUR),
            FAILED % 2: nothing(11 * HOUR) + counter([2] * HOUR),
        }
    else:
        series = {
            OK % 1: counter([100] * HOUR + [0] * 600 + [98] * HOUR),
            FAILED % 1: counter([0] * 11 * HOUR + [2] * HOUR),
        }
    idle = range(70, 11 * HOUR, 45)
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        series,
        {
            **{(minute, "slo:bad:ratio_period"): 0 for minute in idle},
            **{(minute, "slo:budget_remaining:ratio"): 1 for minute in idle},
            (300, "slo:bad:ratio_1h"): None,
            (300, "slo:total:increase_1h"): 0,
            (724, "slo:total:increase_period"): 12_000,
            (724, "slo:bad:increase_period"): 120,
            (724, "slo:bad:ratio_period"): 0.01,
            (724, "slo:budget_remaining:ratio"): 0,
            (720, "slo:bad:ratio_1h"): 0.02,
        },
        dict.fromkeys(idle, ()),
    )


def test_nothing_at_all_leaves_the_budget_whole(tmp_path: Path) -> None:
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {},
        {
            (30, "slo:total:increase_period"): 0,
            (30, "slo:bad:increase_period"): 0,
            (30, "slo:bad:ratio_period"): None,
            (30, "slo:budget_remaining:ratio"): 1,
            (30, "slo:error_budget:ratio"): 0.01,
        },
        {30: ()},
    )


def test_no_failure_is_zero_and_not_empty(tmp_path: Path) -> None:
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {OK % 1: counter([10] * 30)},
        {(30, "slo:bad:ratio_5m"): 0, (30, "slo:budget_remaining:ratio"): 1},
    )


def test_page_fires_while_it_burns_and_resolves_soon_after(tmp_path: Path) -> None:
    """Half of the jobs fail from minute 60 to 90, of 100 a minute."""
    good = [100] * HOUR + [50] * 30 + [100] * 390
    bad = [0] * HOUR + [50] * 30 + [0] * 390
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {OK % 1: counter(good), FAILED % 1: counter(bad)},
        {(91, "slo:bad:ratio_1h"): 0.25},
        {
            60: (),
            69: ("ticket",),  # 8 bad minutes of 68: 5.9 times too fast
            70: ("page", "ticket"),  # 9 of 69: 6.5 times
            90: ("page", "ticket"),
            # Five minutes later the shortest window is clean; half an hour later
            # the next one. The three days' budget suffers for six hours more.
            128: ("ticket",),
            440: ("ticket",),
            460: (),
        },
    )


def test_one_failure_in_three_jobs_pages_nobody(tmp_path: Path) -> None:
    series = {OK % 1: [0, 2, *[2] * 60], FAILED % 1: [0, 1, *[1] * 60]}
    quiet = dict.fromkeys(range(1, 60, 3), ())
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        series,
        {(3, "slo:bad:ratio_1h"): 1 / 3},
        quiet,
    )
    eager = changed(
        AVAILABILITY,
        "  displayName",
        '  annotations:\n    spanrun/min-bad-events: "0.2"\n  displayName',
    )
    evaluate(rules_of(tmp_path, eager), series, {}, {3: ("page", "ticket")})


def test_few_jobs_that_all_fail_do_page(tmp_path: Path) -> None:
    """A job in three minutes: an outage of a quiet service must not stay unseen."""
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {FAILED % 1: counter([1, 0, 0] * 20)},
        {},
        {10: (), 30: ("page", "ticket")},
    )


def test_run_that_is_one_sample_counts(tmp_path: Path) -> None:
    """`rate` and `increase` see nothing of it."""
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {
            OK % 1: [*nothing(10), 90],
            FAILED % 1: [*nothing(10), 10],
        },
        {
            (12, "slo:total:increase_5m"): 100,
            (30, "slo:total:increase_1h"): 100,
            (30, "slo:bad:ratio_1h"): 0.1,
            (30, "sum(increase(spanrun_jobs_total[1h]))"): None,
        },
    )


def test_restarted_counter_grows_from_zero(tmp_path: Path) -> None:
    """Scraped, the series stays the same when the process begins anew.

    Over OTLP each process has its own series.
    """
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {OK % 1: [*counter([10] * 20), *counter([10] * 20)]},
        {(60, "slo:total:increase_period"): 400},
    )


def test_outage_of_the_collector_loses_nothing(tmp_path: Path) -> None:
    """Three hours without a sample; the counter went on."""
    evaluate(
        rules_of(tmp_path, AVAILABILITY),
        {
            OK % 1: [
                *counter([10] * 20),
                *nothing(180),
                *counter([10] * 20, start=2_000),
            ]
        },
        {(230, "slo:total:increase_period"): 2_200},
    )


@pytest.mark.parametrize("le", ["1", "1.0"])
def test_whole_number_bucket_is_found_however_it_is_written(
    le: str, tmp_path: Path
) -> None:
    evaluate(
        rules_of(tmp_path, LATENCY),
        {
            COUNT: counter([10] * 30),
            BUCKET % le: counter([9] * 30),
            BUCKET % "10": counter([10] * 30),
            BUCKET % "+Inf": counter([10] * 30),
        },
        {
            (40, "slo:total:increase_period"): 300,
            (40, "slo:bad:increase_period"): 30,
        },
    )


def test_native_histogram_is_an_estimate_of_the_same(tmp_path: Path) -> None:
    """Schema 0: buckets (0.5, 1] and (1, 2], 9 and 1 more each minute."""
    more = "{{schema:0 count:10 sum:9 buckets:[9 1]}}"
    test = {
        "interval": "1m",
        "input_series": [
            {"series": NATIVE, "values": f"{{{{schema:0}}}}+{more}x30 _x30"}
        ],
        "promql_expr_test": [
            {
                "expr": f"sum({name})",
                "eval_time": "40m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for name, value in {
                "slo:total:increase_period": 300,
                "slo:bad:increase_period": 30,
            }.items()
        ],
    }
    run_tests(rules_of(tmp_path, LATENCY), [test])


def test_native_alone_is_asked_for_any_threshold(tmp_path: Path) -> None:
    text = changed(LATENCY, "where:", "histogram: native\n            where:")
    (group,) = groups([one(changed(text, "value: 1", "value: 1.3"))])["groups"]
    base = "".join(rule["expr"] for rule in group["rules"][:2])
    assert "histogram_fraction(-Inf, 1.3" in base
    assert "_bucket" not in base
    assert "_count{" not in base


def test_conditions_that_cannot_be_met_are_left_out() -> None:
    (group,) = groups([one(changed(AVAILABILITY, "0.99", "0.8"))])["groups"]
    (ticket,) = [rule for rule in group["rules"] if "alert" in rule]
    assert ticket["labels"]["severity"] == "ticket"


def test_alerts_say_what_and_link_to_the_run_book(tmp_path: Path) -> None:
    found = [
        {
            "exp_labels": {"slo": "demo", "service": "demo", "severity": severity},
            "exp_annotations": {
                "summary": "{{ 9 jobs: the error budget burns too fast",
                "description": "demo of demo: 100% of the events are bad, where "
                f"1% may be. More than {pace} what 30 days allow. -9900% of the budget "
                "are left. Most of the bad ones: TimeoutError.",
                "runbook_url": f"{RUNBOOKS}/errors-burn-the-budget.md",
            },
        }
        for severity, pace in {
            "page": "14.4 times over 1h or 6 times over 6h",
            "ticket": "3 times over 1d or 1 times over 3d",
        }.items()
    ]
    test = {
        "interval": "1m",
        "input_series": [
            {
                "series": changed(FAILED % 1, "}", f',error_type="{name}"}}'),
                "values": grown,
            }
            for name, grown in {
                "KeyError": "0+40x30",
                "TimeoutError": "0+50x30",
                "": "0+70x30",
            }.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": "20m",
                "alertname": "SpanrunErrorBudgetBurns",
                "exp_alerts": found,
            }
        ],
    }
    odd = changed(AVAILABILITY, "Demo jobs return a value", "'{{ 9 jobs'")
    run_tests(rules_of(tmp_path, odd), [test])
