"""`LocalStore`: runs, all jobs, events, and the kept spans, recorded in one file."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun.outcome import Outcome
from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunEvent, RunInfo
from spanrun.telemetry.outbox import Outbox, remaining
from spanrun.telemetry.recordings import retention
from spanrun.telemetry.recordings.entries import (
    SESSION,
    events_entry,
    jobs_entry,
    spans_entries,
)
from spanrun.telemetry.recordings.jobs import ROW_BYTES, JobRows, job_rows
from spanrun.telemetry.recordings.schema import FILE, store_file
from spanrun.telemetry.recordings.signals import SignalStore
from spanrun.telemetry.recordings.writer import Entry, StoreWriter
from spanrun.telemetry.redact import redact
from spanrun.telemetry.span import Batch, Scope
from spanrun.telemetry.span.request import request_of

if TYPE_CHECKING:  # it imports ours, by way of its exits
    from spanrun.telemetry.log_pipe import LogBatch

T = TypeVar("T")

MAX_JOBS: Final = 200_000
"""Jobs that may wait to be packed: some 40 MB."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of spans that may wait to be packed."""
_AT_ONCE: Final = 8_192  # jobs in a batch
_BATCH_BYTES: Final = 1024 * 1024  # of spans: a trace is found in one in 5 ms
MAX_EVENTS: Final = 10_000
"""Of one kind, such as retries, that are kept of a run; and that may wait."""
_BATCHES: Final = 16
"""In one transaction. Each is some 20 calls that let a busy event loop go first, which
takes 5 ms each time."""

_RUN: Final = (
    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET ended_ns = excluded.ended_ns, "
    "source_wait = excluded.source_wait, consumer_wait = excluded.consumer_wait, "
    "events_left_out = excluded.events_left_out"
)


