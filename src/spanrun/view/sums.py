"""What a page says of all jobs together: of a session, its runners, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.causes import Explanation
from spanrun.telemetry.recordings.records import Run, Session
from spanrun.telemetry.recordings.summary import Summary
from spanrun.text import redact
from spanrun.view.columns import micro, parts


def session_told(
    session: Session, run: str, zero_ns: int, summary: Summary
) -> dict[str, Any]:
    """What a page says of the session, or of the one ``run`` of it."""
    return {
        "id": session.id,
        "run": run,
        "command": redact(session.command),
        "pid": session.pid,
        "zero_ms": zero_ns / 1e6,
        "duration": max(0, micro(summary.seconds)),
        "forgotten": session.forgotten,
    }


def run_told(run: Run, zero_ns: int) -> dict[str, Any]:
    """A run; its times count from ``zero_ns``."""
    ended = None if run.ended_ns is None else round((run.ended_ns - zero_ns) / 1000)
    return {
        "id": run.id,
        "runner": run.runner,
        "total": run.total,
        "start": round((run.started_ns - zero_ns) / 1000),
        "end": ended,
        "calls": run.calls,
        "policies": json.loads(run.policies) if run.policies else {},
    }


def runners_told(summary: Summary, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each runner with the sums of all its jobs, in the order of the pipeline."""
    told = [
        {
            "name": stats.name,
            "jobs": stats.jobs,
            "ok": stats.ok,
            "retries": stats.retries,
            "percentiles": [micro(each) for each in stats.percentiles],
            "phases": parts(tuple(stats.phases.values())),
            "limit_full": stats.explanation.limit_full.get(stats.name),
        }
        for stats in summary.runners
    ]
    named = {stats.name for stats in summary.runners}
    without = dict.fromkeys(run.runner for run in runs if run.runner not in named)
    nothing: dict[str, Any] = {
        "jobs": 0,
        "ok": 0,
        "retries": 0,
        "percentiles": [0, 0, 0],
        "phases": [0] * len(SPANRUN_JOB_PHASE_VALUES),
        "limit_full": None,
    }
    return [*told, *({"name": name, **nothing} for name in without)]


def causes_told(summary: Summary) -> dict[str, Any]:
    """Why the jobs took their time: of all runners together, and of each."""
    return {
        "all": _told(summary.explanation),
        "runners": {each.name: _told(each.explanation) for each in summary.runners},
    }


def _told(explanation: Explanation) -> dict[str, Any]:
    causes = [asdict(cause) for cause in explanation.causes]
    return {"sentence": explanation.sentence, "causes": causes}
