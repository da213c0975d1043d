"""The local store: runs, jobs and spans in one SQLite file, for the summary."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from spanrun.errors import ConfigurationError
from spanrun.outcome import Err, Outcome
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES, SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.metrics import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.outbox import Outbox
from spanrun.telemetry.redact import redact, text_of
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.spans.scrub import scrub
from spanrun.telemetry.suppression import suppressed

FILE: Final = "telemetry.db"
_VERSION: Final = 1
_KEPT_SESSIONS: Final = 50
_PHASES: Final = ", ".join(f'"{phase}" REAL' for phase in SPANRUN_JOB_PHASE_VALUES)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, started_ns INTEGER, pid INTEGER, command TEXT);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, session TEXT, runner TEXT, total INTEGER,
    trace_id TEXT, started_ns INTEGER, ended_ns INTEGER, calls INTEGER);
CREATE TABLE IF NOT EXISTS jobs (
    run TEXT, "index" INTEGER, key TEXT, outcome TEXT, error_type TEXT, error TEXT,
    attempts INTEGER, trace_id TEXT, duration REAL, {_PHASES});
CREATE INDEX IF NOT EXISTS jobs_run ON jobs (run);
CREATE TABLE IF NOT EXISTS spans (
    session TEXT, trace_id TEXT, span_id TEXT, parent_id TEXT, name TEXT, kind TEXT,
    started_ns INTEGER, ended_ns INTEGER, status TEXT, status_text TEXT,
    attributes TEXT, events TEXT, links TEXT);
CREATE INDEX IF NOT EXISTS spans_trace ON spans (trace_id);
CREATE INDEX IF NOT EXISTS spans_session ON spans (session);
"""
_TABLES: Final = frozenset(("sessions", "runs", "jobs", "spans"))
_JOB_COLUMNS: Final = 9 + len(SPANRUN_JOB_PHASE_VALUES)

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
Row: TypeAlias = Statement | Recorded
"""A span is immutable once it has ended, so the writer's thread encodes it."""


