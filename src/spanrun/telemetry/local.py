"""The local store: runs, jobs and spans in one SQLite file, for the summary."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from opentelemetry.trace import SpanKind, StatusCode

from spanrun.outcome import Err, Outcome
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES, SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.outbox import Outbox, remaining
from spanrun.telemetry.redact import redact, text_of
from spanrun.telemetry.span import Batch
from spanrun.telemetry.span.decode import mapping, messages
from spanrun.telemetry.store_errors import is_of_file
from spanrun.telemetry.store_file import StoreFile
from spanrun.telemetry.store_writer import StoreWriter

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
_RUN: Final = (
    "INSERT INTO runs VALUES {} "
    "ON CONFLICT (id) DO UPDATE SET ended_ns = excluded.ended_ns"
)
_JOB: Final = "INSERT INTO jobs VALUES {}"
_SPAN: Final = "INSERT INTO spans VALUES {}"
_AT_ONCE: Final = 500
_KINDS: Final = ("INTERNAL", *(kind.name for kind in SpanKind))
"""By their numbers in OTLP, where 0 says nothing."""
_CODES: Final = {code.value: code.name for code in StatusCode}

Statement: TypeAlias = tuple[str, tuple[Any, ...]]


class LocalStore:
    """Keeps what happened in ``<folder>/telemetry.db``.

    It hears of runs and jobs as an observer, is a sink of ended spans, and
    writes from a thread of its own: a commit of 2 to 25 ms has no place on an
    event loop. A file that can't be written costs rows, which are counted, and
    nothing else: see `StoreWriter`.

    Args:
        folder: Made when it isn't there.

    Attributes:
        path: The file.
        session: The id of what this process does.
        account: Counts what became of the rows.
    """

    waits = False

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / FILE
        self.session: Final = secrets.token_hex(8)
        self.account: Final = Account()
        self._started: Final = (
            self.session,
            time.time_ns(),
            os.getpid(),
            redact(" ".join(sys.argv)),
        )
        self._errors: Final = ErrorTypes()
        self._writer: Final = StoreWriter[Statement, Statement](
            store_file(self.path), _as_it_is, self._begin, _insert, self.account
        )
        self._outbox: Final = Outbox[Statement | None](
            "store", self._write, self._lost, capacity=1_000_000, batch=5_000
        )
        self._outbox.put(None)  # the session begins, and what is amiss is said

    @property
    def fault(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return self._writer.fault

    def run_opened(self, run: RunInfo) -> None:
        """Note that a run has begun."""
        self._put_run(run, None)

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """Note a job's outcome and times."""
        ended, error_type, error = "ok", None, None
        if isinstance(outcome, Err):
            ended = outcome.outcome
            error_type = self._errors.name(outcome.error)
            error = redact(text_of(outcome.error))
        timings = outcome.timings
        self._put(
            _JOB,
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
        self._put_run(run, run.ended_ns)

    def spans(self, batch: Batch) -> None:
        """Note ended spans."""
        for span in messages(batch):
            self._outbox.put(self._row(span))

    def flush(self, timeout: float) -> bool:
        """Write all that is queued; whether that took less than ``timeout``."""
        deadline = time.monotonic() + timeout
        return self._outbox.flush(timeout) and self._writer.flush(remaining(deadline))

    def close(self, timeout: float) -> bool:
        """Write what is left and end; whether all that ever came was written."""
        deadline = time.monotonic() + timeout
        self._writer.hurry()
        done = self._outbox.close(timeout)
        return self._writer.close(remaining(deadline)) and done

    def _put_run(self, run: RunInfo, ended_ns: int | None) -> None:
        # At its end once more: the file may be another one by then.
        self._put(
            _RUN,
            run.id,
            self.session,
            run.runner,
            run.total,
            _hex(run.trace_id),
            run.started_ns,
            ended_ns,
            run.calls,
        )

    def _put(self, statement: str, *values: Any) -> None:
        self._outbox.put((statement, values))

    def _write(self, rows: list[Statement | None]) -> None:
        self._writer.write([row for row in rows if row is not None])

    def _lost(
        self, rows: list[Statement | None], reason: SpanrunTelemetryReason
    ) -> None:
        if lost := sum(row is not None for row in rows):
            self.account.drop("traces", reason, lost)

    def _begin(self, db: sqlite3.Connection, first: bool) -> None:  # noqa: FBT001 -- a callback's
        if first:
            _forget_old_sessions(db)
        db.execute("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?)", self._started)

    def _row(self, span: Any) -> Statement:
        events = [
            [event.time_unix_nano, event.name, mapping(event.attributes)]
            for event in span.events
        ]
        links = [[link.trace_id.hex(), link.span_id.hex()] for link in span.links]
        return (
            _SPAN,
            (
                self.session,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex() or None,
                span.name,
                _KINDS[span.kind],
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                _CODES[span.status.code],
                span.status.message or None,
                _json(mapping(span.attributes)),
                _json(events) if events else "[]",
                _json(links) if links else "[]",
            ),
        )


def _as_it_is(row: Statement) -> Statement:
    return row


def store_file(path: Path) -> StoreFile:
    """The file in which a `LocalStore` keeps what it hears of."""
    return StoreFile(path, _VERSION, _TABLES, _SCHEMA)


def _insert(db: sqlite3.Connection, statements: Sequence[Statement]) -> int:
    """Write rows; returns how many can't be, by their own fault."""
    by_table: dict[str, list[tuple[Any, ...]]] = {}
    for statement, row in statements:
        by_table.setdefault(statement, []).append(row)
    return sum(_insert_into(db, *each) for each in by_table.items())


def _insert_into(
    db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]
) -> int:
    """Many rows at once: each call to SQLite lets a busy event loop go first.

    And all that while other processes wait for the file.
    """
    marks = f"({', '.join('?' * len(rows[0]))})"
    most = db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(rows[0])
    size, failed = min(_AT_ONCE, most), 0
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        try:
            values = list(itertools.chain.from_iterable(some))
            db.execute(statement.format(", ".join([marks] * len(some))), values)
        except Exception as error:
            if is_of_file(error):
                raise
            if len(rows) == 1:
                return 1
            failed += sum(_insert_into(db, statement, [row]) for row in some)
    return failed


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
