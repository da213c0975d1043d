"""`CheckpointFile`: the database of a checkpoint, opened by the run that owns it.

An application's id in its header makes the file ours, ``user_version`` says which
format it has. ``outcomes`` has a row for each item with an outcome: by its place or,
where items have keys, by its key. ``runs`` has one for each time that the file was
opened; one that has no end died, and what it had in flight is suspected.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanrun.errors import CheckpointError
from spanrun.runner.checkpoint.owner import Owner
from spanrun.telemetry.forks import no_fork, tell_after_fork

VERSION: Final = 1
APPLICATION: Final = int.from_bytes(b"spck")
_MAGIC: Final = b"SQLite format 3\0"
_BUSY: Final = 5.0
"""Seconds for another program that reads or copies the file; the run's own is alone."""
_SYNCHRONOUS: Final = {"process": "NORMAL", "power": "FULL"}

_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY, key, run INTEGER, digest BLOB, outcome TEXT,
    attempts INTEGER, trace_id BLOB, value);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run TEXT, trace_id TEXT, span_id TEXT, started_ns INTEGER,
    ended_ns INTEGER, pid INTEGER, host TEXT, in_flight TEXT, alone INTEGER);
CREATE TABLE suspects (item PRIMARY KEY, crashes INTEGER, alone INTEGER) WITHOUT ROWID
"""
_BY_KEY: Final = "CREATE UNIQUE INDEX outcomes_key ON outcomes (key)"
_OPENED: Final = "INSERT INTO runs VALUES (NULL, '', '', '', ?, NULL, ?, ?, '[]', 0)"


@dataclass(slots=True)
class Suspect:
    """An item that was in flight when the process died.

    Attributes:
        crashes: How often that was since only suspects like it were in flight.
        alone: How often it was alone.
    """

    crashes: int
    alone: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run that used the file before.

    Attributes:
        run: Its id.
        trace_id: Of its span, in hexadecimal digits; empty without one.
        span_id: The same.
    """

    run: str
    trace_id: str
    span_id: str


