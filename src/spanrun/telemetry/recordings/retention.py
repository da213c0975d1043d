"""What the local store forgets: by sessions, by age, and by the bytes of its file.

At the beginning of a process old sessions go, whole. While it runs the file may grow:
beyond its bytes the oldest go first, other sessions before this one, and then this
session's oldest batches. How many jobs, spans and events went so is kept with the
session.
"""

from __future__ import annotations

import sqlite3
from typing import Final

MAX_SESSIONS: Final = 50
MAX_AGE: Final = 30 * 24 * 3600
"""Seconds since anything was written of a session."""
MAX_BYTES: Final = 512 * 1024 * 1024
"""Of the file: some 5 million jobs with three spans each."""
_PARTS: Final = 8  # of a session's batches go so many at once
_PARTS_OF: Final = (("batches", "spans"), ("jobs", "jobs"), ("events", "events"))
"""Of a session what goes first, as long as there is any, and what is counted."""

_OLD: Final = (
    "SELECT id FROM sessions WHERE written_ns < ? UNION SELECT id FROM ("
    "SELECT id FROM sessions ORDER BY written_ns DESC, rowid DESC LIMIT -1 OFFSET ?)"
)
_OLDEST: Final = (
    "SELECT id FROM sessions WHERE id != ? ORDER BY written_ns, rowid LIMIT 1"
)


def forget_sessions(db: sqlite3.Connection, now_ns: int) -> None:
    """Delete sessions that are too many, with the one that begins, or too old."""
    before = now_ns - MAX_AGE * 10**9
    for (session,) in db.execute(_OLD, (before, MAX_SESSIONS - 1)).fetchall():
        _forget(db, session)


def make_room(db: sqlite3.Connection, session: str, size: int) -> None:
    """Delete the oldest, so that ``size`` bytes more find room in the file."""
    if used(db) + size <= MAX_BYTES:
        return
    while used(db) + size > MAX_BYTES:
        oldest = db.execute(_OLDEST, (session,)).fetchone()
        if oldest is not None:
            _forget(db, oldest[0])
        elif not any(_forget_part(db, session, *part) for part in _PARTS_OF):
            return
    db.execute("PRAGMA incremental_vacuum")


def used(db: sqlite3.Connection) -> int:
    """Bytes of the file that something is in."""
    pages, free, size = (
        db.execute(f"PRAGMA {what}").fetchone()[0]
        for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _forget(db: sqlite3.Connection, session: str) -> None:
    for table in ("batches", "scopes", "jobs", "events", "runs"):
        db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))  # noqa: S608 -- ours
    db.execute("DELETE FROM sessions WHERE id = ?", (session,))


def _forget_part(db: sqlite3.Connection, session: str, table: str, items: str) -> bool:
    """Delete the oldest of a session's batches; whether there were any."""
    first, last, rows = db.execute(
        f"SELECT min(id), max(id), count(*) FROM {table} WHERE session = ?",  # noqa: S608 -- ours
        (session,),
    ).fetchone()
    if not rows:
        return False
    until = first + (last - first) // _PARTS
    (gone,) = db.execute(
        f"SELECT total({items}) FROM {table} WHERE session = ? AND id <= ?",  # noqa: S608 -- ours
        (session, until),
    ).fetchone()
    db.execute(
        f"DELETE FROM {table} WHERE session = ? AND id <= ?",  # noqa: S608 -- ours
        (session, until),
    )
    db.execute(
        "UPDATE sessions SET forgotten = forgotten + ? WHERE id = ?",
        (int(gone), session),
    )
    return True
