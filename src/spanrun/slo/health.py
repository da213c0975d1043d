"""Alerts that need no objective: they name a cause, and are a ticket at most."""

from __future__ import annotations

from typing import Any, Final

from spanrun import semconv
from spanrun.slo import promql
from spanrun.slo.rules import RUNBOOKS, Rule

_BLOCKED: Final = "SpanrunLoopBlocked"
_SPOOLING: Final = "SpanrunTelemetrySpooling"
_DROPPED: Final = "SpanrunTelemetryDropped"


def health(runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """A rule file's content: the loop is blocked, telemetry is spooled or dropped.

    Args:
        runbooks: The folder, or the URL, of the pages that alerts link to.
    """
    runner = promql.label(semconv.SPANRUN_RUNNER_NAME)
    blocked = promql.series(semconv.METRIC_SPANRUN_LOOP_BLOCKED)
    spool = promql.series(semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE)
    items = promql.series(semconv.METRIC_SPANRUN_TELEMETRY_ITEMS)
    result = promql.label(semconv.SPANRUN_TELEMETRY_RESULT)
    reason = promql.label(semconv.SPANRUN_TELEMETRY_REASON)
    rules = [
        _alert(
            _BLOCKED,
            # 1 in a while is a nuisance; 5 in five minutes are a habit.
            f"sum by (job, {runner}) (increase({blocked}[5m])) >= 5",
            "5m",
            f"The event loop of {{{{ $labels.{runner} }}}} is blocked again and again",
            "{{ $value | humanize }} steps of its jobs in five minutes held the loop "
            "for longer than the threshold: every other job waited for them.",
            f"{runbooks.rstrip('/')}/loop-is-blocked.md",
        ),
        _alert(
            _SPOOLING,
            f"sum by (job) ({spool}) > 0",
            "15m",
            "Telemetry of {{ $labels.job }} waits on disk",
            "{{ $value | humanize1024 }}B wait in the spool: a backend can't be "
            "reached, or is too slow. When the spool is full they are lost.",
            f"{runbooks.rstrip('/')}/telemetry-is-spooling.md",
        ),
        _alert(
            _DROPPED,
            f'sum by (job, {reason}) (increase({items}{{{result}="dropped"}}[5m])) > 0',
            "5m",
            "Telemetry of {{ $labels.job }} is lost",
            f"{{{{ $value | humanize }}}} items in five minutes, by "
            f"{{{{ $labels.{reason} }}}}: traces have holes, metrics may be late.",
            f"{runbooks.rstrip('/')}/telemetry-is-spooling.md",
        ),
    ]
    group = {"name": "spanrun-health", "interval": "1m", "rules": rules}
    return {"groups": [group]}


def _alert(
    name: str, expr: str, wait: str, summary: str, description: str, runbook: str
) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        "for": wait,
        "labels": {"severity": "ticket"},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": runbook,
        },
    }
