"""The alerts that need no objective fire when they should, and end."""

import json
from pathlib import Path

import pytest
from tests.slo.promtool import Firing, Values, check, counter, evaluate

from spanrun.slo.health import health
from spanrun.slo.text import rule_file

BLOCKED = 'spanrun_loop_blocked_total{job="a",spanrun_runner_name="embed"}'
SPOOL = 'spanrun_telemetry_spool_size_bytes{job="a"}'
DROPPED = (
    'spanrun_telemetry_items_total{job="a",spanrun_telemetry_result="dropped",'
    'spanrun_telemetry_reason="disk_full"}'
)


STUCK = 'spanrun_runner_stuck{job="a",spanrun_runner_name="embed"}'


@pytest.mark.parametrize(
    ("name", "values", "firing"),
    [
        # Three steps a minute from minute 10 to 30.
        (BLOCKED, counter([0] * 10 + [3] * 20 + [0] * 30), {15: (), 20: (1,), 40: ()}),
        (BLOCKED, counter([0] * 10 + [3] + [0] * 30), {12: (), 20: ()}),
        (SPOOL, [0] * 10 + [4_096] * 20 + [0] * 10, {20: (), 26: (1,), 32: ()}),
        (DROPPED, counter([0] * 10 + [9] * 10 + [0] * 10), {17: (1,), 28: ()}),
        (DROPPED, counter([0] * 30), {15: (), 30: ()}),
        (STUCK, [0] * 10 + [2] * 20 + [0] * 10, {12: (), 16: (1,), 31: ()}),
    ],
)
def test_alert_fires_and_ends(
    name: str, values: Values, firing: dict[int, tuple[int, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "health.yaml"
    path.write_text(rule_file(health()), encoding="utf-8")
    check(path)
    told: Firing = {minute: ("ticket",) * len(how) for minute, how in firing.items()}
    evaluate(path, {name: values}, {}, told)


RUNNER = 'job="a",spanrun_runner_name="embed"'
JOBS = f'spanrun_jobs_total{{{RUNNER},spanrun_job_outcome="ok"}}'
RUNNING = f'spanrun_job_active{{{RUNNER},spanrun_job_state="running"}}'
QUEUED = f'spanrun_job_active{{{RUNNER},spanrun_job_state="queued"}}'
LIMIT = f"spanrun_runner_limit{{{RUNNER}}}"
USED = f"spanrun_runner_in_flight{{{RUNNER}}}"
DAY = 24 * 60


@pytest.mark.parametrize(
    ("series", "firing"),
    [
        # One job hangs, and those before it ended.
        (
            {JOBS: counter([5] * 20 + [0] * 60), RUNNING: [5] * 20 + [1] * 61},
            {19: (), 30: (), 60: ("ticket",)},
        ),
        # A job an hour, of an hour: long, but one ends now and then.
        (
            {JOBS: counter(([0] * 9 + [1]) * 9), RUNNING: [1] * 91},
            dict.fromkeys((30, 60, 90), ()),
        ),
        # An hour of traffic each day isn't silence afterwards.
        ({JOBS: counter([9] * 60 + [0] * 120)}, {60: (), 100: (), 170: ()}),
        (
            {JOBS: counter([9] * (DAY + 120) + [0] * 120)},
            {DAY + 119: (), DAY + 160: ("ticket",)},
        ),
        # Full, with a queue that grows; then full without one.
        (
            {
                LIMIT: [4] * 120,
                USED: [4] * 120,
                QUEUED: [*range(60), *[0] * 60],
                JOBS: counter([3] * 119),
            },
            {29: (), 35: ("ticket",), 90: ()},
        ),
    ],
    ids=["hangs", "slow", "seldom", "silent", "saturated"],
)
def test_jobs_that_stand_still_are_told(
    series: dict[str, Values], firing: Firing, tmp_path: Path
) -> None:
    path = tmp_path / "health.yaml"
    path.write_text(rule_file(health()), encoding="utf-8")
    evaluate(path, series, {}, firing)


def test_each_alert_links_to_its_run_book() -> None:
    told = json.dumps(health("https://wiki"))
    assert told.count("https://wiki/telemetry-is-spooling.md") == 2
    assert told.count("https://wiki/loop-is-blocked.md") == 1
    assert told.count("https://wiki/jobs-stand-still.md") == 4
