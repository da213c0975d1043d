"""What an error of the local store's file means: wait, begin a new one, or leave it."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Unusable(Exception):  # noqa: N818 -- what the file is
    """Something stands there that must be left alone: there is no use in waiting."""


def is_of_file(error: Exception) -> bool:
    """Whether ``error`` befalls the whole file, not the row that was written."""
    if isinstance(error, OSError | sqlite3.OperationalError):
        return True
    return isinstance(error, sqlite3.DatabaseError) and is_damage(error)


def is_damage(error: Exception) -> bool:
    """Whether ``error`` says that the file is no database any more."""
    return _code(error) in _DAMAGED


def seems_damage(error: Exception) -> bool:
    """Whether ``error`` says so, or may: SQLite also says it where a reading failed."""
    cause = error.__cause__
    return is_damage(error) or (isinstance(cause, Exception) and is_damage(cause))


def is_full(error: Exception) -> bool:
    """Whether ``error`` says that the disk has no room."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or _code(error) == sqlite3.SQLITE_FULL


def is_passing(error: Exception) -> bool:
    """Whether ``error`` says that another process is just at it."""
    locked = _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return locked or isinstance(error, FileNotFoundError | BlockingIOError)


def _code(error: Exception) -> int | None:
    """SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
