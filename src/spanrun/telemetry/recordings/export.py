"""What was recorded, in the forms of other programs: OTLP, CSV, Parquet, SQLite."""

from __future__ import annotations

import csv
import importlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from spanrun.errors import ConfigurationError
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.otlp_file import line_of
from spanrun.telemetry.recordings.read import Recording
from spanrun.telemetry.recordings.records import (
    Job,
    LogRecord,
    Run,
    Session,
    Span,
)

_AT_ONCE: Final = 10_000


class Column(NamedTuple):
    """Its name, and its type as in SQL."""

    name: str
    type: str


class Table(NamedTuple):
    """What a table has, and how its rows are made."""

    columns: Sequence[Column]
    rows: Callable[[Recording, str], Iterator[Sequence[Any]]]


def _sessions(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    for each in recording.sessions():
        if session in ("", each.id):
            yield _fields(each, Session)


def _runs(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    return (_fields(run, Run) for run in recording.runs(session))


def _jobs(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    runners = {run.id: run.runner for run in recording.runs(session)}
    for job in recording.jobs(session):
        yield (runners.get(job.run, ""), *job)


def _events(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    runners = {run.id: run.runner for run in recording.runs(session)}
    for event in recording.events(session):
        time_ns, kind, run, index, value, stack = event
        runner = runners.get(run) if run else None
        yield time_ns, kind, runner, run, index, _json(value), stack


def _spans(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    for span in recording.spans(session):
        *plain, attributes, events, links, scope = _fields(span, Span)
        yield (
            *plain,
            span.duration,
            scope,
            _json(attributes),
            _json([[e.time_ns, e.name, dict(e.attributes)] for e in events]),
            _json([[link.trace_id, link.span_id] for link in links]),
        )


def _logs(recording: Recording, session: str) -> Iterator[Sequence[Any]]:
    for record in recording.logs(session):
        *plain, body, trace, span, attributes, logger = _fields(record, LogRecord)
        told = body if isinstance(body, str) else _json(body)
        yield *plain, told, trace, span, logger, _json(attributes)


def _fields(record: object, kind: type[Session | Run | Span | LogRecord]) -> list[Any]:
    return [getattr(record, name) for name in kind.__slots__]


def _json(value: Any) -> str:
    return json.dumps(
        dict(value) if hasattr(value, "keys") else value, default=_as_text
    )


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _columns(names: str, **types: str) -> list[Column]:
    return [Column(name, types.get(name, "TEXT")) for name in names.split()]


TABLES: Final = {
    "sessions": Table(
        _columns(
            "id started_ns written_ns pid command forgotten",
            started_ns="INTEGER",
            written_ns="INTEGER",
            pid="INTEGER",
            forgotten="INTEGER",
        ),
        _sessions,
    ),
    "runs": Table(
        _columns(
            "id session runner total trace_id started_ns ended_ns calls source_wait "
            "consumer_wait events_left_out policies",
            total="INTEGER",
            started_ns="INTEGER",
            ended_ns="INTEGER",
            calls="INTEGER",
            source_wait="REAL",
            consumer_wait="REAL",
            events_left_out="INTEGER",
        ),
        _runs,
    ),
    "jobs": Table(
        [
            Column("runner", "TEXT"),
            *_columns(
                " ".join(Job._fields),
                index="INTEGER",
                attempts="INTEGER",
                **dict.fromkeys(
                    ("submitted", "duration", *SPANRUN_JOB_PHASE_VALUES), "REAL"
                ),
            ),
        ],
        _jobs,
    ),
    "events": Table(
        _columns(
            "time_ns kind runner run index value stack",
            time_ns="INTEGER",
            index="INTEGER",
        ),
        _events,
    ),
    "spans": Table(
        _columns(
            "trace_id span_id parent_id name kind start_ns end_ns status status_text "
            "duration scope attributes events links",
            start_ns="INTEGER",
            end_ns="INTEGER",
            duration="REAL",
        ),
        _spans,
    ),
    "logs": Table(
        _columns(
            "time_ns severity level body trace_id span_id logger attributes",
            time_ns="INTEGER",
            severity="INTEGER",
        ),
        _logs,
    ),
}
"""In the order in which they are written."""


def otlp_json(recording: Recording, session: str = "") -> Iterator[str]:
    """A line for each request, as the Collector's ``file`` exporter writes it."""
    return (line_of(request) for request in recording.requests(session))


def csv_lines(recording: Recording, session: str, table: str) -> Iterator[str]:
    """One table as CSV, with the names of its columns in the first line."""
    columns, rows = TABLES[table]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for row in rows(recording, session):
        writer.writerow(row)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def to_sqlite(recording: Recording, session: str, path: Path) -> None:
    """All tables, into a new database."""
    with closing(sqlite3.connect(path)) as db, db:
        for name, (columns, rows) in TABLES.items():
            made = ", ".join(f'"{column.name}" {column.type}' for column in columns)
            db.execute(f"CREATE TABLE {name} ({made})")
            marks = ", ".join("?" * len(columns))
            db.executemany(
                f"INSERT INTO {name} VALUES ({marks})",  # noqa: S608 -- ours
                rows(recording, session),
            )
        db.execute("CREATE INDEX jobs_run ON jobs (run)")
        db.execute("CREATE INDEX spans_trace ON spans (trace_id)")
        db.execute("CREATE INDEX logs_trace ON logs (trace_id)")


def to_parquet(recording: Recording, session: str, table: str, path: Path) -> None:
    """One table, into a new file.

    Raises:
        ConfigurationError: pyarrow isn't installed.
    """
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        what = "--format parquet needs pyarrow: pip install pyarrow"
        raise ConfigurationError(what) from error
    types = {"TEXT": arrow.string(), "INTEGER": arrow.int64(), "REAL": arrow.float64()}
    columns, rows = TABLES[table]
    schema = arrow.schema([(each.name, types[each.type]) for each in columns])
    given = rows(recording, session)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(given, _AT_ONCE)):
            values = zip(*some, strict=True)
            arrays = [
                arrow.array(list(map(int, each)) if name == "calls" else each, kind)
                for (name, kind), each in zip(
                    [(field.name, field.type) for field in schema], values, strict=True
                )
            ]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))
