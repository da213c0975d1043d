"""`Recording`: the one reader of what the local store keeps."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar

from spanrun.checks import text, wrong
from spanrun.errors import StoreError
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings import signals
from spanrun.telemetry.recordings.events import events_of
from spanrun.telemetry.recordings.jobs import jobs_of
from spanrun.telemetry.recordings.logs import records_of
from spanrun.telemetry.recordings.messages import span_of
from spanrun.telemetry.recordings.otlp_files import Imported, is_other
from spanrun.telemetry.recordings.records import (
    Job,
    LogRecord,
    Run,
    Session,
    Span,
    Trace,
)
from spanrun.telemetry.recordings.rows import run_of, session_of
from spanrun.telemetry.recordings.schema import FILE, store_file
from spanrun.telemetry.recordings.spans import Heads, spans_of

T = TypeVar("T")

LAST: Final = "last"
"""The newest session."""

_SESSIONS: Final = (
    "SELECT id, started_ns, written_ns, pid, command, forgotten FROM sessions "
    "ORDER BY started_ns DESC, rowid DESC"
)
_RUNS: Final = (
    "SELECT id, session, runner, total, trace_id, started_ns, ended_ns, calls, "
    "source_wait, consumer_wait, events_left_out, policies FROM runs "
    "WHERE ? IN (session, '') ORDER BY rowid"
)
_JOBS: Final = (
    "SELECT id FROM jobs WHERE ? IN (session, '') AND instr(runs, ?) "
    "AND id > ? AND id <= ? ORDER BY id"
)
_JOBS_OF: Final = "SELECT jobs, rows, texts, traces FROM jobs WHERE id = ?"
_EVENTS: Final = (
    "SELECT id FROM events WHERE ? IN (session, '') AND instr(runs, ?) "
    "AND id > ? AND id <= ? ORDER BY id"
)
_EVENTS_OF: Final = "SELECT rows FROM events WHERE id = ?"
_BATCHES: Final = (
    "SELECT id FROM batches WHERE ? IN (session, '') AND id > ? AND id <= ? ORDER BY id"
)
_WRITTEN: Final = (
    "SELECT (SELECT max(id) FROM jobs), (SELECT max(id) FROM events), "
    "(SELECT max(id) FROM batches)"
)
_END: Final = 2**63 - 1
_HEADS_OF: Final = "SELECT heads, traces FROM batches WHERE id = ?"
_SPANS_OF: Final = (
    "SELECT heads, batches.traces, bodies, ids, about FROM batches JOIN scopes "
    "ON scopes.session = batches.session AND scopes.id = scope WHERE batches.id = ?"
)
_WITH_TRACE: Final = "SELECT id FROM batches WHERE instr(traces, ?) ORDER BY id"
_TRACE_DIGITS: Final = 32


def open(path: str | os.PathLike[str] = ".spanrun") -> Recording:  # noqa: A001 -- as `gzip.open`
    """Open what was recorded, to read it. It may be written meanwhile.

    A file of OTLP is imported first: requests as JSON or as protobuf, as the
    Collector's ``file`` exporter and ``spanrun export`` write them, also compressed by
    gzip. Spans of spanrun become jobs again; of other programs each local root is one.

    Args:
        path: The folder of the local store, the file in it, or a file of OTLP.

    Raises:
        LookupError: Nothing was ever recorded there.
        StoreError: It can't be read, such as one of another format, and what to do.

    Example:
        >>> import spanrun.recordings
        >>> async def nap_twice() -> None:
        ...     async with sr.Runner("naps") as runner:
        ...         await runner.map(asyncio.sleep, [0, 0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sr.configure(store=folder)
        ...     sr.run(nap_twice())
        ...     assert sr.shutdown()
        ...     with spanrun.recordings.open(folder) as recording:
        ...         for run in recording.runs():
        ...             print(run.runner, [job.index for job in recording.jobs()])
        naps [0, 1]
    """
    given: Any = path
    if not isinstance(given, str | os.PathLike):
        raise wrong("open", "path", given, "must be a folder, such as '.spanrun'")
    return Recording(Path(path))


class Written(NamedTuple):
    """How far something was written: the newest batch of jobs, of events, of spans."""

    jobs: int = 0
    events: int = 0
    spans: int = 0


def file_of(path: Path) -> Path:
    """The file of a store that is named by its folder, or by the file itself."""
    return path if path.name == FILE or path.is_file() else path / FILE


class Recent(NamedTuple):
    """A part of a session: its jobs, its events, and its spans."""

    jobs: Iterator[Job]
    events: Iterator[RunEvent]
    spans: Iterator[Span]


_Between: TypeAlias = tuple[Written, Written]
_ALL: Final[_Between] = Written(), Written(_END, _END, _END)


class Recording:
    """Sessions, runs, jobs, events, traces and spans, in the order they were written.

    Iterators are lazy: a batch of some thousands is in memory at a time. What is
    recorded while they run may come or not. Use it in ``with``, in one thread.

    Args:
        path: As that of `open`.

    Raises:
        LookupError: Nothing was ever recorded there.
        StoreError: It can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._imported: Final = Imported([path]) if is_other(path) else None
        self.path: Final = file_of(self._imported.folder if self._imported else path)
        self._file: Final = store_file(self.path)
        self._db: Final = self._file.open_to_read()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._db.close()
        if self._imported is not None:
            self._imported.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def sessions(self) -> list[Session]:
        """All sessions, the newest first: as many as are kept, 50 at most."""
        with _whole(self.path, "session"):
            return [session_of(row) for row in self._rows(_SESSIONS)]

    def session(self, name: str = LAST) -> Session:
        """The session whose id begins with ``name``, or the newest one.

        Raises:
            LookupError: There is none, or several.
        """
        text("session", "name", name, empty=True)
        sessions = self.sessions()
        if not sessions:
            raise LookupError("nothing was ever run: run something first")
        if name == LAST:
            return sessions[0]
        found = [each for each in sessions if name and each.id.startswith(name)]
        return _only(found, name)

    def find(self, name: str) -> Session | Run:
        """The session or the run whose id begins with ``name``; or the last session.

        Raises:
            LookupError: There is none, or several.
        """
        text("find", "name", name, empty=True)
        if name == LAST:
            return self.session()
        sessions = [each for each in self.sessions() if each.id.startswith(name)]
        runs = [each for each in self.runs() if each.id.startswith(name)]
        found: list[Session | Run] = [*sessions, *runs]
        return _only(found if name else [], name)

    def runs(self, session: str = "") -> Iterator[Run]:
        """The runs of a session, by its whole id, or all."""
        text("runs", "session", session, empty=True)
        return self._runs(session)

    def _runs(self, session: str) -> Iterator[Run]:
        for row in self._rows(_RUNS, session):
            with _whole(self.path, "run"):
                run = run_of(row)
            yield run

    def written(self) -> Written:
        """How far the recording is written by now, for `since`."""
        for row in self._rows(_WRITTEN):
            return Written(*(last or 0 for last in row))
        return Written()

    def since(self, session: str, seen: Written, until: Written) -> Recent:
        """What was written of a session behind ``seen``, as far as ``until``."""
        between = seen, until
        return Recent(
            chain.from_iterable(self._jobs(session, "", between)),
            self._events(session, "", between),
            self._spans_of(session, between),
        )

    def jobs(self, session: str = "", run: str = "") -> Iterator[Job]:
        """The jobs of a session or a run, by its whole id, or all, as they ended.

        Of a run that is open, and of one whose process died, those that were written.
        """
        text("jobs", "session", session, empty=True)
        text("jobs", "run", run, empty=True)
        return chain.from_iterable(self._jobs(session, run))

    def _jobs(
        self, session: str, run: str, between: _Between = _ALL
    ) -> Iterator[Iterator[Job]]:
        ids = (each.jobs for each in between)
        for (batch,) in self._rows(_JOBS, session, run, *ids):
            for row in self._rows(_JOBS_OF, batch):
                with _whole(self.path):
                    jobs = jobs_of(*row)
                yield (job for job in jobs if job.run == run) if run else jobs

    def events(self, session: str = "", run: str = "") -> Iterator[RunEvent]:
        """What happened in a session or a run, by its whole id, or in all.

        With ``run``, what belongs to it: a blocked loop that no job is guilty of,
        or a signal, belongs to none.
        """
        text("events", "session", session, empty=True)
        text("events", "run", run, empty=True)
        return self._events(session, run)

    def _events(
        self, session: str, run: str, between: _Between = _ALL
    ) -> Iterator[RunEvent]:
        ids = (each.events for each in between)
        for (batch,) in self._rows(_EVENTS, session, run, *ids):
            for (rows,) in self._rows(_EVENTS_OF, batch):
                with _whole(self.path):
                    events = events_of(rows)
                yield from (each for each in events if not run or each.run == run)

    def traces(self, session: str = "") -> Iterator[Trace]:
        """The topmost span of each trace that was kept, as they ended."""
        text("traces", "session", session, empty=True)
        return chain.from_iterable(self._traces(session))

    def _traces(self, session: str) -> Iterator[Iterator[Trace]]:
        for (batch,) in self._rows(_BATCHES, session, 0, _END):
            for heads, traces in self._rows(_HEADS_OF, batch):
                with _whole(self.path):
                    roots = Heads(heads, traces).roots()
                yield roots

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, by their start; none where it wasn't kept.

        Args:
            trace_id: 32 hexadecimal digits.
        """
        text("trace", "trace_id", trace_id, empty=True)
        try:
            wanted = bytes.fromhex(trace_id)
        except ValueError:
            return []
        if len(trace_id) != _TRACE_DIGITS:
            return []
        found = [
            span
            for (batch,) in self._rows(_WITH_TRACE, wanted)
            for span in self._spans(batch, wanted)
        ]
        return sorted(found, key=lambda span: span.start_ns)

    def spans(self, session: str = "") -> Iterator[Span]:
        """The kept spans of a session, by its whole id, or all, as they ended."""
        text("spans", "session", session, empty=True)
        return self._spans_of(session, _ALL)

    def _spans_of(self, session: str, between: _Between) -> Iterator[Span]:
        batches = self._rows(_BATCHES, session, *(each.spans for each in between))
        return (span for (batch,) in batches for span in self._spans(batch))

    def logs(self, session: str = "", trace_id: str = "") -> Iterator[LogRecord]:
        """The log records of a session or a trace, by its whole id, or all."""
        text("logs", "session", session, empty=True)
        text("logs", "trace_id", trace_id, empty=True)
        return self._logs(session, trace_id)

    def _logs(self, session: str, trace_id: str) -> Iterator[LogRecord]:
        for body in signals.bodies(self.path.parent, session, "logs"):
            with _whole(self.path.with_name(signals.FILE)):
                found = [
                    each for each in records_of(body) if trace_id in ("", each.trace_id)
                ]
            yield from found

    def requests(self, session: str = "") -> Iterator[Any]:
        """The same as OTLP's messages ``ExportTraceServiceRequest``."""
        text("requests", "session", session, empty=True)
        batches = self._rows(_BATCHES, session, 0, _END)
        return (each for (batch,) in batches for each in self._requests(batch))

    def _spans(self, batch: int, trace: bytes | None = None) -> Iterator[Span]:
        for request in self._requests(batch, trace):
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    with _whole(self.path):
                        spans = [
                            span_of(span, scope.scope.name) for span in scope.spans
                        ]
                    yield from spans

    def _requests(self, batch: int, trace: bytes | None = None) -> Iterator[Any]:
        with no_fork():
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 -- 16 ms
                ExportTraceServiceRequest,
            )

        for heads, traces, bodies, ids, about in self._rows(_SPANS_OF, batch):
            with _whole(self.path):
                read = Heads(heads, traces)
                request: Any = ExportTraceServiceRequest.FromString(about)
                scope = request.resource_spans[0].scope_spans[0]
                scope.MergeFromString(spans_of(read, bodies, ids, trace))
            yield request

    def _rows(self, question: str, *values: Any) -> Generator[Any]:
        """The rows of a short query. What goes wrong becomes a `StoreError`."""
        with _explained(self.path):
            rows = self._db.execute(question, values).fetchall()
        yield from rows


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} can't be read, {error}: name another folder"
        ) from error


@contextmanager
def _whole(path: Path, what: str = "batch") -> Generator[None]:
    """What is read inside is a batch or so. Of a damaged one any error may come."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"a {what} in {path} is damaged, {error}: read another session, or name "
            "another folder"
        ) from error


def _only(found: list[T], name: str) -> T:
    if len(found) != 1:
        what = "several begin so" if found else "there is no such session or run"
        raise LookupError(f"{name!r}: {what}: give an id, or {LAST}")
    return found[0]