class LocalStore:
    """Keeps what happened in ``<folder>/telemetry.db``.

    It hears of runs, jobs and events as an observer, is a sink of ended spans, and
    packs and writes them in a thread of its own: a commit of 2 to 25 ms has no place on
    an event loop. A file that can't be written costs what was for it, which is counted,
    and nothing else: see `StoreWriter`.

    Args:
        folder: Made when it isn't there.

    Attributes:
        path: The file.
        session: The id of what this process does.
        account: Counts what became of runs, jobs, events, spans and log records, all
            as ``traces``.
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
        self._runs: Final[deque[tuple[Any, ...]]] = deque()
        self._jobs: Final = job_rows(ErrorTypes())
        self._events: Final[deque[RunEvent]] = deque()
        self._counts: Final[Counter[tuple[str, str]]] = Counter()
        self._batches: Final[deque[Batch]] = deque()
        self._is_told = False
        self._signals: SignalStore | None = None  # there are no logs as a rule
        self._writer: Final = StoreWriter(
            store_file(self.path), self._begin, self.account
        )
        self._outbox: Final = Outbox[None]("store", self._write, self._lost)
        tell_after_fork(self)
        self._tell()  # the session begins, and what is amiss is said

    @property
    def fault(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return self._writer.fault

    def run_opened(self, run: RunInfo) -> None:
        """Note that a run has begun."""
        self._put_run(run, None)

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """Note a job's outcome and times."""
        try:
            self._jobs.add(run, outcome)
        except Exception:  # noqa: BLE001 -- counted: it must not cost the others
            self.account.drop("traces", "encode_error")
            return
        if not self._is_told:
            self._tell()
        elif len(self._jobs) > MAX_JOBS:
            self._drop(self._jobs)

    def run_closed(self, run: RunInfo) -> None:
        """Note that a run is over."""
        kinds = [key for key in tuple(self._counts) if key[0] == run.id]
        counts = [self._counts.pop(key, 0) for key in kinds]
        left_out = sum(max(0, count - MAX_EVENTS) for count in counts)
        self._put_run(run, run.ended_ns, left_out)

    def happened(self, event: RunEvent) -> None:
        """Note an event; of each kind the first `MAX_EVENTS` of a run."""
        if event.run is not None:
            kind = event.run, event.kind
            self._counts[kind] += 1
            if self._counts[kind] > MAX_EVENTS:
                return
        self._events.append(event)
        if not self._is_told:
            self._tell()
        elif len(self._events) > MAX_EVENTS:
            self._drop(self._events)

    def spans(self, batch: Batch) -> None:
        """Note ended spans."""
        if self._waiting_bytes() + len(batch.data) > MAX_BYTES:
            self.account.drop("traces", "queue_full", batch.spans)
            return
        self._batches.append(batch)
        if not self._is_told:
            self._tell()

    def logs(self, batch: LogBatch) -> None:
        """Write log records. They have a file of their own, and a thread before it."""
        if self._signals is None:
            self._signals = SignalStore(self.path.parent, self.account)
        scope = InstrumentationScope(redact(batch.logger))
        body = request_of(batch.resource, scope, batch.data)
        self._signals.add(self.session, "logs", batch.records, body)

    def flush(self, timeout: float) -> bool:
        """Write all that is queued; whether that took less than ``timeout``."""
        deadline = time.monotonic() + timeout
        done = self._signals is None or self._signals.flush(timeout)
        done = self._outbox.flush(remaining(deadline)) and done
        return self._writer.flush(remaining(deadline)) and done

    def close(self, timeout: float) -> bool:
        """Write what is left and end; whether all that ever came was written."""
        deadline = time.monotonic() + timeout
        self._writer.hurry()
        done = self._signals is None or self._signals.close(timeout)
        done = self._outbox.close(remaining(deadline)) and done
        return self._writer.close(remaining(deadline)) and done

    def after_fork(self) -> None:
        """In the child: what waits is the parent's."""
        for waiting in (self._runs, self._jobs, self._events, self._batches):
            waiting.clear()
        self._counts.clear()
        self._is_told = False

    def _put_run(self, run: RunInfo, ended_ns: int | None, left_out: int = 0) -> None:
        # At its end once more: the file may be another one by then.
        self._runs.append(
            (
                run.id,
                self.session,
                run.runner,
                run.total,
                f"{run.trace_id:032x}" if run.trace_id else None,
                run.started_ns,
                ended_ns,
                run.calls,
                run.source_wait,
                run.consumer_wait,
                left_out,
                run.policies or None,
            )
        )
        self._tell()

    def _tell(self) -> None:
        """Wake the writer's thread. Whoever comes until it looks need not."""
        self._is_told = True
        self._outbox.put(None)

    def _write(self, _: Sequence[None]) -> None:
        # First this, then the look: who adds something does it the other way round.
        self._is_told = False
        self._writer.write(list(self._packed()))  # maybe nothing but the session
        while len(self._jobs) > _AT_ONCE or self._waiting_bytes() > _BATCH_BYTES:
            self._writer.write(list(self._packed()))
        # The little that has come meanwhile waits for company: a commit is 1 ms of CPU.
        if self._runs or self._jobs or self._events or self._batches:
            self._tell()

    def _waiting_bytes(self) -> int:
        """Of spans. A sum that several threads keep would be wrong by and by."""
        return sum(len(batch.data) for batch in list(self._batches))

    def _packed(self) -> Iterator[Entry]:
        """What waits, ready to be written; some of it, where there is much."""
        for run in _taken(self._runs, _AT_ONCE):
            yield Entry(1, 0, _RUN, run)
        if events := _taken(self._events, MAX_EVENTS):
            yield from self._guarded(
                len(events), lambda: [events_entry(self.session, events)]
            )
        for _ in range(_BATCHES):
            rows, texts = self._jobs.take(_AT_ONCE)
            if jobs := len(rows) // ROW_BYTES:
                yield from self._guarded(
                    jobs,
                    lambda: [jobs_entry(self.session, rows, texts)],  # noqa: B023 -- called at once
                )
            yield from self._packed_spans()

    def _packed_spans(self) -> Iterator[Entry]:
        groups: dict[Scope, list[Batch]] = {}
        size = 0
        while size < _BATCH_BYTES and (taken := _taken(self._batches, 1)):
            (batch,) = taken
            size += len(batch.data)
            groups.setdefault(batch.scope, []).append(batch)
        for scope, some in groups.items():
            spans = sum(batch.spans for batch in some)
            yield from self._guarded(spans, lambda: self._spans_entry(scope, some))  # noqa: B023 -- called at once

    def _guarded(self, items: int, pack: Any) -> Iterator[Entry]:
        try:
            yield from pack()
        except Exception:  # noqa: BLE001 -- counted: it must not cost the others
            self.account.drop("traces", "encode_error", items)

    def _spans_entry(self, scope: Scope, batches: Sequence[Batch]) -> list[Entry]:
        owner = scope.owner
        about = request_of(owner.resource, owner.instrumentation, b"")
        data = b"".join([batch.data for batch in batches])
        headers = b"".join([batch.headers for batch in batches])
        return spans_entries(self.session, about, data, headers)

    def _begin(self, db: sqlite3.Connection, *, first: bool, size: int) -> None:
        if first:
            retention.forget_sessions(db, time.time_ns())
        db.execute(SESSION, (*self._started, time.time_ns()))
        retention.make_room(db, self.session, size)

    def _lost(self, _: Sequence[None], reason: SpanrunTelemetryReason) -> None:
        for waiting in (self._runs, self._jobs, self._events):
            self._drop(waiting, reason, everything=True)
        while self._batches:
            with suppress(IndexError):
                self.account.drop("traces", reason, self._batches.popleft().spans)

    def _drop(
        self,
        waiting: deque[Any] | JobRows,
        reason: SpanrunTelemetryReason = "queue_full",
        *,
        everything: bool = False,
    ) -> None:
        """Drop the newest, or all."""
        with suppress(IndexError):  # another thread takes them, too
            while waiting:
                waiting.pop()
                self.account.drop("traces", reason)
                if not everything:
                    return


def _taken(waiting: deque[T], most: int) -> list[T]:
    """The first of what waits."""
    taken: list[T] = []
    with suppress(IndexError):  # another thread takes them, too
        while len(taken) < most:
            taken.append(waiting.popleft())
    return taken
