"""Two sessions or runs compared, as a page shows them; times are microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanrun.telemetry.recordings.compare import (
    Change,
    Jobs,
    RunnerChange,
    Side,
    compared,
    jobs_of,
)
from spanrun.telemetry.recordings.read import Recording
from spanrun.telemetry.recordings.records import Run, Session
from spanrun.telemetry.recordings.wall_time import wall_time
from spanrun.text import redact
from spanrun.view.columns import MICRO, micro

_POINTS: Final = 200
"""Of a cumulative curve."""


def comparison_of(recording: Recording, a: str, b: str) -> dict[str, Any]:
    """Compare the sessions or the runs whose ids begin with ``a`` and ``b``.

    Raises:
        LookupError: There is none, or several.
        StoreError: It can't be read.
    """
    found = recording.find(a), recording.find(b)
    before, after = (jobs_of(recording, part) for part in found)
    comparison = compared(before, after)
    return {
        "a": _part(recording, found[0], before),
        "b": _part(recording, found[1], after),
        "runners": [
            _runner(each, before.get(each.runner), after.get(each.runner))
            for each in comparison.runners
        ],
        "settings": [
            {"runner": each.runner, "name": each.name, "values": each.texts}
            for each in comparison.settings
        ],
    }


def before(recording: Recording, session: Session) -> str:
    """The id of the session before it, of the same program if there is one."""
    older = [
        each for each in recording.sessions() if each.started_ns < session.started_ns
    ]
    same = [each for each in older if each.command == session.command]
    return next((each.id for each in [*same, *older]), "")


def _part(
    recording: Recording, part: Session | Run, jobs: Mapping[str, Jobs]
) -> dict[str, Any]:
    of = part.id if isinstance(part, Session) else part.session
    spans = [span for each in jobs.values() for span in each.under_way]
    begin = min((first for first, _ in spans), default=part.started_ns / 1e9)
    end = max((last for _, last in spans), default=begin)
    return {
        "id": part.id,
        "command": redact(recording.session(of).command),
        "zero_ms": begin * 1000,
        "duration": micro(end - begin),
    }


def _runner(found: RunnerChange, a: Jobs | None, b: Jobs | None) -> dict[str, Any]:
    told = ""
    if found.a is not None and found.b is not None:
        told = wall_time(found.runner, found.a, found.b)
    return {
        "name": found.runner,
        "a": _side(found.a),
        "b": _side(found.b),
        "sentence": told,
        "changes": {name: _change(each) for name, each in found.changes.items()},
        "why": found.why,
        "curves": [_curve(each) for each in (a, b)],
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "jobs": side.jobs,
        "failed": side.failed,
        "duration": micro(side.seconds),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "a": change.a * MICRO,
        "b": change.b * MICRO,
        "interval": change.interval and [each * MICRO for each in change.interval],
        "is_certain": change.is_certain,
    }


def _curve(jobs: Jobs | None) -> list[int]:
    """How long the fastest jobs took, in equal steps of their share, from 0 to 1."""
    if jobs is None:
        return []
    in_order = sorted(jobs.columns[0])
    last = len(in_order) - 1
    return [micro(in_order[place * last // _POINTS]) for place in range(_POINTS + 1)]
