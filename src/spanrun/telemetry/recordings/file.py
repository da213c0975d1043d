"""`StoreFile`: the database of the local store, whatever stands in its place.

It knows what makes the file ours, and which format; what is in the tables is
`spanrun.telemetry.recordings.schema`'s business.

=========================================  ==========================================
in its place there is                      then the writer
=========================================  ==========================================
nothing, or a database without tables      makes the tables
ours, of this format                       adds to it
ours, of another format, or damaged        moves it aside, and makes a new one
another program's, no database, no file    leaves it alone: `Unusable`
=========================================  ==========================================

Whatever may pass, such as a lock or a full disk, is an `OSError` or a
`sqlite3.Error`, and the next transaction begins from the start.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections import deque
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from spanrun.errors import StoreError
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.recordings.errors import Unusable, is_damage

try:
    import fcntl
except ImportError:  # Windows: an open file can't be renamed there
    fcntl = None  # type: ignore[assignment]

BUSY: Final = 0.25
"""Seconds that one transaction waits for another process; a fork waits as long."""
_PATIENCE: Final = 5.0
_POLL: Final = 0.005
_APPLICATION: Final = int.from_bytes(b"span")
"""In the header of each file that we make. The tables of another format may differ."""
_SESSIONS: Final = frozenset(("id", "started_ns", "pid", "command"))
"""Columns by which a file is known that was made before it was marked."""
_BESIDE: Final = ("-wal", "-shm", "-journal")
_DRIVER: Final = ""  # SQLite's own choice of how files are locked and shared


class StoreFile:
    """One database file, opened anew for each transaction.

    So nothing is held between two of them: another process may write, the file may
    be moved or deleted, and a fork finds no connection.

    Args:
        path: Where it is. Its folder is made when it isn't there.
        version: Of the format, in the file's ``user_version``.
        tables: Their names.
        schema: Makes those of them that aren't there.

    Attributes:
        news: What somebody should be told of the file, once no lock is held.
    """

    def __init__(
        self, path: Path, version: int, tables: frozenset[str], schema: str
    ) -> None:
        self.path: Final = path
        self.news: Final[deque[str]] = deque()
        self._version: Final = version
        self._tables: Final = tables
        self._schema: Final = schema
        self._real: Final = _absolute(path)
        self._found: os.stat_result | None = None
        self._was_made = False
        self._has_moved = False

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """What is done inside is committed on leaving, or none of it is.

        Raises:
            Unusable: The file must be left alone.
            OSError: It can't be reached or written.
            sqlite3.Error: The same, or another process is at it.
        """
        with no_fork():
            self._real.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as db:
                db.execute("BEGIN IMMEDIATE")
                self._expect_found()
                yield db
                db.execute("COMMIT")
                self._expect_kept()
            self._was_made = True

    def open_to_read(self) -> sqlite3.Connection:
        """A connection to read it by. It may be in use.

        Raises:
            LookupError: Nothing was ever kept there.
            StoreError: It can't be read, and what to do about that.
        """
        to_do = "name another folder with --store"
        try:
            found = self._real.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{self.path} is no file: {to_do}")
            with self._opening(_PATIENCE), ExitStack() as stack:
                db = stack.enter_context(closing(self._connect("rw", _PATIENCE)))
                db.execute("PRAGMA query_only = ON")
                version = self._format(db)
                if version not in (0, self._version):
                    raise StoreError(
                        f"{self.path} has format {version}, and this spanrun reads "
                        f"format {self._version}: use the spanrun that wrote it, or "
                        f"{to_do}"
                    )
                if version == 0:
                    raise LookupError(f"{self.path} is empty: run something first")
                stack.pop_all()  # it stays open
                return db
        except FileNotFoundError as error:
            what = f"{self.path} isn't there: run something first, or name --store"
            raise LookupError(what) from error
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path} can't be read, {error}: {to_do}") from error
        except Unusable as error:
            raise StoreError(f"{self.path} {error}: {to_do}") from error

    def replace_damaged(self) -> None:
        """Move the file aside, which is ours and damaged.

        Raises:
            Unusable: One was moved before.
        """
        with no_fork(), self._opening():
            self._move_aside("damaged", "is damaged")

    def _open(self) -> sqlite3.Connection:
        """A connection to a file of ours, of this format, which has all tables."""
        while True:
            with self._opening(), ExitStack() as stack:
                self._found = self._look()
                db = stack.enter_context(closing(self._connect("rwc", BUSY)))
                version = self._format(db)
                if version in (0, self._version):
                    if version == 0 or self._names(db) != self._tables:
                        self._make(db, version)
                    db.execute("PRAGMA synchronous = NORMAL")
                    stack.pop_all()  # it stays open
                    return db
            what = f"has format {version}, and this spanrun writes {self._version}"
            with self._opening():
                self._move_aside(f"format-{version}", what)

    @contextmanager
    def _opening(self, patience: float = 0.0) -> Generator[None]:
        """Nobody else opens the file meanwhile, or moves it.

        SQLite finds a file's log by the file's name: who has opened one that is moved
        just then would take the log of the next one of that name for its own.

        Raises:
            BlockingIOError: Another process does, for too long.
        """
        # A lock on the folder, which leaves nothing behind and lasts as long as we do.
        flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)
        lock = -1
        if fcntl is not None:
            with suppress(OSError):  # who can't open it can't move anything either
                lock = os.open(self._real.parent, flags)
        try:
            until = time.monotonic() + (patience or BUSY)
            while lock >= 0 and not _acquired(lock):
                if time.monotonic() > until:
                    raise BlockingIOError(errno.EAGAIN, "is in use", str(self.path))
                time.sleep(_POLL)  # `flock` waits for ever, or not at all
            yield
        finally:
            if lock >= 0:
                os.close(lock)

    def _connect(self, mode: str, timeout: float) -> sqlite3.Connection:
        address = f"{self._real.as_uri()}?mode={mode}{_DRIVER}"
        return sqlite3.connect(address, timeout, isolation_level=None, uri=True)

    def _look(self) -> os.stat_result | None:
        """What is there now; None when nothing is.

        Raises:
            Unusable: It is no file, and not to be opened: that may wait for ever.
        """
        try:
            found = os.lstat(self._real)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(found.st_mode):
            raise Unusable("is a link, which isn't followed")
        if not stat.S_ISREG(found.st_mode):
            raise Unusable("is no file")
        return found

    def _is_found(self) -> bool:
        """Whether the file that was found has its name still."""
        found = self._found
        return found is None or os.path.samestat(found, os.lstat(self._real))

    def _expect_found(self) -> None:
        """Raise if another file has the name by now: nobody would see this one."""
        if not self._is_found():
            raise FileNotFoundError(errno.ENOENT, "was replaced", str(self.path))

    def _expect_kept(self) -> None:
        """The same after a commit: what nobody would see may be written once more."""
        try:
            self._expect_found()
        except FileNotFoundError:
            raise
        except OSError:  # nobody can tell, and it mustn't be there twice
            return

    def _format(self, db: sqlite3.Connection) -> int:
        """The number of its format; 0 where there is no table yet.

        Raises:
            Unusable: It isn't ours.
        """
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (mark,) = db.execute("PRAGMA application_id").fetchone()
            names = self._names(db)
            columns = {row[1] for row in db.execute("PRAGMA table_info(sessions)")}
        except sqlite3.DatabaseError as error:
            if is_damage(error):  # and nobody can tell any more whose it was
                raise Unusable(f"can't be used: {error}") from error
            raise
        others = names - self._tables
        if version not in (0, self._version):
            others = frozenset[str]()
        is_ours = not names or mark == _APPLICATION or columns >= _SESSIONS
        if others or not is_ours:
            raise Unusable(
                "belongs to another program "
                f"(it has {min(others or names)!r} in it), and is left alone"
            )
        return int(version)

    def _names(self, db: sqlite3.Connection) -> frozenset[str]:
        """The tables, but for what SQLite keeps for itself."""
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return frozenset(name for (name,) in names if not name.startswith("sqlite_"))

    def _make(self, db: sqlite3.Connection, version: int) -> None:
        if self._was_made and version == 0:
            self.news.append(
                "was removed while it was in use, with all that was in it; a new one "
                "is begun"
            )
        # So that pages which nothing is in any more can be given back. An empty file
        # alone takes it.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # Not every file system can do that. Then it works as well, if slower.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        db.executescript(
            f"BEGIN IMMEDIATE; {self._schema} "
            f"PRAGMA application_id = {_APPLICATION}; "
            f"PRAGMA user_version = {self._version}; COMMIT;"
        )

    def _move_aside(self, label: str, what: str) -> None:
        """Give the file another name, unless another process was faster.

        Once at most: two programs of different age that run at the same time would
        do so to each other without end.

        Raises:
            Unusable: One was moved before.
        """
        if self._has_moved:
            raise Unusable(f"{what}, as another program made it just now")
        with closing(self._connect("rw", BUSY)) as db:
            if not self._is_found():
                return
            # All of it in the one file, and alone with it: a connection that ends
            # would else delete the log of the next one, which has the same name.
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("BEGIN EXCLUSIVE")
            if db.execute("PRAGMA journal_mode").fetchone() != ("delete",):
                raise BlockingIOError(errno.EAGAIN, "is in use", str(self.path))
            if not self._is_found():
                return
            name = self._free_name(label)
            for suffix in _BESIDE:
                with suppress(FileNotFoundError):
                    Path(f"{self._real}{suffix}").rename(f"{name}{suffix}")
            self._real.rename(name)
            self._has_moved, self._was_made = True, False
            db.execute("ROLLBACK")
        self.news.append(f"{what}: it was moved to {name.name}, and a new one is begun")

    def _free_name(self, label: str) -> Path:
        """Nobody else makes it meanwhile: only who is alone with the file renames."""
        stem = f"{self._real.name}.{label}.{time.strftime('%Y-%m-%d')}"
        name, number = self._real.with_name(stem), 1
        while os.path.lexists(name):
            number += 1
            name = self._real.with_name(f"{stem}.{number}")
        return name


def _acquired(lock: int) -> bool:
    assert fcntl is not None  # noqa: S101 -- there is a lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)  # no locks there at all
    return True


def _absolute(path: Path) -> Path:
    """Where it is, also after the program has changed its working directory."""
    try:
        return path.absolute()
    except OSError:  # there is none
        return path
