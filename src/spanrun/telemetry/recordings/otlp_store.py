"""`OtlpStore`: traces of any program, written into a store like a program's own.

Whatever has the same resource is one session: the id of the service's instance or,
where there is none, all attributes of the resource say which. What isn't there, such as
the policies of a run whose span is yet to come, is added when it comes.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from spanrun import semconv
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings import retention
from spanrun.telemetry.recordings.entries import (
    SESSION,
    events_entry,
    jobs_entry,
    spans_entries,
)
from spanrun.telemetry.recordings.errors import Unusable
from spanrun.telemetry.recordings.jobs import Row, row_of_values, rows_together
from spanrun.telemetry.recordings.otlp_rows import (
    JobTold,
    RunTold,
    encoded,
    events_by,
    is_root,
    normal,
    row_by,
    run_id,
    told_by,
)
from spanrun.telemetry.recordings.schema import FILE, store_file
from spanrun.telemetry.recordings.signals import SignalStore, parts_of
from spanrun.telemetry.recordings.writer import Entry, StoreWriter
from spanrun.telemetry.redact import redact
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.span.decode import mapping

_SCOPE: Final = OUR_SCOPE.name
_BATCH_BYTES: Final = 1024 * 1024
_BATCH_JOBS: Final = 8_192
_MOST_RUNNERS: Final = 500
_OTHERS: Final = "other spans"
"""The runner of root spans whose names are too many to be runners."""
_RUN: Final = (
    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0.0, 0.0, 0, ?) "
    "ON CONFLICT (id) DO UPDATE SET total = excluded.total, "
    "trace_id = excluded.trace_id, ended_ns = excluded.ended_ns, "
    "calls = excluded.calls, policies = excluded.policies"
)
_KNOWN: Final = "SELECT started_ns FROM runs WHERE id = ?"
_JOBS: Final = "SELECT total(jobs) FROM jobs WHERE instr(runs, ?)"


@dataclass
class _Run:
    """A run; jobs count their times from ``started``, which stays what it is."""

    told: RunTold
    started: int
    jobs: int = 0
    last: int = 0  # the end of its last job
    is_whole: bool = False
    is_new: bool = True


@dataclass
class _Session:
    """What came from one resource."""

    id: str
    about: str
    pid: int
    started: int = 0
    ended: int = 0
    is_ours: bool = False
    runs: dict[str, _Run] = field(default_factory=dict[str, _Run])
    events: list[RunEvent] = field(default_factory=list[RunEvent])
    rows: list[Row] = field(default_factory=list[Row])
    spans: dict[bytes, tuple[list[bytes], list[bytes]]] = field(
        default_factory=dict[bytes, tuple[list[bytes], list[bytes]]]
    )
    size: int = 0


class OtlpStore:
    """Writes OTLP's requests into the store of a folder. Safe from any thread.

    Args:
        folder: Made when it isn't there.
        live: They come from programs that run now; else from a file, and sessions are
            as old as their spans, and none is deleted.

    Attributes:
        path: The file.
        account: Counts what became of spans and jobs, all as ``traces``.
    """

    def __init__(self, folder: Path, *, live: bool = True) -> None:
        self.path: Final = folder / FILE
        self.account: Final = Account()
        self._live: Final = live
        self._lock: Final = threading.Lock()
        self._sessions: Final[dict[bytes, _Session]] = {}
        self._part = ""
        self._touched: Final[dict[str, _Session]] = {}
        self._file: Final = store_file(self.path)
        self._writer: Final = StoreWriter(self._file, self._begin, self.account)
        self._writer.write([])  # the file is made
        self._signals: Final = SignalStore(folder, self.account)

    @property
    def fault(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return self._writer.fault

    def begin_part(self) -> list[str]:
        """What comes now is another recording, whatever its ids are.

        Returns:
            The ids of the sessions up to here, since the last call, newest first.
        """
        self.flush()
        sessions = sorted(self._sessions.values(), key=lambda each: -each.started)
        found = [each.id for each in sessions if each.started]
        self._sessions.clear()
        self._part += "."
        return found

    def foresee(self, request: ExportTraceServiceRequest) -> None:
        """Look when runs begin, ahead of the jobs that are told before their runs."""
        with self._lock:
            for resource in request.resource_spans:
                session = self._session(resource)
                for scope in resource.scope_spans:
                    if scope.scope.name == _SCOPE:
                        session.is_ours = True
                        for span in scope.spans:
                            self._foresee(session, span)

    def add(self, request: ExportTraceServiceRequest) -> int:
        """Take the spans of ``request``, and return how many have no ids."""
        rejected = 0
        if self._live:
            self.foresee(request)
        with self._lock:
            for resource in request.resource_spans:
                session = self._session(resource)
                self._touched[session.id] = session
                for scope in resource.scope_spans:
                    rejected += self._add(session, resource, scope)
        return rejected

    def keep(
        self, request: ExportLogsServiceRequest | ExportMetricsServiceRequest
    ) -> int:
        """Write the logs or the metrics of ``request``, and return how many there are.

        Of metrics, their points are counted. Their session begins with the first of
        them, if no span was before it.
        """
        taken = 0
        for part in parts_of(request):
            taken += part.items
            with self._lock:
                session = self._session(part.resource)
                session.started = session.started or part.started or time.time_ns()
                self._touched[session.id] = session
            self._signals.add(session.id, part.kind, part.items, part.body)
        self.flush()
        return taken

    def flush(self) -> None:
        """Write what was taken. What can't be written waits, or is counted."""
        with self._lock:
            for session in list(self._touched.values()):
                self._write(session)
            self._touched.clear()

    def close(self) -> bool:
        """Write what is left; whether all that ever came was written."""
        self.flush()
        self._signals.close()
        return self._writer.close(5.0)

    def _session(self, resource: Any) -> _Session:
        attributes = mapping(resource.resource.attributes)
        named = [
            str(attributes.get(name, ""))
            for name in ("service.namespace", semconv.SERVICE_NAME)
        ]
        instance = attributes.get(semconv.SERVICE_INSTANCE_ID)
        which = sorted(attributes.items()) if instance is None else instance
        key = blake2b(
            repr((self._part, named, which)).encode("utf-8", "replace"), digest_size=8
        )
        found = self._sessions.get(key.digest())
        if found is None:
            pid = attributes.get("process.pid")
            about = attributes.get("process.command_line") or " ".join(
                filter(None, named)
            )
            found = self._sessions[key.digest()] = _Session(
                key.hexdigest(),
                redact(str(about or "unknown service")),
                pid if isinstance(pid, int) and 0 <= pid < 2**31 else 0,
            )
        return found

    def _foresee(self, session: _Session, span: Any) -> None:
        if not normal(span):
            return
        found = told_by(span)
        if found is None:
            return
        told, job = self._own(found[0]), found[1]
        known = session.runs.get(told.id)
        if known is None:
            known = session.runs[told.id] = self._run(told)
        if known.is_new:  # else jobs count from it already
            known.started = min(known.started, told.started)
        if job is None:
            known.told, known.is_whole = told, True

    def _run(self, told: RunTold) -> _Run:
        """A run, as far as the file has it from an earlier time."""
        run = _Run(told, told.started)
        if not self._live:
            return run
        with (
            suppress(OSError, sqlite3.Error, Unusable),  # the writer says what is amiss
            self._file.transaction() as db,
        ):
            for (started,) in db.execute(_KNOWN, (told.id,)).fetchall():
                run.started, run.is_new = started, False
                run.jobs = int(db.execute(_JOBS, (told.id,)).fetchone()[0])
        return run

    def _own(self, told: RunTold) -> RunTold:
        """With an id that no other part has."""
        part = self._part
        return told._replace(id=run_id(f"{part} {told.id}")) if part else told

    def _add(self, session: _Session, resource: Any, scope: Any) -> int:
        rejected = 0
        about = _about(resource, scope)
        fields, headers = session.spans.setdefault(about, ([], []))
        for span in scope.spans:
            if not normal(span):
                rejected += 1
                continue
            field_, header = encoded(span)
            fields.append(field_)
            headers.append(header)
            session.size += len(field_)
            start, end = span.start_time_unix_nano, span.end_time_unix_nano
            session.started = min(session.started or start, start)
            session.ended = max(session.ended, end)
            self._add_job(session, scope.scope.name, span)
            if session.size > _BATCH_BYTES or len(session.rows) > _BATCH_JOBS:
                self._write(session)
                fields, headers = session.spans.setdefault(about, ([], []))
        return rejected

    def _add_job(self, session: _Session, scope: str, span: Any) -> None:
        if scope == _SCOPE:
            found = told_by(span)
            if found is not None and span.events:
                run_told, its_job = self._own(found[0]), found[1]
                index = None if its_job is None else its_job.index
                session.events += events_by(span, run_told.id, index)
        elif session.is_ours or not is_root(span):
            return
        else:
            found = row_by(span, session.id)
        if found is None or found[1] is None:
            return
        told, job = self._own(found[0]), found[1]
        run = session.runs.get(told.id)
        if run is None and scope != _SCOPE and len(session.runs) >= _MOST_RUNNERS:
            told = RunTold(run_id(f"{session.id} {_OTHERS}"), _OTHERS, told.started)
            run = session.runs.get(told.id)
        if run is None:
            run = session.runs[told.id] = self._run(told)
        session.rows.append(_row(run, told, job))
        run.jobs += 1
        run.last = max(run.last, span.end_time_unix_nano)

    def _write(self, session: _Session) -> None:
        entries = [*self._runs(session), *_packed(session)]
        session.rows, session.events, session.spans, session.size = [], [], {}, 0
        self._writer.write(entries)

    def _runs(self, session: _Session) -> Iterator[Entry]:
        for run in session.runs.values():
            if not (run.is_new or run.is_whole):
                continue
            told = run.told
            values = (
                told.id,
                session.id,
                redact(told.runner),
                told.total,
                told.trace,
                run.started,
                told.ended or (None if self._live else run.last) or None,
                told.policies is None,
                told.policies,
            )
            run.is_new = run.is_whole = False
            yield Entry(1, 0, _RUN, values)

    def _begin(self, db: sqlite3.Connection, *, first: bool, size: int) -> None:
        now = time.time_ns()
        if self._live and first:
            retention.forget_sessions(db, now)
        for each in self._touched.values():
            if not each.started:  # there was no span that can be kept
                continue
            written = now if self._live else each.ended
            db.execute(SESSION, (each.id, each.started, each.pid, each.about, written))
        if self._live and self._touched:
            retention.make_room(db, next(iter(self._touched)), size)


def _row(run: _Run, told: RunTold, job: JobTold) -> Row:
    index = run.jobs if job.index is None else job.index
    submitted = (told.started - run.started) / 1e9
    return row_of_values(told.id, index, submitted, *job[1:])


def _packed(session: _Session) -> Iterator[Entry]:
    if session.rows:
        yield jobs_entry(session.id, *rows_together(session.rows))
    if session.events:
        yield events_entry(session.id, session.events)
    for about, (fields, headers) in session.spans.items():
        if fields:
            joined = b"".join(fields), b"".join(headers)
            yield from spans_entries(session.id, about, *joined)


def _about(resource: Any, scope: Any) -> bytes:
    """A request with the resource and the scope, without spans."""
    request = ExportTraceServiceRequest()
    its = request.resource_spans.add(schema_url=resource.schema_url)
    its.resource.CopyFrom(resource.resource)
    inner = its.scope_spans.add(schema_url=scope.schema_url)
    inner.scope.CopyFrom(scope.scope)
    told: bytes = request.SerializeToString(deterministic=True)
    return told
