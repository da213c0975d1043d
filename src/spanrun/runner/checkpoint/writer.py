"""`Writer`: the thread that opens a checkpoint's file, commits to it, and closes it.

A commit of 2 to 25 ms has no place on an event loop. What the loop adds here is written
together: once 100 rows wait, once the first has waited for 20 ms, and at once where
somebody waits for it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from spanrun.errors import CheckpointError
from spanrun.runner.checkpoint import rows
from spanrun.runner.checkpoint.file import CheckpointFile, fault
from spanrun.runner.checkpoint.rows import Row
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.threads import Worker

GROUP: Final = 100
PERIOD: Final = 0.02
MAX_WAITING: Final = 10_000
"""Rows that may wait until no more jobs are admitted."""
_TRIES: Final = 3
_LAST: Final = 1.0
_IN_FLIGHT: Final = "UPDATE runs SET in_flight = ?, alone = ? WHERE id = ?"
_RUN: Final = "UPDATE runs SET run = ?, trace_id = ?, span_id = ? WHERE id = ?"

T = TypeVar("T")


class Told(Protocol):
    """Who uses the writer. Each is called in the writer's thread."""

    def in_flight(self) -> Collection[str | int]:
        """What runs at this moment."""
        ...

    def compare(self, kept: Mapping[str, str]) -> None:
        """Refuse a file of another run, by what is ``kept`` about it."""
        ...

    def opened(self, error: Exception | None) -> None:
        """The file is open, or can't be used."""
        ...

    def committed(self, notes: Sequence[Callable[[], None]]) -> None:
        """What was added is safe, and who asked for ``notes`` of it may know."""
        ...

    def broken(self, error: CheckpointError) -> None:
        """Nothing more is written."""
        ...

    def closed(self) -> None:
        """The thread is at its end."""
        ...


class Writer:
    """Writes to ``file`` in a thread of its own, from `start` to `end`.

    Attributes:
        is_behind: So much waits that no more should come.
        alone: What was begun as the only thing in flight, if it was.
        succeeded: Results that are safe.
    """

    def __init__(
        self,
        file: CheckpointFile,
        about: Mapping[str, str],
        told: Told,
        *,
        each: bool,
    ) -> None:
        self._file: Final = file
        self._about: Final = about
        self._told: Final = told
        self._each: Final = each
        self._by_key: Final = about["by"] == "key"
        self._rows: Final[deque[Row]] = deque()
        self._marks: Final[deque[str | int]] = deque()
        self._notes: Final[deque[Callable[[], None]]] = deque()
        self._runs: Final[deque[tuple[str, str, str]]] = deque()
        self._cleared: Final[deque[str | int]] = deque()
        self._wake: Final = threading.Event()
        self._hurry: Final = threading.Event()
        self._worker: Worker | None = None
        self._woken = self._ending = False
        self.is_behind = False
        self.alone: Collection[str | int] = ()
        self.succeeded = 0

    def start(self) -> None:
        """Begin to open the file."""
        self._worker = Worker("checkpoint", self._work)

    def join(self) -> None:
        """Wait for the last steps of the thread, which has closed the file."""
        if self._worker is not None:
            self._worker.join(_LAST)

    def add(self, row: Row, suspect: str | int | None = None) -> None:
        """Write an outcome, which frees ``suspect`` from its suspicion."""
        if suspect is not None:
            self._cleared.append(suspect)
        self._rows.append(row)
        waiting = len(self._rows)
        if waiting == GROUP:
            self._hurry.set()
        elif waiting > MAX_WAITING:
            self.is_behind = True
        if not self._woken:
            self._tell()

    def mark(self, key: str | int) -> None:
        """Note that the outcome of ``key`` was handed out."""
        self._marks.append(key)
        self._tell()

    def began(self, run: str, trace_id: str, span_id: str) -> None:
        """Note which run this is."""
        self._runs.append((run, trace_id, span_id))
        self._tell()

    def note(self, alone: Collection[str | int], done: Callable[[], None]) -> None:
        """Write what is in flight, at once; ``alone`` if that is all, then ``done``."""
        self.alone = alone
        self._notes.append(done)
        self._hurry.set()
        self._tell()

    def end(self) -> None:
        """Write what waits, and close the file."""
        self._ending = True
        self._hurry.set()
        self._tell()

    def _tell(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake.set()

    def _work(self) -> None:
        error: Exception | None = None
        try:
            self._file.open(self._about, self._told.compare)
        except Exception as raised:  # noqa: BLE001 -- whoever opened it raises it
            error = raised
        self._told.opened(error)
        try:
            if error is None:
                self._write()
        except Exception as raised:  # noqa: BLE001 -- the run raises it
            self._told.broken(self._explained(raised))
        finally:
            self._file.close()
            self._told.closed()

    def _explained(self, error: Exception) -> CheckpointError:
        if isinstance(error, CheckpointError):
            return error
        return fault(self._file.path, error)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            if not self._each:
                self._hurry.wait(PERIOD)
            self._woken = False
            self._wake.clear()
            self._hurry.clear()
            ending = self._ending
            self._commit_all(ending=ending)
            if ending:
                return

    def _commit_all(self, *, ending: bool) -> None:
        notes = _taken(self._notes)
        waiting = _taken(self._rows)
        self.is_behind = False
        marks, cleared = _taken(self._marks), _taken(self._cleared)
        if self._each:
            for row in waiting:
                self._patiently([row], (), ())
            waiting = []
        self._patiently(waiting, marks, cleared, ending=ending)
        self._told.committed(notes)

    def _patiently(
        self,
        waiting: Sequence[Row],
        marks: Sequence[str | int],
        cleared: Sequence[str | int],
        *,
        ending: bool = False,
    ) -> None:
        for tried in range(1, _TRIES + 1):
            try:
                self._commit(waiting, marks, cleared, ending=ending)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or tried == _TRIES:
                    raise
            else:
                break
        self.succeeded += sum(row[4] == "ok" for row in waiting)

    def _commit(
        self,
        waiting: Sequence[Row],
        marks: Sequence[str | int],
        cleared: Sequence[str | int],
        *,
        ending: bool,
    ) -> None:
        file, db = self._file, self._file.db
        with no_fork():
            db.execute("BEGIN IMMEDIATE")
            try:
                rows.insert(db, waiting, by_key=self._by_key)
                rows.mark(db, marks, file.run)
                if cleared:
                    text = "DELETE FROM suspects WHERE item = ?"
                    db.executemany(text, [(item,) for item in cleared])
                for run in tuple(self._runs):
                    db.execute(_RUN, (*run, file.run))
                self._put_flight(db)
                if ending:
                    file.finish()
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        self._runs.clear()

    def _put_flight(self, db: sqlite3.Connection) -> None:
        # After the rows were taken: what ends in between is in neither, and runs again.
        flight = list(self._told.in_flight())
        alone = bool(flight) and set(flight) == set(self.alone)
        db.execute(_IN_FLIGHT, (json.dumps(flight), alone, self._file.run))


def _taken(waiting: deque[T]) -> list[T]:
    """All that waits at this moment; the loop adds to it meanwhile."""
    return [waiting.popleft() for _ in range(len(waiting))]


def _is_busy(error: sqlite3.OperationalError) -> bool:
    code: Any = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
