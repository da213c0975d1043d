"""Logs of the program, and logs and metrics that were received, beside the store.

A batch is a request's part of one resource, as it came, compressed. The file has a size
of its own: beyond it the oldest batches go, whatever session they are of, and each
session knows how many records and points went so.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)

from spanrun.errors import StoreError
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.recordings.file import StoreFile
from spanrun.telemetry.recordings.retention import MAX_AGE, used
from spanrun.telemetry.recordings.writer import Entry, StoreWriter

FILE: Final = "signals.db"
VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of the file: some 2 million log records, or 6 million points of metrics."""
_TABLES: Final = frozenset(("batches", "forgotten"))
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, session TEXT, kind TEXT, items INTEGER, written_ns INTEGER,
    body BLOB);
CREATE INDEX IF NOT EXISTS batches_session ON batches (session, kind, items);
CREATE TABLE IF NOT EXISTS forgotten (
    session TEXT, kind TEXT, items INTEGER, PRIMARY KEY (session, kind)) WITHOUT ROWID;
"""
_PARTS: Final = 8  # of all batches go so many at once
_LEVEL: Final = 1
_ADD: Final = "INSERT INTO batches VALUES (NULL, ?, ?, ?, ?, ?)"
_FORGET: Final = (
    "INSERT INTO forgotten SELECT session, kind, sum(items) FROM batches "
    "WHERE id <= ? GROUP BY session, kind "
    "ON CONFLICT (session, kind) DO UPDATE SET items = items + excluded.items"
)
_OLD: Final = "SELECT max(id) FROM batches WHERE written_ns < ?"
_NEW: Final = (
    "SELECT id, items FROM batches WHERE session = ? AND kind = ? AND id > ? "
    "ORDER BY id DESC"
)
_ALL: Final = "SELECT id FROM batches WHERE ? IN (session, '') AND kind = ? ORDER BY id"
_BODY: Final = "SELECT body FROM batches WHERE id = ?"
_FORGOTTEN: Final = "SELECT total(items) FROM forgotten WHERE session = ? AND kind = ?"

Kind: TypeAlias = Literal["logs", "metrics"]


class Part(NamedTuple):
    """What a request has of one resource.

    Attributes:
        resource: The message that has the resource in it.
        kind: What it has.
        items: How many records of a log, or points of metrics.
        started: When the first of them was, in nanoseconds since the Unix epoch; 0
            where that isn't told.
        body: A request of this resource alone.
    """

    resource: Any
    kind: Kind
    items: int
    started: int
    body: bytes


def parts_of(request: Any) -> Iterator[Part]:
    """The parts of a request for logs or metrics that have anything in them."""
    is_logs = isinstance(request, ExportLogsServiceRequest)
    (name,) = request.DESCRIPTOR.fields_by_name
    for resource in getattr(request, name):
        times = [*(_log_times(resource) if is_logs else _point_times(resource))]
        if times:
            own = type(request)()
            getattr(own, name).append(resource)
            started = min(filter(None, times), default=0)
            kind: Kind = "logs" if is_logs else "metrics"
            body = own.SerializeToString()
            yield Part(resource, kind, len(times), started, body)


def _log_times(resource: Any) -> Iterator[int]:
    for scope in resource.scope_logs:
        for record in scope.log_records:
            yield record.time_unix_nano or record.observed_time_unix_nano


def _point_times(resource: Any) -> Iterator[int]:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in points_of(metric):
                yield point.start_time_unix_nano or point.time_unix_nano


def points_of(metric: Any) -> Sequence[Any]:
    """The points of a metric, of whatever kind it is."""
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


class SignalStore:
    """Writes logs and metrics into the file of a folder. Safe from any thread.

    Args:
        folder: Made when it isn't there.
        account: Counts what can't be written, as ``traces``.
    """

    def __init__(self, folder: Path, account: Account) -> None:
        self._writer: Final = StoreWriter(_file(folder), _begin, account)

    def add(self, session: str, kind: Kind, items: int, body: bytes) -> None:
        """Write a batch, or let it wait.

        Args:
            session: Its id.
            kind: What it has in it.
            items: How many records of a log, or points of metrics.
            body: A request of one resource.
        """
        packed = zlib.compress(body, _LEVEL)
        values = session, kind, items, time.time_ns(), packed
        self._writer.write([Entry(items, len(packed), _ADD, values)])

    def flush(self, timeout: float) -> bool:
        """Try again what waits, at once; whether nothing waits any more."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Try a last time what waits; whether nothing was ever lost."""
        return self._writer.close(timeout)


