"""Rules on made-up series, by Prometheus' own `promtool`."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from instrumentation.backends import servers

Values: TypeAlias = Sequence[float | None]
"""A sample a minute, from minute 0 on; None is no sample."""

Expected: TypeAlias = Mapping[tuple[int, str], float | None]
"""Values by minute and expression; None where there is nothing."""

Firing: TypeAlias = Mapping[int, Iterable[str]]
"""The severities of the alerts that fire, by minute."""


def program() -> Path:
    """promtool; without it the test is skipped, or fails where that is required."""
    reason = servers.why_missing("prometheus")
    if reason is not None:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return servers.locate("prometheus") / "promtool"


def check(*paths: Path) -> None:
    """The rule files are what Prometheus takes, without a complaint of its linter."""
    _run("check", "rules", "--lint=all", "--lint-fatal", *map(str, paths))


def evaluate(
    rules: Path,
    series: Mapping[str, Values],
    expected: Expected,
    firing: Firing | None = None,
) -> None:
    """The rules give what is expected, when a rule is evaluated each minute."""
    values = [
        {"expr": _unlike(expr, value), "eval_time": f"{minute}m", "exp_samples": []}
        for (minute, expr), value in expected.items()
    ]
    alerts = [
        {
            "expr": 'count by (severity) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": f'{{severity="{severity}"}}', "value": 1}
                for severity in severities
            ],
        }
        for minute, severities in (firing or {}).items()
    ]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": shown(values)} for name, values in series.items()
        ],
        "promql_expr_test": values + alerts,
    }
    run_tests(rules, [test])


def run_tests(rules: Path, tests: list[dict[str, Any]]) -> None:
    """Run promtool's own tests: see its documentation of unit tests."""
    content = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    path = rules.with_suffix(".test.yaml")
    path.write_text(json.dumps(content), encoding="utf-8")
    _run("test", "rules", str(path))


def counter(increments: Iterable[float], start: float = 0) -> list[float]:
    """A counter that begins at ``start`` and grows by these, minute by minute."""
    values = [start]
    for each in increments:
        values.append(values[-1] + each)
    return values


def nothing(minutes: int) -> list[None]:
    """No sample for so many minutes."""
    return [None] * minutes


def shown(values: Values) -> str:
    return " ".join("_" if value is None else repr(value) for value in values)


def _unlike(expr: str, value: float | None) -> str:
    """What gives a sample only where the sum of ``expr`` isn't ``value``.

    promtool compares to the last bit, which depends on the order of a sum.
    """
    if value is None:
        return f"sum({expr})"
    room = 1e-9 * max(1, abs(value))
    return (
        f"(sum({expr}) unless abs(sum({expr}) - {value!r}) < {room!r}) "
        f"or absent(sum({expr}))"
    )


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [str(program()), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
