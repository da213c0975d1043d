"""What is in the file of the local store: its tables, and their version."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from spanrun.telemetry.recordings.file import StoreFile

FILE: Final = "telemetry.db"
VERSION: Final = 3
TABLES: Final = frozenset(("sessions", "runs", "jobs", "scopes", "batches", "events"))
# What is short comes first: SQLite reads a row from its beginning, as far as it must.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, started_ns INTEGER, pid INTEGER, command TEXT,
    written_ns INTEGER, forgotten INTEGER);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, session TEXT, runner TEXT, total INTEGER, trace_id TEXT,
    started_ns INTEGER, ended_ns INTEGER, calls INTEGER, source_wait REAL,
    consumer_wait REAL, events_left_out INTEGER, policies TEXT);
CREATE INDEX IF NOT EXISTS runs_session ON runs (session);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, session TEXT, runs TEXT, jobs INTEGER, failed INTEGER,
    traces BLOB, texts BLOB, rows BLOB);
CREATE INDEX IF NOT EXISTS jobs_session ON jobs (session);
CREATE TABLE IF NOT EXISTS scopes (
    session TEXT, id INTEGER, about BLOB, PRIMARY KEY (session, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, session TEXT, scope INTEGER, start_ns INTEGER,
    end_ns INTEGER, spans INTEGER, failed INTEGER,
    traces BLOB, heads BLOB, ids BLOB, bodies BLOB);
CREATE INDEX IF NOT EXISTS batches_session ON batches (session);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, session TEXT, runs TEXT, events INTEGER, rows BLOB);
CREATE INDEX IF NOT EXISTS events_session ON events (session);
"""


def store_file(path: Path) -> StoreFile:
    """The file in which a `LocalStore` keeps what it hears of."""
    return StoreFile(path, VERSION, TABLES, _SCHEMA)
