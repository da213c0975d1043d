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


@pytest.mark.parametrize(
    ("name", "values", "firing"),
    [
        # Three steps a minute from minute 10 to 30.
        (BLOCKED, counter([0] * 10 + [3] * 20 + [0] * 30), {15: (), 20: (1,), 40: ()}),
        (BLOCKED, counter([0] * 10 + [3] + [0] * 30), {12: (), 20: ()}),
        (SPOOL, [0] * 10 + [4_096] * 20 + [0] * 10, {20: (), 26: (1,), 32: ()}),
        (DROPPED, counter([0] * 10 + [9] * 10 + [0] * 10), {17: (1,), 28: ()}),
        (DROPPED, counter([0] * 30), {15: (), 30: ()}),
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


def test_each_alert_links_to_its_run_book() -> None:
    told = json.dumps(health("https://wiki"))
    assert told.count("https://wiki/telemetry-is-spooling.md") == 2
    assert told.count("https://wiki/loop-is-blocked.md") == 1
