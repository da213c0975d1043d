"""`StoreWriter`: rows go into the file of the local store, or wait for it, or count.

The store never decides whether the program runs. While the file can't be written,
because another process has it locked or the disk is full, rows wait here, up to
`MAX_WAITING`; each time the file is tried again they are written first. What finds no
room, what is left at the end, and what is for a file that must be left alone is
counted as dropped, by reason. The log says so once for each cause.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.outbox import remaining
from spanrun.telemetry.store_errors import (
    Unusable,
    is_damage,
    is_full,
    is_of_file,
    is_passing,
)
from spanrun.telemetry.store_file import StoreFile

Raw = TypeVar("Raw")
Row = TypeVar("Row")

MAX_WAITING: Final = 20_000
"""Rows: some 30 MB when all are spans."""
_TRIES: Final = 20
_LAST_TRIES: Final = 2
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_MAX_TOLD: Final = 8

_log: Final = Log(__name__)


class StoreWriter(Generic[Raw, Row]):
    """Writes rows in the order in which they come, each once.

    Args:
        file: Where they go.
        encode: Makes a row ready, before other processes have to wait for the file.
        begin: Called in each transaction before any row, with whether it is this
            writer's first.
        insert: Writes rows; returns how many of them can't be written, by their own
            fault.
        account: Counts them.

    Attributes:
        fault: Why nothing can be written now; empty while all is well.
    """

    def __init__(
        self,
        file: StoreFile,
        encode: Callable[[Raw], Row],
        begin: Callable[[sqlite3.Connection, bool], object],
        insert: Callable[[sqlite3.Connection, Sequence[Row]], int],
        account: Account,
    ) -> None:
        self._file: Final = file
        self._encode: Final = encode
        self._begin: Final = begin
        self._insert: Final = insert
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
        self._waiting: list[Row] = []
        self._encoding = 0

    def write(self, rows: Sequence[Raw]) -> None:
        """Write ``rows``, or let them wait. Never raises."""
        with self._lock:
            self._make_ready(rows)
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
                self._drop("shutdown", self._encoding + len(self._waiting))
        self._is_closed = True
        return not self._account.dropped

    def _make_ready(self, rows: Sequence[Raw]) -> None:
        failed = 0
        self._encoding = len(rows)
        for row in rows:
            try:
                self._waiting.append(self._encode(row))
            except Exception:  # noqa: BLE001 -- counted: it must not cost the others
                failed += 1
            self._encoding -= 1
        self._drop("encode_error", failed)

    def _try(self) -> None:
        """Write what waits, if that can be."""
        error, tried = self._attempt(), 1
        while error is not None and is_passing(error) and tried < self._patience():
            error, tried = self._attempt(), tried + 1
        if error is not None and is_damage(error) and self._replace():
            error = self._attempt()
        if isinstance(error, Unusable):
            self._is_over = True
            self._complain(error, "nothing is kept there")
            self._drop_from(0)
        elif error is not None:
            self._reason = _reason(error)
            self._complain(error, f"up to {MAX_WAITING:,} rows wait for it")
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
            self._begin(db, not self._has_begun)
            failed = self._insert(db, self._waiting)
            if self._is_closed:
                raise Unusable("is closed")  # and its rows count as lost
        written = len(self._waiting) - failed
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

    def _drop_from(self, place: int) -> None:
        """Drop what waits, but for so many of the oldest."""
        if lost := len(self._waiting[place:]):
            del self._waiting[place:]
            self._drop(self._reason, lost)

    def _drop(self, reason: SpanrunTelemetryReason, rows: int) -> None:
        if rows and not self._is_closed:
            self._account.drop("traces", reason, rows)

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


def _reason(error: Exception) -> SpanrunTelemetryReason:
    if is_full(error):
        return "disk_full"
    return "export_failed" if is_of_file(error) else "internal_error"
