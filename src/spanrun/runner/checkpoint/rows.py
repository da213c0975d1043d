"""Rows of `outcomes`: written many with one statement, read by place or by key.

Each statement lets a busy event loop go first, which takes up to 5 ms: so a group of
rows is one statement of many rows, in sizes of powers of two, which SQLite need not
prepare again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from spanrun.errors import CheckpointError, RemoteJobError
from spanrun.outcome import Err
from spanrun.semconv import SpanrunJobOutcome
from spanrun.text import redact, text_of, traceback_of

DEAD: Final = "dead"
"""An outcome of a job that isn't run any more."""
_LARGEST: Final = 256
_BLOCK: Final = 64
_COLUMNS: Final = "outcome, attempts, trace_id, value, digest, run"
_SET: Final = (
    "DO UPDATE SET run = excluded.run, digest = excluded.digest, "
    "outcome = excluded.outcome, attempts = excluded.attempts, "
    "trace_id = excluded.trace_id, value = excluded.value"
)

Row = tuple[
    int | None, str | int | None, int, bytes | None, str, int, bytes | None, Any
]


class Stored(NamedTuple):
    """An outcome in the file."""

    outcome: str
    attempts: int
    trace_id: int
    value: Any
    digest: bytes | None
    run: int

    @property
    def error(self) -> RemoteJobError:
        """The error of a job that failed."""
        return RemoteJobError(*json.loads(self.value))

    @property
    def ended(self) -> SpanrunJobOutcome:
        """The outcome as others name it."""
        return "timed_out" if self.outcome == "timed_out" else "failed"


def value_of(failed: Err) -> str:
    """What is kept of an error."""
    error = failed.error
    if isinstance(error, RemoteJobError):
        return json.dumps([error.type_name, error.text, error.traceback])
    stack = traceback_of(error) if error.__traceback__ is not None else ""
    return json.dumps([type(error).__qualname__, text_of(error), redact(stack)])


def sizes(count: int) -> Iterator[int]:
    """``count`` in powers of two, the largest first."""
    while count:
        size = min(_LARGEST, 1 << (count.bit_length() - 1))
        yield size
        count -= size


def insert(db: sqlite3.Connection, rows: Sequence[Row], *, by_key: bool) -> None:
    """Write ``rows``, each of an item that has none of this run.

    Raises:
        CheckpointError: Two items have one key.
    """
    begin = 0
    for size in sizes(len(rows)):
        group = rows[begin : begin + size]
        begin += size
        done = db.execute(_statement(size, by_key=by_key), tuple(chain(*group)))
        if by_key and done.rowcount != size:
            raise collision(_twice(db, group))


def mark(db: sqlite3.Connection, keys: Sequence[str | int], run: int) -> None:
    """Note that the outcomes with these ``keys`` were handed out by ``run``.

    Raises:
        CheckpointError: One of them was before.
    """
    begin = 0
    for size in sizes(len(keys)):
        group = keys[begin : begin + size]
        begin += size
        places = ", ".join("?" * size)
        text = f"UPDATE outcomes SET run = ? WHERE run < ? AND key IN ({places})"  # noqa: S608 -- of marks
        if db.execute(text, (run, run, *group)).rowcount != size:
            raise collision(max(group, key=group.count))


def collision(key: object) -> CheckpointError:
    """The error for two items that have one key."""
    return CheckpointError(
        f"Checkpoint(key=…): two items have the key {key!r}: give each one of its own"
    )


def _twice(db: sqlite3.Connection, group: Sequence[Row]) -> object:
    seen: set[object] = set()
    for row in group:
        key = row[1]
        found = db.execute("SELECT attempts, value FROM outcomes WHERE key = ?", (key,))
        if key in seen or found.fetchone() != (row[5], row[7]):
            return key
        seen.add(key)
    return group[0][1]


def _statement(size: int, *, by_key: bool) -> str:
    text = _statements.get((size, by_key))
    if text is None:
        values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * size)
        conflict = "ON CONFLICT (id)"
        then = ""
        if by_key:
            conflict, then = "ON CONFLICT (key)", " WHERE outcomes.run < excluded.run"
        text = f"INSERT INTO outcomes VALUES {values} {conflict} {_SET}{then}"  # noqa: S608 -- of marks
        _statements[size, by_key] = text
    return text


_statements: Final[dict[tuple[int, bool], str]] = {}


class ByPlace:
    """Reads the rows of places that are asked for in order, in blocks."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db
        (last,) = db.execute("SELECT max(id) FROM outcomes").fetchone()
        self._end: Final = -1 if last is None else last
        self._block: dict[int, Stored] = {}
        self._read_until = 0

    def find(self, place: int) -> Stored | None:
        """The outcome at ``place``."""
        if place > self._end:
            return None
        if place >= self._read_until:
            self._read_until = place + _BLOCK
            text = f"SELECT id, {_COLUMNS} FROM outcomes WHERE id >= ? AND id < ?"  # noqa: S608 -- constant
            found = self._db.execute(text, (place, self._read_until))
            self._block = {number: _stored(*row) for number, *row in found}
        return self._block.pop(place, None)


class ByKey:
    """Reads the row of a key."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db

    def find(self, key: str | int) -> Stored | None:
        """The outcome of the item with that ``key``."""
        text = f"SELECT {_COLUMNS} FROM outcomes WHERE key = ?"  # noqa: S608 -- constant
        row = self._db.execute(text, (key,)).fetchone()
        return None if row is None else _stored(*row)


def _stored(outcome: str, attempts: int, trace: bytes | None, *rest: Any) -> Stored:
    trace_id = 0 if trace is None else int.from_bytes(trace)
    return Stored(outcome, attempts, trace_id, *rest)
