"""`StoreWriter`: batches go into the local store's file, or wait for it, or count.

The store never decides whether the program runs. While the file can't be written,
because another process has it locked or the disk is full, they wait here, up to
`MAX_WAITING` bytes; each time the file is tried again they are written first. What
finds no room, what is left at the end, and what is for a file that must be left alone
is counted as dropped, by reason. The log says so once for each cause.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.outbox import remaining
from spanrun.telemetry.recordings.errors import (
    Unusable,
    is_damage,
    is_full,
    is_of_file,
    is_passing,
    seems_damage,
)
from spanrun.telemetry.recordings.file import StoreFile

MAX_WAITING: Final = 32 * 1024 * 1024
"""Bytes of packed batches: some 300,000 jobs with three spans each."""
_TRIES: Final = 20
_LAST_TRIES: Final = 2
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_MAX_TOLD: Final = 8
_LEAST: Final = 512  # bytes that an entry counts for

_log: Final = Log(__name__)


class Entry(NamedTuple):
    """One statement for the file.

    Attributes:
        items: How many jobs, spans or runs are in it.
        size: Its bytes, where they are many.
        statement: In SQL.
        values: Of the statement.
    """

    items: int
    size: int
    statement: str
    values: tuple[Any, ...]


class Begin(Protocol):
    """Called in each transaction, ahead of what is written in it."""

    def __call__(self, db: sqlite3.Connection, *, first: bool, size: int) -> object:
        """Whether it is the writer's first, and how many bytes follow."""
        ...


class StoreWriter:
    """Writes entries in the order in which they come, each once.

    Args:
        file: Where they go.
        begin: Called in each transaction.
        account: Counts their items.

    Attributes:
        fault: Why nothing can be written now; empty while all is well.
    """

    def __init__(
        self,
        file: StoreFile,
        begin: Begin,
        account: Account,
    ) -> None:
        self._file: Final = file
        self._begin: Final = begin
        self._account: Final = account
        self.fault = ""
        self._told: Final[set[str]] = set()
        self._has_begun = False
        self._is_over = False
        self._is_closed = False
        self._tries = _TRIES
        self._pause = _FIRST_PAUSE
        self._next = 0.0
        self._reason: SpanrunTelemetryReason = "export_failed"
        self.after_fork()
        tell_after_fork(self)

    def after_fork(self) -> None:
        """In the child: what waits is the parent's."""
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []

    def write(self, entries: Sequence[Entry]) -> None:
        """Write ``entries``, or let them wait. Never raises."""
        with self._lock:
            self._waiting += entries
            if time.monotonic() >= self._next:
                self._try()
            self._drop_from(MAX_WAITING)
        self._tell()

    def flush(self, timeout: float) -> bool:
        """Try again what waits, at once; whether nothing waits any more."""
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            if self._waiting:
                self._try()
            done = not self._waiting
        finally:
            self._lock.release()
        self._tell()
        return done

    def hurry(self) -> None:
        """From now on wait for another process for half a second at most."""
        self._tries = _LAST_TRIES

    def close(self, timeout: float) -> bool:
        """Try what waits a last time, and give it up; whether none was ever lost."""
        deadline = time.monotonic() + timeout
        if not self.flush(timeout):
            if self._lock.acquire(timeout=remaining(deadline)):
                self._drop_from(0)
                self._lock.release()
            else:  # another thread is at it, and nobody will hear of its end
                self._drop("shutdown", _items(self._waiting))
        self._is_closed = True
        return not self._account.dropped

    def _try(self) -> None:
        """Write what waits, if that can be."""
        error, tried = self._attempt(), 1
        while error is not None and is_passing(error) and tried < self._patience():
            error, tried = self._attempt(), tried + 1
        if error is not None and seems_damage(error):
            error = self._attempt()  # damage would be there still
        if error is not None and is_damage(error) and self._replace():
            error = self._attempt()
        if isinstance(error, Unusable):
            self._is_over = True
            self._complain(error, "nothing is kept there")
            self._drop_from(0)
        elif error is not None:
            self._reason = _reason(error)
            self._complain(error, f"up to {MAX_WAITING >> 20} MiB wait for it")
            self._next = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _patience(self) -> int:
        """How often to try while another process is at it. It may change meanwhile."""
        return 1 if self.fault else self._tries

    def _attempt(self) -> Exception | None:
        """Write what waits; what went wrong, if anything did."""
        try:
            if self._is_over:
                self._drop_from(0)
            else:
                self._commit()
        except Exception as error:  # noqa: BLE001 -- counted: the store ends no program
            return error
        return None

    def _commit(self) -> None:
        with self._file.transaction() as db:
            size = sum(entry.size for entry in self._waiting)
            self._begin(db, first=not self._has_begun, size=size)
            failed = _insert(db, self._waiting)
            if self._is_closed:
                raise Unusable("is closed")  # and what is in it counts as lost
        written = _items(self._waiting) - failed
        self._waiting.clear()
        self._has_begun = True
        self._pause, self._next = _FIRST_PAUSE, 0.0
        self._drop("encode_error", failed)
        if written and not self._is_closed:
            self._account.deliver("traces", written)
        if self.fault:
            self.fault = ""
            _log.info("spanrun's local store %s is written again", self._file.path)

    def _replace(self) -> bool:
        """Begin a new file, as this one is damaged; whether that could be done."""
        try:
            self._file.replace_damaged()
        except (Unusable, OSError, sqlite3.Error):
            return False
        return True

    def _drop_from(self, most: int) -> None:
        """Drop the newest of what waits, beyond ``most`` bytes."""
        size = 0
        for place, entry in enumerate(self._waiting):
            size += max(entry.size, _LEAST)
            if size > most:
                lost = _items(self._waiting[place:])
                del self._waiting[place:]
                self._drop(self._reason, lost)
                return

    def _drop(self, reason: SpanrunTelemetryReason, items: int) -> None:
        if items and not self._is_closed:
            self._account.drop("traces", reason, items)

    def _complain(self, error: Exception, then: str) -> None:
        self.fault = str(error)
        told = self.fault in self._told or len(self._told) >= _MAX_TOLD
        if told or self._is_closed:
            return
        self._told.add(self.fault)
        can_not = "" if isinstance(error, Unusable) else "can't be written: "
        self._file.news.append(
            f"{can_not}{error}; {then}, and the program goes on (another folder: "
            'configure(store="…") or SPANRUN_STORE; none: SPANRUN_STORE=none)'
        )

    def _tell(self) -> None:
        """Log what is new of the file. A handler may do anything: no lock is held."""
        with suppress(IndexError):  # that was all
            while True:
                new = self._file.news.popleft()
                _log.warning("spanrun's local store %s %s", self._file.path, new)


def _items(entries: Sequence[Entry]) -> int:
    return sum(entry.items for entry in entries)


def _insert(db: sqlite3.Connection, entries: Sequence[Entry]) -> int:
    """Write them; returns how many items can't be, by their own fault."""
    failed = 0
    for entry in entries:
        try:
            db.execute(entry.statement, entry.values)
        except Exception as error:
            if is_of_file(error):
                raise
            failed += entry.items
    return failed


def _reason(error: Exception) -> SpanrunTelemetryReason:
    if is_full(error):
        return "disk_full"
    return "export_failed" if is_of_file(error) else "internal_error"