class Read(NamedTuple):
    """What a session has of one kind.

    Attributes:
        bodies: Requests, in the order in which they came.
        last: The newest batch; what comes later is new.
        items: How many records or points came since the batch that was named.
        left_out: How many of these aren't in the bodies, as there are too many.
        forgotten: How many were deleted since the session began.
    """

    bodies: list[bytes]
    last: int
    items: int
    left_out: int
    forgotten: int


def read(folder: Path, session: str, kind: Kind, after: int, most: int) -> Read:
    """Read what is newer than the batch ``after``, the newest of it if it is too much.

    Raises:
        StoreError: It can't be read.
    """
    nothing = Read([], after, 0, 0, 0)
    if not (folder / FILE).exists():
        return nothing
    try:
        with no_fork(), closing(_file(folder).open_to_read()) as db:
            return _read(db, session, kind, after, most)
    except LookupError:  # it is only being made
        return nothing
    except (sqlite3.Error, zlib.error, TypeError) as error:
        raise StoreError(f"{folder / FILE} can't be read, {error}") from error


def bodies(folder: Path, session: str, kind: Kind) -> Iterator[bytes]:
    """The requests of a session, or of all with an empty one, as they came.

    Raises:
        StoreError: They can't be read.
    """
    if not (folder / FILE).exists():
        return
    try:
        with no_fork(), closing(_file(folder).open_to_read()) as db:
            for (batch,) in db.execute(_ALL, (session, kind)).fetchall():
                for (packed,) in db.execute(_BODY, (batch,)).fetchall():
                    yield zlib.decompress(packed)
    except LookupError:  # it is only being made
        return
    except (sqlite3.Error, zlib.error, TypeError) as error:
        raise StoreError(f"{folder / FILE} can't be read, {error}") from error


def _read(
    db: sqlite3.Connection, session: str, kind: Kind, after: int, most: int
) -> Read:
    found = db.execute(_NEW, (session, kind, after)).fetchall()
    bodies: list[bytes] = []
    held = 0
    for batch, items in found:
        held += items
        if held > most and bodies:
            held -= items
            break
        packed: Any = db.execute(_BODY, (batch,)).fetchone()
        if packed is not None:  # else it was deleted just now
            bodies.append(zlib.decompress(packed[0]))
    every = sum(items for _, items in found)
    forgotten = int(db.execute(_FORGOTTEN, (session, kind)).fetchone()[0])
    last = found[0][0] if found else after
    return Read(bodies[::-1], last, every, every - held, forgotten)


def _file(folder: Path) -> StoreFile:
    return StoreFile(folder / FILE, VERSION, _TABLES, _SCHEMA)


def _begin(db: sqlite3.Connection, *, first: bool, size: int) -> None:
    if first:
        (old,) = db.execute(_OLD, (time.time_ns() - MAX_AGE * 10**9,)).fetchone()
        _forget(db, old or 0)
    if used(db) + size <= MAX_BYTES:
        return
    while used(db) + size > MAX_BYTES:
        lowest, highest = db.execute("SELECT min(id), max(id) FROM batches").fetchone()
        if lowest is None:
            return
        _forget(db, lowest + (highest - lowest) // _PARTS)
    db.execute("PRAGMA incremental_vacuum")


def _forget(db: sqlite3.Connection, until: int) -> None:
    db.execute(_FORGET, (until,))
    db.execute("DELETE FROM batches WHERE id <= ?", (until,))
