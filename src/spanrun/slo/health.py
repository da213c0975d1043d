"""Alerts that need no objective: they name a cause, and are a ticket at most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spanrun import semconv
from spanrun.slo import promql
from spanrun.slo.annotations import RUNBOOKS
from spanrun.slo.rules import Rule

_BLOCKED: Final = "SpanrunLoopBlocked"
_STUCK: Final = "SpanrunJobsStuck"
_HANGING: Final = "SpanrunJobsHang"
_SILENT: Final = "SpanrunNoJobs"
_SATURATED: Final = "SpanrunSaturated"
_SPOOLING: Final = "SpanrunTelemetrySpooling"
_DROPPED: Final = "SpanrunTelemetryDropped"

_STAND_STILL: Final = "jobs-stand-still.md"
_RUNNER: Final = promql.label(semconv.SPANRUN_RUNNER_NAME)
_NAMED: Final = f"{{{{ $labels.{_RUNNER} }}}}"


def health(runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """A rule file's content: what hinders jobs, and what hinders telemetry.

    Args:
        runbooks: The folder, or the URL, of the pages that alerts link to.
    """
    rules = [*_loop(), *_jobs(), *_telemetry()]
    for rule in rules:
        notes = rule["annotations"]
        notes["runbook_url"] = f"{runbooks.rstrip('/')}/{notes['runbook_url']}"
    group = {"name": "spanrun-health", "interval": "1m", "rules": rules}
    return {"groups": [group]}


def _loop() -> Iterator[Rule]:
    blocked = promql.series(semconv.METRIC_SPANRUN_LOOP_BLOCKED)
    yield _alert(
        _BLOCKED,
        # 1 in a while is a nuisance; 5 in five minutes are a habit.
        f"sum by (job, {_RUNNER}) (increase({blocked}[5m])) >= 5",
        "5m",
        f"The event loop of {_NAMED} is blocked again and again",
        "{{ $value | humanize }} steps of its jobs in five minutes held the loop "
        "for longer than the threshold: every other job waited for them.",
        "loop-is-blocked.md",
    )


def _jobs() -> Iterator[Rule]:
    by = f"sum by (job, {_RUNNER})"
    jobs = promql.series(semconv.METRIC_SPANRUN_JOBS)
    active = promql.series(semconv.METRIC_SPANRUN_JOB_ACTIVE)
    queued = f'{active}{{{promql.label(semconv.SPANRUN_JOB_STATE)}="queued"}}'
    limit = promql.series(semconv.METRIC_SPANRUN_RUNNER_LIMIT)
    used = promql.series(semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT)
    yield _alert(
        _STUCK,
        f"{by} ({promql.series(semconv.METRIC_SPANRUN_RUNNER_STUCK)}) > 0",
        "5m",
        f"Cancelled jobs of {_NAMED} don't end",
        "{{ $value | humanize }} were cancelled and are still there, in their slots.",
        _STAND_STILL,
    )
    yield _alert(
        _HANGING,
        f"{by} ({active}) > 0 unless {by} (increase({jobs}[15m])) > 0",
        "15m",
        f"No job of {_NAMED} ends",
        "{{ $value | humanize }} are under way, and none has ended for half an hour.",
        _STAND_STILL,
    )
    yield _alert(
        _SILENT,
        # Each hour of a day had some: it is no program that is run now and then.
        f"count_over_time(({by} (increase({jobs}[1h])) > 0)[1d:1h]) >= 24 "
        f"unless {by} (increase({jobs}[30m])) > 0",
        "5m",
        f"{_NAMED} of {{{{ $labels.job }}}} does no jobs",
        "There were some in each hour of the last day, and none for half an hour.",
        _STAND_STILL,
    )
    yield _alert(
        _SATURATED,
        f"{by} ({used}) >= 0.93 * ({by} ({limit}) > 0) "
        f"and {by} ({queued}) > {by} ({queued} offset 15m)",
        "15m",
        f"{_NAMED} takes in more jobs than it can do",
        "Its limit is full, and more jobs wait than a quarter of an hour ago.",
        _STAND_STILL,
    )


def _telemetry() -> Iterator[Rule]:
    spool = promql.series(semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE)
    items = promql.series(semconv.METRIC_SPANRUN_TELEMETRY_ITEMS)
    result = promql.label(semconv.SPANRUN_TELEMETRY_RESULT)
    reason = promql.label(semconv.SPANRUN_TELEMETRY_REASON)
    yield _alert(
        _SPOOLING,
        f"sum by (job) ({spool}) > 0",
        "15m",
        "Telemetry of {{ $labels.job }} waits on disk",
        "{{ $value | humanize1024 }}B wait in the spool: a backend can't be "
        "reached, or is too slow. When the spool is full they are lost.",
        "telemetry-is-spooling.md",
    )
    yield _alert(
        _DROPPED,
        f'sum by (job, {reason}) (increase({items}{{{result}="dropped"}}[5m])) > 0',
        "5m",
        "Telemetry of {{ $labels.job }} is lost",
        f"{{{{ $value | humanize }}}} items in five minutes, by "
        f"{{{{ $labels.{reason} }}}}: traces have holes, metrics may be late.",
        "telemetry-is-spooling.md",
    )


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
