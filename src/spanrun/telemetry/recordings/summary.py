"""Read what the local store keeps: one session's runners, failures, slowest job."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.local import store_file

_PERCENTILES: Final = (50, 95, 99)
_JOBS: Final = "jobs JOIN runs ON jobs.run = runs.id WHERE runs.session = ?"


@dataclass(frozen=True, slots=True)
class RunnerStats:
    """One runner's jobs.

    Attributes:
        name: The runner's name.
        jobs: How many had an outcome.
        ok: How many of them returned a value.
        retries: Attempts beyond the first, of all jobs together.
        percentiles: Of the jobs' durations: the 50th, 95th and 99th, in seconds.
        phases: Where the jobs' time went, in seconds.
    """

    name: str
    jobs: int
    ok: int
    retries: int
    percentiles: tuple[float, float, float]
    phases: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed jobs of a runner that have the same error."""

    runner: str
    error_type: str
    error: str
    count: int
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class SlowJob:
    """A job, and where its time went."""

    name: str
    duration: float
    trace_id: str | None
    phases: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Session:
    """What one process did."""

    runners: Sequence[RunnerStats]
    failures: Sequence[Failures]
    slowest: SlowJob | None


def read_session(path: Path, session: str) -> Session:
    """Read the session with this id. The store may be in use.

    Raises:
        LookupError: There is no store, or nothing in it.
        StoreError: It can't be read.
    """
    with store_file(path).reading() as db:
        db.row_factory = sqlite3.Row
        # In the order in which their first jobs ended: that of a pipeline's stages.
        # A single call beforehand, such as a probe, doesn't make a stage the first.
        names = db.execute(
            f"SELECT runner FROM {_JOBS} GROUP BY runner "
            "ORDER BY min(iif(calls, 1e18 + jobs.rowid, jobs.rowid))",
            (session,),
        ).fetchall()
        runners = [_runner(db, session, row["runner"]) for row in names]
        return Session(
            tuple(runners),
            _failures(db, session),
            _slowest(db, session),
        )


def _runner(db: sqlite3.Connection, session: str, name: str) -> RunnerStats:
    sums = ", ".join(f'total("{phase}")' for phase in SPANRUN_JOB_PHASE_VALUES)
    jobs, ok, retries, *seconds = db.execute(
        "SELECT count(*), total(outcome = 'ok'), total(attempts - 1), "
        f"{sums} FROM {_JOBS} AND runner = ?",
        (session, name),
    ).fetchone()

    def percentile(percent: int) -> float:
        """By the nearest rank: a duration that was really measured."""
        (duration,) = db.execute(
            f"SELECT duration FROM {_JOBS} AND runner = ? "
            "ORDER BY duration LIMIT 1 OFFSET ?",
            (session, name, -(-percent * jobs // 100) - 1),
        ).fetchone()
        return float(duration)

    p50, p95, p99 = map(percentile, _PERCENTILES)
    phases: dict[str, float] = {}
    phases.update(zip(SPANRUN_JOB_PHASE_VALUES, seconds, strict=True))
    return RunnerStats(name, jobs, int(ok), int(retries), (p50, p95, p99), phases)


def _failures(db: sqlite3.Connection, session: str) -> Sequence[Failures]:
    rows = db.execute(
        "SELECT runner, coalesce(error_type, outcome) AS type, error, "
        f"count(*) AS count, min(jobs.trace_id) AS trace_id FROM {_JOBS} "
        "AND outcome != 'ok' GROUP BY runner, type, error "
        "ORDER BY count DESC LIMIT 10",
        (session,),
    ).fetchall()
    return tuple(
        Failures(r["runner"], r["type"], r["error"] or "", r["count"], r["trace_id"])
        for r in rows
    )


def _slowest(db: sqlite3.Connection, session: str) -> SlowJob | None:
    row = db.execute(
        f"SELECT runner, jobs.* FROM {_JOBS} ORDER BY duration DESC LIMIT 1", (session,)
    ).fetchone()
    if row is None:
        return None
    which = row["key"] if row["key"] is not None else f"#{row['index']}"
    phases = {phase: row[phase] for phase in SPANRUN_JOB_PHASE_VALUES}
    name = f"{row['runner']} {which}"
    return SlowJob(name, row["duration"], row["trace_id"], phases)
