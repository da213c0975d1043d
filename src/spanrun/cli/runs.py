"""``spanrun runs``, ``show`` and ``trace``: what the local store has recorded."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from spanrun import recordings
from spanrun.cli import console, session, waterfall
from spanrun.cli.exits import Exit, fail, halves
from spanrun.quantities import seconds
from spanrun.recordings import LAST, Recording, Run, Session
from spanrun.runner.summary import Report, terminal_width
from spanrun.telemetry.recordings.summary import summary_of

RecordingsFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Of the recordings, or a file of OTLP traces.  [default: .spanrun]",
    ),
]
AnyFile: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="OTLP traces, as JSON or protobuf, .gz too.  [default: the recordings]",
        show_default=False,
    ),
]
Which: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Of a session or a run, or how it begins; or a file of OTLP traces.  "
        "[default: the last session]",
        show_default=False,
    ),
]

_DIGITS: Final = 8  # of an id, as it is shown
_MANY: Final = 3  # runners that are named


def runs(
    file: AnyFile = None,
    *,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="The newest so many.")
    ] = 20,
    store: RecordingsFolder = None,
    as_json: session.AsJson = False,
) -> None:
    """List what was run: a line for each program, the newest first."""
    with open_recording(store, file) as recording:
        found = recording.sessions()[:limit]
        if as_json:
            told = [
                {
                    **asdict(each),
                    "runs": [asdict(run) for run in recording.runs(each.id)],
                }
                for each in found
            ]
            console.give(json.dumps({"sessions": told}))
            return
        if not found:
            fail(Exit.INPUT, "nothing was ever run", _RUN_SOMETHING)
        width = terminal_width(sys.stdout)
        for each in found:
            console.give(_session(recording, each)[:width].rstrip())


def show(
    name: Which = LAST,
    *,
    store: RecordingsFolder = None,
    as_json: session.AsJson = False,
) -> None:
    """Show how long the jobs of a session or a run took, and why."""
    with open_named(name, store) as (recording, named):
        found = recording.find(named)
        of_session = found.id if isinstance(found, Session) else found.session
        run = found.id if isinstance(found, Run) else ""
        summary = summary_of(recording, of_session, run)
        report = Report(summary, recording.path, found.id)
        if as_json:
            console.give(json.dumps({"id": found.id, **report.as_dict()}))
            return
        console.give(heading(found))
        for line in _resumed(recording, of_session, run):
            console.give(line)
        console.give(report.text(terminal_width(sys.stdout)))


def trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of the trace, or how it begins; or a file of OTLP traces, of which "
            "it is the slowest.",
        ),
    ],
    *,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Spans that are shown.")
    ] = 100,
    store: RecordingsFolder = None,
    as_json: session.AsJson = False,
) -> None:
    """Show the spans and logs of a trace on the axis of their time."""
    with open_named(name, store) as (recording, named):
        which = _slowest(recording) if named != name else _whole(recording, name)
        spans = recording.trace(which)
        if not spans:
            fail(Exit.INPUT, f"there is no trace {name!r} here", _NOT_KEPT)
        logs = recording.logs(trace_id=which)
        if as_json:
            told = {
                "spans": [asdict(span) for span in spans],
                "logs": [asdict(record) for record in logs],
            }
            console.give(json.dumps(told, default=str))
            return
        width = terminal_width(sys.stdout)
        console.give("\n".join(waterfall.lines(spans, logs, width, limit)))


def heading(found: Session | Run) -> str:
    """When it began, and what it was."""
    title = found.command if isinstance(found, Session) else f"run {found.runner}"
    return f"{_when(found.started_ns)}  {console.line(title)}"


_RUN_SOMETHING: Final = "Run a program that calls configure(), or spanrun demo."
_NOT_KEPT: Final = "See spanrun show for traces; a sampler keeps some of them only."


@contextmanager
def open_recording(
    store: Path | None, file: Path | None = None
) -> Generator[Recording]:
    """The recordings in a folder, or in a file.

    What isn't there is told, also by what is done meanwhile, and ends the command.
    """
    if file is not None and not file.exists():
        fail(Exit.INPUT, f"{file} isn't there", "Name a file of traces.")
    try:
        with recordings.open(file or session.folder(store)) as recording:
            yield recording
    except LookupError as error:
        what, to_do = halves(error)
        fail(Exit.INPUT, what, to_do or _RUN_SOMETHING)


@contextmanager
def open_named(name: str, store: Path | None) -> Generator[tuple[Recording, str]]:
    """The recordings, and what is named in them; ``name`` may be that of a file."""
    file = Path(name) if name != LAST and Path(name).is_file() else None
    with open_recording(store, file) as recording:
        yield recording, LAST if file else name


def _slowest(recording: Recording) -> str:
    slowest = max(recording.traces(), key=lambda each: each.duration, default=None)
    return slowest.id if slowest is not None else ""


def _whole(recording: Recording, name: str) -> str:
    """The id of the only trace whose id begins with ``name``."""
    if len(name) == 32:  # noqa: PLR2004 -- digits of a whole one
        return name
    found = {each.id for each in recording.traces() if each.id.startswith(name)}
    if len(found) > 1:
        fail(Exit.INPUT, f"{len(found)} traces begin with {name!r}", "Give more of it.")
    return found.pop() if found else name


def _resumed(recording: Recording, session_id: str, run: str = "") -> list[str]:
    """A line for each run that went on from another one, by a checkpoint."""
    return [
        f"resumed from {console.line(str(event.value['earlier']))[:_DIGITS]}, "
        f"{event.value['results']:,} results taken over"
        for event in recording.events(session_id, run)
        if event.kind == "resumed"
    ]


def _session(recording: Recording, found: Session) -> str:
    named = list(dict.fromkeys(run.runner for run in recording.runs(found.id)))
    shown = ", ".join(map(console.line, named[:_MANY]))
    more = f" and {len(named) - _MANY} more" if len(named) > _MANY else ""
    resumed = _resumed(recording, found.id)
    more += f"; {resumed[0]}" if resumed else ""
    took = seconds(max(0, found.written_ns - found.started_ns) / 1e9)
    return (
        f"{found.id[:_DIGITS]}  {_when(found.started_ns)}  {took:>8}  "
        f"{console.line(found.command)}  ({shown or 'no runs'}{more})"
    )


def _when(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds / 1e9))
