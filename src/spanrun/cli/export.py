"""``spanrun export``: what was recorded, for other programs."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import typer

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import AnyFile, RecordingsFolder, open_recording
from spanrun.telemetry.recordings import export as exports
from spanrun.telemetry.recordings.read import Recording
from spanrun.text import inert

Format: TypeAlias = Literal["otlp-json", "csv", "parquet", "sqlite"]
Table: TypeAlias = Literal["sessions", "runs", "jobs", "events", "spans", "logs"]

_TO_FILES: Final = ("parquet", "sqlite")


def export(
    file: AnyFile = None,
    *,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="otlp-json: a line for each request, as collectors read it; "
            "csv, parquet: one table; sqlite: all tables.",
        ),
    ],
    table: Annotated[
        Table,
        typer.Option(
            metavar="TABLE",
            help="Of csv and parquet: sessions, runs, jobs, events, spans or logs.",
        ),
    ] = "jobs",
    session_: Annotated[
        str | None,
        typer.Option(
            "--session",
            metavar="ID",
            help="A session, by how its id begins, or last.  [default: all]",
        ),
    ] = None,
    store: RecordingsFolder = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            metavar="FILE",
            help="Where it is written; never over another file.  "
            "[default: standard output]",
        ),
    ] = None,
) -> None:
    """Write what was recorded for other programs: OTLP, or tables."""
    if out is None and format_ in _TO_FILES:
        what = f"--format {format_} makes a file, which has no name"
        fail(Exit.USAGE, what, "Name it with -o.")
    with open_recording(store, file) as recording:
        which = recording.session(session_).id if session_ else ""
        if out is None:
            for line in _lines(recording, which, format_, table):
                # A key or an error may have in it what a terminal would obey.
                sys.stdout.write(inert(line) if sys.stdout.isatty() else line)
            sys.stdout.flush()
            return
        with _new(out) as path:
            _write(recording, which, format_, table, path)
    console.say(f"wrote {console.line(str(out))}")


def _lines(
    recording: Recording, session_: str, format_: Format, table: Table
) -> Iterator[str]:
    if format_ == "otlp-json":
        return exports.otlp_json(recording, session_)
    return exports.csv_lines(recording, session_, table)


def _write(
    recording: Recording, session_: str, format_: Format, table: Table, path: Path
) -> None:
    if format_ == "sqlite":
        exports.to_sqlite(recording, session_, path)
    elif format_ == "parquet":
        exports.to_parquet(recording, session_, table, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(_lines(recording, session_, format_, table))


@contextmanager
def _new(out: Path) -> Generator[Path]:
    """A file beside ``out`` to be written, which gets its name when all is in it."""
    if os.path.lexists(out):
        fail(Exit.USAGE, f"{out} is there already", "Name another file, or remove it.")
    part = out.with_name(f"{out.name}.part")
    try:
        part.unlink(missing_ok=True)
        yield part
        part.rename(out)
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or error
        fail(Exit.DISK, f"{out} can't be written: {why}", "Name another with -o.")
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
