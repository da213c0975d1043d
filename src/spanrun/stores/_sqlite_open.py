"""Opening a store's file: the extension, the settings, the schema, the errors."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, cast

from spanrun.causes import causes
from spanrun.descriptors import available, exhausted, patiently
from spanrun.errors import ConfigurationError, StoreError
from spanrun.extras import load
from spanrun.filenames import unicode_name

Value: TypeAlias = str | bytes | int | float | None


class Cursor(Protocol):
    """What is used of apsw's cursor."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, if there is one."""
        ...

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows."""
        ...


class Database(Protocol):
    """What is used of apsw's connection, whose own types strict pyright refuses."""

    @property
    def in_transaction(self) -> bool:
        """Whether one was begun and not ended."""
        ...

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> Cursor:
        """Run statements."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Value]], /) -> Cursor:
        """Run one statement for each row."""
        ...

    def last_insert_rowid(self) -> int:
        """Of the newest row."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


SCHEMA = 1
APPLICATION = 0x7370616E  # "span": tells our files from other SQLite databases
BUSY = 10.0  # seconds to wait for another process's transaction

# The words' table keeps no copy of the text ("contentless").
_TABLES = """
create table meta(key text primary key, value) without rowid;
create table documents(
    rowid integer primary key,
    id text not null unique,
    content_hash text not null,
    source text not null,
    title text,
    summary text
);
create table chunks(
    rowid integer primary key,
    document integer not null references documents(rowid),
    position integer not null,
    text text not null,
    unique(document, position)
);
create virtual table vectors using vec0(
    embedding float[{dimension}] distance_metric=cosine
);
create virtual table words using fts5(
    title, text,
    content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2'
);
"""


def connect(path: Path, dimension: int, model: str) -> Database:
    """Open the store, or create it where there is none.

    Raises:
        ConfigurationError: The path holds something else, a store of another
            model or dimension or of a newer spanrun; or the extra isn't installed.
        StoreError: The system doesn't let us.
    """
    return patiently(
        lambda: _opened(path, dimension, model), BUSY, lacking=_no_descriptor
    )


def _opened(path: Path, dimension: int, model: str) -> Database:
    apsw, sqlite_vec = _libraries()
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(_name(path))
        try:
            connection.set_busy_timeout(int(BUSY * 1000))
            connection.enable_load_extension(True)  # noqa: FBT003 -- apsw's signature
            connection.load_extension(sqlite_vec.loadable_path())
            connection.enable_load_extension(False)  # noqa: FBT003
            database = cast("Database", connection)
            _prepare(database, path, dimension, model)
        except BaseException:
            connection.close()
            raise
    return database


class StoredAs(NamedTuple):
    """What made the vectors of a store, and how many numbers each one has."""

    model: str
    dimension: int


def stored_as(path: Path) -> StoredAs | None:
    """What the store at ``path`` was made with; None where there is none yet.

    Raises:
        ConfigurationError: The path holds something else, or the extra ``ingest``
            isn't installed.
        StoreError: The system doesn't let us.
    """
    return patiently(lambda: _stored_as(path), BUSY, lacking=_no_descriptor)


