"""``spanrun spool``: what waits to be delivered, and its delivery."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from spanrun import settings
from spanrun.cli import console, session, spool_text
from spanrun.cli.exits import Exit, fail
from spanrun.cli.spool_text import amount
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.exporters import exporters
from spanrun.telemetry.queue import inspection
from spanrun.telemetry.queue.accounting import SpoolStatus
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.signals import Signal

spool = typer.Typer(
    help="What waits on disk to be delivered.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        metavar="FOLDER",
        help="Of the spool.  [default: by the settings, .spanrun/spool]",
        show_default=False,
    ),
]

_STEP: Final = 0.5  # seconds between two looks at how far it is
_TELL: Final = 2.0  # seconds between two lines that say so
_CLOSING: Final = 2.0
_FIX_DISK: Final = "Check the rights of the folder and the disk's free room."
_FIX_LATER: Final = "Run the same command with the release that wrote it."
_FIX_ENDPOINT: Final = "Check that it works, then run the same command again."


@spool.callback()
def _group() -> None:
    """What waits on disk to be delivered."""


@spool.command()
def status(folder: Folder = None, *, as_json: session.AsJson = False) -> None:
    """Tell what waits: by process and signal, and what was refused."""
    found = _look(folder)
    if as_json:
        console.give(json.dumps(spool_text.status_json(found, time.time())))
    else:
        console.give("\n".join(spool_text.status(found, time.time())))


@spool.command()
def inspect(
    folder: Folder = None,
    *,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Spans and metrics, at most.")
    ] = 50,
    refused: Annotated[
        bool, typer.Option("--refused", help="What was refused, instead.")
    ] = False,
    as_json: session.AsJson = False,
) -> None:
    """Show the spans and metrics that wait, the oldest of each process first."""
    found = spool_text.Shown(_look(folder), limit, refused=refused)
    if as_json:
        console.give(json.dumps(found.as_json()))
    else:
        console.give("\n".join(found.as_text()))


@spool.command()
def flush(
    folder: Folder = None,
    *,
    refused: Annotated[
        bool, typer.Option("--refused", help="Also what was refused, once more.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="Give up when nothing was delivered for so long.",
        ),
    ] = 10.0,
    as_json: session.AsJson = False,
    no_progress: session.NoProgress = False,
) -> None:
    """Deliver what processes that are gone left, to the configured endpoint.

    What a running process has in the spool it delivers by itself. The exit code is
    69 when the endpoint can't be reached, and 1 when it refused some of it.
    """
    chosen, root = _settings(folder)
    before = _look(root)
    if not _orphaned(before) and not (refused and before.quarantine):
        _end(before, None, as_json=as_json)
        return
    reached = exporters(chosen, os.environ)
    if not reached:
        fail(
            Exit.CONFIGURATION,
            f"no endpoint is set, and {amount(_orphaned(before))} wait in {root}",
            "Set OTEL_EXPORTER_OTLP_ENDPOINT, as http://localhost:4318.",
        )
    with _quiet():
        spooled = QueuedExporter(
            root,
            reached,
            Account(),
            max_bytes=chosen.spool_bytes,
            cumulative=chosen.temporality == "cumulative",
        )
        try:
            if refused:
                _requeue(spooled, root)
            _deliver(spooled, patience, tell=not no_progress)
            done = spooled.status()
        finally:
            spooled.close(_CLOSING)
    _end(_look(root), done, as_json=as_json)


def _settings(folder: Path | None) -> tuple[settings.Settings, Path]:
    chosen = settings.load(environ=os.environ, directory=settings.here())
    return chosen, folder or chosen.spool


def _look(folder: Path | None) -> inspection.Inspection:
    root = _settings(None)[1] if folder is None else folder
    try:
        return inspection.inspect_spool(root)
    except OSError as error:
        fail(Exit.DISK, f"{root}: {error.strerror}", _FIX_DISK)


def _orphaned(found: inspection.Inspection) -> dict[Signal, int]:
    """Items that nobody who runs will deliver."""
    items: dict[Signal, int] = {}
    for writer in found.writers:
        if not writer.live:
            for signal, each in writer.items.items():
                items[signal] = items.get(signal, 0) + each
    return items


def _requeue(spooled: QueuedExporter, root: Path) -> None:
    try:
        spooled.requeue()
    except OSError as error:
        fail(Exit.DISK, f"{root}: {error.strerror}", _FIX_DISK)


def _deliver(spooled: QueuedExporter, patience: float, *, tell: bool) -> None:
    """Until nothing is left, or nothing moves any more."""
    handled = 0
    now = time.monotonic()
    deadline, next_line = now + patience, now + _TELL
    while not spooled.flush(min(_STEP, patience), recovered=True):
        now, known = time.monotonic(), spooled.status()
        moved = sum(_handled(known).values())
        if moved > handled:
            handled, deadline = moved, now + patience
        if tell and now >= next_line:
            console.say(spool_text.progress(known))
            next_line = now + _TELL
        if now >= deadline:
            return


def _handled(known: SpoolStatus) -> dict[Signal, int]:
    return {
        signal: each.delivered + sum(each.dropped.values())
        for signal, each in known.signals.items()
    }


def _end(
    left: inspection.Inspection, done: SpoolStatus | None, *, as_json: bool
) -> None:
    """Say what became of it; exit by what is left."""
    if as_json:
        console.give(json.dumps(spool_text.flushed_json(left, done)))
    else:
        console.give("\n".join(spool_text.flushed(left, done)))
    gone = [writer for writer in left.writers if not writer.live]
    if broken := next((writer for writer in gone if writer.trouble), None):
        fail(Exit.DISK, console.line(f"{broken.path}: {broken.trouble}"), _FIX_DISK)
    if later := next((writer for writer in gone if writer.later), None):
        what = f"{later.path} is {spool_text.later(later)}"
        fail(Exit.CONFIGURATION, console.line(what), _FIX_LATER)
    if done is not None:
        _fail_for(left, done)


def _fail_for(left: inspection.Inspection, done: SpoolStatus) -> None:
    waiting = _orphaned(left)
    if done.disk_trouble:
        fail(Exit.DISK, f"{left.root}: {done.disk_trouble}", _FIX_DISK)
    for signal, known in done.signals.items():
        if signal in waiting:
            why = known.trouble or "it did not answer in time"
            what = f"{known.destination} doesn't take {signal}: {why}"
            fail(Exit.UNREACHABLE, what, _FIX_ENDPOINT)
    if waiting:
        fail(
            Exit.CONFIGURATION,
            f"there is no endpoint for {amount(waiting)}",
            "Set OTEL_EXPORTER_OTLP_ENDPOINT, as http://localhost:4318.",
        )
    if lost := _dropped(done):
        told = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        fail(
            Exit.SOME_FAILED,
            f"not all could be delivered: {told}",
            "See spanrun spool inspect --refused.",
        )


def _dropped(done: SpoolStatus) -> Mapping[str, int]:
    lost: dict[str, int] = {}
    for known in done.signals.values():
        for reason, count in known.dropped.items():
            lost[reason] = lost.get(reason, 0) + count
    return lost


@contextmanager
def _quiet() -> Generator[None]:
    """The queue's log would say in the midst what is said at the end."""
    logger = logging.getLogger(inspection.__package__)
    before, logger.propagate = logger.propagate, False
    silent = logging.NullHandler()
    logger.addHandler(silent)
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(silent)
        sys.stderr.flush()