class CheckpointFile:
    """Opened by `open`, for one run; all else is to be used in between.

    Attributes:
        path: Where it is.
        db: What is written by, in one thread.
        reader: What is read by, in another, which holds ``reading`` meanwhile.
        reading: `close` waits for it: SQLite is not to lose a connection that is used.
        run: The number of this run in the file.
        earlier: The run before; None where there was none.
        crashed: The process died that had it before.
        stored: How many outcomes were there.
        succeeded: How many of them are results.
        suspects: By what they are known by.
    """

    db: sqlite3.Connection
    reader: sqlite3.Connection

    def __init__(self, path: Path, durability: str) -> None:
        self.path: Final = path
        self._durability: Final = durability
        self._owner: Final = Owner(path)
        self._open: list[sqlite3.Connection] = []
        self._of_parents: Final[list[sqlite3.Connection]] = []
        self.reading: Final = threading.Lock()
        self.run = 0
        self.earlier: Earlier | None = None
        self.crashed = False
        self.stored = self.succeeded = 0
        self.suspects: dict[str | int, Suspect] = {}

    def open(
        self, about: Mapping[str, str], compare: Callable[[Mapping[str, str]], None]
    ) -> None:
        """Open it, or make it; what is kept about it goes to ``compare`` before.

        Raises:
            CheckpointError: It can't be used.
        """
        with explained(self.path), no_fork():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._owner.take()
            try:
                _look(self.path)
                self.db = self._connect()
                compare(self._prepare(about))
                self.reader = self._connect()
                self.reader.execute("PRAGMA query_only = ON")
                self._begin()
            except BaseException:
                self.close()
                raise
        tell_after_fork(self)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        self._open.append(db)
        return db

    def _prepare(self, about: Mapping[str, str]) -> dict[str, str]:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        version = format_of(db, self.path)
        if version == 0:
            by_key = [_BY_KEY] if about["by"] == "key" else []
            for statement in (*_TABLES.split(";"), *by_key):
                db.execute(statement)
            db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        kept = dict(db.execute("SELECT name, value FROM about"))
        db.execute("COMMIT")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise CheckpointError(
                f"{self.path} can't be written safely, as its file system shares no "
                "memory between programs: name a checkpoint on a local disk",
                reason="disk",
            )
        return {} if version == 0 else kept

    def _begin(self) -> None:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        last = db.execute(
            "SELECT in_flight, alone FROM runs WHERE ended_ns IS NULL "
            "AND id = (SELECT max(id) FROM runs)"
        ).fetchone()
        if last is not None:
            self.crashed = True
            self._suspect(json.loads(last[0]), alone=bool(last[1]))
        begun = db.execute(
            "SELECT run, trace_id, span_id FROM runs WHERE run != '' "
            "ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if begun is not None:
            self.earlier = Earlier(*begun)
        host = socket.gethostname()
        opened = db.execute(_OPENED, (time.time_ns(), os.getpid(), host))
        self.run = opened.lastrowid or 0
        self.suspects = {
            item: Suspect(crashes, alone)
            for item, crashes, alone in db.execute("SELECT * FROM suspects")
        }
        self.stored, self.succeeded = db.execute(
            "SELECT count(*), coalesce(sum(outcome = 'ok'), 0) FROM outcomes"
        ).fetchone()
        db.execute("COMMIT")

    def _suspect(self, items: Sequence[str | int], *, alone: bool) -> None:
        """Suspect what was in flight; ``alone`` if it was, as suspects before."""
        self.db.executemany(
            "INSERT INTO suspects VALUES (?, ?, ?) ON CONFLICT (item) DO UPDATE SET "
            "crashes = crashes + excluded.crashes, alone = alone + excluded.alone",
            [(item, int(alone), int(alone and len(items) == 1)) for item in items],
        )

    def finish(self) -> None:
        """Note that the run has ended, and close the file."""
        with no_fork():
            self.db.execute(
                "UPDATE runs SET ended_ns = ?, in_flight = '[]', alone = 0 "
                "WHERE id = ?",
                (time.time_ns(), self.run),
            )

    def close(self) -> None:
        """Close it, and leave it to others."""
        with no_fork(), self.reading:
            while self._open:
                with suppress(sqlite3.Error):
                    self._open.pop(0).close()
            self._owner.release()

    def after_fork(self) -> None:
        """In a child: the connections are the parent's. What is freed is closed."""
        self._of_parents.extend(self._open)
        self._open.clear()


def read_about(path: Path) -> dict[str, str]:
    """What is kept about the checkpoint at ``path``, without having it.

    Raises:
        CheckpointError: It isn't there, or is none.
    """
    with explained(path):
        if not path.exists():
            raise CheckpointError(
                f"{path} isn't there: name the checkpoint of a run", reason="mismatch"
            )
        _look(path)
        with no_fork(), closing(sqlite3.connect(path, timeout=_BUSY)) as db:
            if format_of(db, path) == 0:
                return {}
            return dict(db.execute("SELECT name, value FROM about"))


def _look(path: Path) -> None:
    """Refuse what is no database before SQLite may change it."""
    if not path.exists():
        return
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: name another one", reason="disk")
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise CheckpointError(
            f"{path} is no checkpoint: name another file", reason="mismatch"
        )


def format_of(db: sqlite3.Connection, path: Path) -> int:
    """The version of the format that ``db`` has; 0 where it is empty.

    Raises:
        CheckpointError: It is another program's, or of a spanrun that isn't this one.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application and not version and not tables:
        return 0
    if application != APPLICATION:
        raise CheckpointError(
            f"{path} is another program's database: name another file",
            reason="mismatch",
        )
    if version != VERSION:
        raise CheckpointError(
            f"{path} has format {version}, and this spanrun writes format {VERSION}: "
            "use the spanrun that made it, or begin a new checkpoint",
            reason="mismatch",
        )
    return int(version)


class explained:  # noqa: N801 -- used as a function
    """Turns errors of the disk and of SQLite into a `CheckpointError` for ``path``."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError | sqlite3.Error):
            raise fault(self._path, error) from error


def fault(path: Path, error: Exception) -> CheckpointError:
    """The error for the one that the disk or SQLite gave."""
    if isinstance(error, OSError):
        return CheckpointError(
            f"{path} can't be read or written, {error.strerror}: check its rights and "
            "the disk's free room",
            reason="disk",
        )
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )
    if damaged:
        return CheckpointError(
            f"{path} is damaged, or its disk can't be read, {error}: run it again, and "
            "begin a new one only when that says the same",
            reason="disk",
        )
    return CheckpointError(
        f"{path} can't be read or written, {error}: check its rights, the disk's free "
        "room, and that no other program has it locked",
        reason="disk",
    )