def _stored_as(path: Path) -> StoredAs | None:
    apsw, _ = _libraries()
    with translated(path):
        if not path.exists():
            return None
        connection = apsw.Connection(_name(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(int(BUSY * 1000))
            database = cast("Database", connection)
            if not _is_ours(database, path):
                return None
            meta = _meta(database)
            return StoredAs(meta["model"], meta["dimension"])
        finally:
            connection.close()


def _name(path: Path) -> str:
    """The file's name as SQLite takes it: UTF-8, whatever the locale."""
    name = unicode_name(str(path))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{str(path)!a}: SQLite wants UTF-8 in names of files and folders: "
            "name another file"
        ) from None
    return name


def _no_descriptor(error: Exception) -> bool:
    """Whether a file couldn't be opened since the process has no descriptor left."""
    apsw, _ = _libraries()
    unopened = (apsw.CantOpenError, apsw.ExtensionLoadingError)
    if any(isinstance(each, unopened) for each in causes(error)):
        return not available()
    return exhausted(error)


def _libraries() -> tuple[Any, Any]:
    return load("SqliteStore", "apsw"), load("SqliteStore", "sqlite_vec")


def _prepare(database: Database, path: Path, dimension: int, model: str) -> None:
    is_new = not _is_ours(database, path)  # before anything is changed in the file
    _use_wal(database)
    database.execute("pragma synchronous = normal")
    if is_new:
        with transaction(database):
            if not _is_ours(database, path):  # another process may have been faster
                _create(database, dimension, model)
    _check(database, path, dimension, model)


def _create(database: Database, dimension: int, model: str) -> None:
    database.execute(_TABLES.format(dimension=dimension))
    database.execute(f"pragma application_id = {APPLICATION}")
    meta: list[tuple[str, Value]] = [
        ("schema", SCHEMA),
        ("model", model),
        ("dimension", dimension),
    ]
    database.executemany("insert into meta values(?, ?)", meta)


def _is_ours(database: Database, path: Path) -> bool:
    """Whether it is a store already; False for a new file."""
    (application,) = database.execute("pragma application_id").fetchall()[0]
    if application == APPLICATION:
        return True
    if application or database.execute("pragma schema_version").fetchall()[0][0]:
        raise ConfigurationError(
            f"{path} is an SQLite database of another program: move it "
            "away, or name another one"
        )
    return False


def _use_wal(database: Database) -> None:
    """Readers and one writer at a time, from any number of processes."""
    apsw, _ = _libraries()
    deadline = time.monotonic() + BUSY
    while True:
        try:  # SQLite doesn't use the busy timeout for this change
            database.execute("pragma journal_mode = wal").fetchall()
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _check(database: Database, path: Path, dimension: int, model: str) -> None:
    meta = _meta(database)
    if meta["schema"] != SCHEMA:
        raise ConfigurationError(
            f"{path} has schema {meta['schema']}, this spanrun knows {SCHEMA}: "
            "upgrade spanrun, or name another file"
        )
    if (meta["model"], meta["dimension"]) != (model, dimension):
        raise ConfigurationError(
            f"{path} holds vectors of {meta['model']!r} with {meta['dimension']} "
            f"dimensions, not of {model!r} with {dimension}: use that model, or "
            "name another file and ingest anew"
        )


def _meta(database: Database) -> dict[str, Any]:
    return dict(database.execute("select key, value from meta").fetchall())


@contextmanager
def transaction(database: Database) -> Generator[None]:
    """All of the block's changes, or none of them."""
    database.execute("begin immediate")
    try:
        yield
        database.execute("commit")
    except BaseException:
        if database.in_transaction:  # on a full disk SQLite may have done it
            database.execute("rollback")
        raise


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Raise what SQLite and the system report as ours, with what to do."""
    apsw, _ = _libraries()
    try:
        yield
    except apsw.NotADBError as error:
        raise ConfigurationError(
            f"{path} is no SQLite database: move it away, or name another one"
        ) from error
    except apsw.ExtensionLoadingError as error:
        raise ConfigurationError(
            f"sqlite-vec can't be loaded ({error}): "
            "pip install --force-reinstall sqlite-vec"
        ) from error
    except apsw.Error as error:
        kind = type(error).__name__.removesuffix("Error")
        advice = _ADVICE.get(kind, "nothing was changed")
        raise StoreError(f"{path}: {error}: {advice}") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StoreError(f"{path}: {why}: {_ADVICE['CantOpen']}") from error


_ADVICE = {
    "Busy": f"another process has been writing for {BUSY:g} s: try again",
    "CantOpen": "check that the folder exists and may be written to",
    "Corrupt": (
        "try again; if that is of no use, the file is damaged: "
        "delete it and ingest again"
    ),
    "Full": "make room on the disk and run again; what was stored is intact",
    "IO": "check the disk; what was stored is intact",
    "Permissions": "check that the folder exists and may be written to",
    "ReadOnly": "check that the file and its folder may be written to",
}