class LocalStore:
    """Keeps what happened in ``<folder>/telemetry.db``.

    It hears of runs and jobs as an observer, is a sink of ended spans, and
    writes from a thread of its own: a commit of 2 to 25 ms has no place on an
    event loop. A full or broken disk costs the rows, which are counted.

    Args:
        folder: Made when it isn't there.

    Raises:
        ConfigurationError: When the file can't be written or isn't ours.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / FILE
        self.session: Final = secrets.token_hex(8)
        self.account: Final = Account()
        self._errors: Final = ErrorTypes()
        self._open()
        self._outbox: Final = Outbox[Row](
            "store", self._write, self._lost, capacity=1_000_000, batch=5_000
        )

    def run_opened(self, run: RunInfo) -> None:
        """Note that a run has begun."""
        self._put(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            run.id,
            self.session,
            run.runner,
            run.total,
            _hex(run.trace_id),
            run.started_ns,
            None,
            run.calls,
        )

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """Note a job's outcome and times."""
        ended, error_type, error = "ok", None, None
        if isinstance(outcome, Err):
            ended = outcome.outcome
            error_type = self._errors.name(outcome.error)
            error = redact(text_of(outcome.error))
        timings = outcome.timings
        self._put(
            f"INSERT INTO jobs VALUES ({', '.join('?' * _JOB_COLUMNS)})",
            run.id,
            outcome.index,
            None if outcome.key is None else redact(text_of(outcome.key)),
            ended,
            error_type,
            error,
            outcome.attempts,
            _hex(outcome.trace_id),
            timings.duration,
            *(seconds for _, seconds in timings.phases()),
        )

    def run_closed(self, run: RunInfo) -> None:
        """Note that a run is over."""
        self._put("UPDATE runs SET ended_ns = ? WHERE id = ?", run.ended_ns, run.id)

    def put(self, span: Recorded) -> None:
        """Note an ended span."""
        self._outbox.put(span)

    def flush(self, timeout: float) -> bool:
        """Write all that is queued; whether that took less than ``timeout``."""
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Write what is left and end; whether all of it was written in time."""
        return self._outbox.close(timeout)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with connect(self.path) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version not in (0, _VERSION):
                    raise ConfigurationError(
                        f"{self.path} has format {version}, this spanrun knows "
                        f"{_VERSION}: move it away, or use the spanrun that made it"
                    )
                _refuse_foreign(db, self.path)
                db.executescript("PRAGMA journal_mode = WAL;" + _SCHEMA)
                db.execute(f"PRAGMA user_version = {_VERSION}")
                _forget_old_sessions(db)
                command = redact(" ".join(sys.argv))
                started = (self.session, time.time_ns(), os.getpid(), command)
                db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", started)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local store {self.path} can't be used: {error}; "
                'name another folder with configure(store="…") or SPANRUN_STORE, '
                "or none with SPANRUN_STORE=none"
            ) from error

    def _put(self, statement: str, *values: Any) -> None:
        self._outbox.put((statement, values))

    def _write(self, rows: list[Row]) -> None:
        try:
            self._commit(rows)
        except (sqlite3.OperationalError, OSError):
            raise  # of the file, and so of all rows
        except Exception:  # noqa: BLE001 -- one row must not cost the others
            if len(rows) == 1:
                self._lost(rows, "encode_error")
                return
            middle = len(rows) // 2
            self._write(rows[:middle])
            self._write(rows[middle:])

    def _commit(self, rows: list[Row]) -> None:
        with connect(self.path) as db:
            for row in rows:
                statement, values = row if isinstance(row, tuple) else self._span(row)
                db.execute(statement, values)
        self.account.deliver("traces", len(rows))

    def _span(self, span: Recorded) -> Statement:
        scrub(span)
        context, status = span.get_span_context(), span.status
        events = [[e.timestamp, e.name, dict(e.attributes or {})] for e in span.events]
        links = [
            [f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}"]
            for link in span.links
        ]
        return (
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.session,
                f"{context.trace_id:032x}",
                f"{context.span_id:016x}",
                f"{span.parent.span_id:016x}" if span.parent else None,
                span.name,
                span.kind.name,
                span.start_time,
                span.end_time,
                status.status_code.name,
                status.description,
                _json(dict(span.attributes or {})),
                _json(events),
                _json(links),
            ),
        )

    def _lost(self, rows: list[Row], reason: SpanrunTelemetryReason) -> None:
        self.account.drop("traces", reason, len(rows))


@contextmanager
def connect(path: Path) -> Generator[sqlite3.Connection]:
    """A connection for one transaction: committed on leaving, else rolled back."""
    with (
        no_fork(),
        suppressed(),
        closing(sqlite3.connect(path, timeout=5.0)) as db,
        db,
    ):
        db.execute("PRAGMA synchronous = NORMAL")
        yield db


def _refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    names = {
        name
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    for name in sorted(names - _TABLES):
        raise ConfigurationError(
            f"{path} belongs to another program (it has {name!r} in it): move it "
            'away, or name another folder with configure(store="…") or SPANRUN_STORE'
        )


def _forget_old_sessions(db: sqlite3.Connection) -> None:
    old = (
        "SELECT id FROM sessions ORDER BY started_ns DESC "
        f"LIMIT -1 OFFSET {_KEPT_SESSIONS - 1}"
    )
    ids = db.execute(old).fetchall()
    for statement in (
        "DELETE FROM jobs WHERE run IN (SELECT id FROM runs WHERE session = ?)",
        "DELETE FROM runs WHERE session = ?",
        "DELETE FROM spans WHERE session = ?",
        "DELETE FROM sessions WHERE id = ?",
    ):
        db.executemany(statement, ids)


def _hex(trace_id: int) -> str | None:
    return f"{trace_id:032x}" if trace_id else None


def _json(value: object) -> str:
    return json.dumps(value, default=str)
