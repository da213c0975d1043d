"""``spanrun top``: what the programs that use a folder do at this moment."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.cli.keys import Keys
from spanrun.cli.runs import RecordingsFolder
from spanrun.cli.top_view import View, lines
from spanrun.runner.summary import terminal_width
from spanrun.telemetry.live.files import Reader
from spanrun.telemetry.live.state import ProcessNow

_EVERY: Final = 0.5
"""Seconds from one look to the next: programs write each second."""
_PATIENCE: Final = 4.0
"""Seconds in which a program that runs writes twice, so that there is a rate."""
_RUN_SOMETHING: Final = "Start a program that calls configure() in the same folder."


def top(*, store: RecordingsFolder = None, as_json: session.AsJson = False) -> None:
    """Show what runs now: rates, errors, and the slowest open jobs.

    Keys: s sorts the jobs by age, phase, runner or attempt; f shows those of one
    phase; / those whose name has a text; Esc shows all; q quits.

    Where standard output is no terminal it is shown once.
    """
    folder = session.folder(store)
    try:
        with Reader(folder) as reader:
            if as_json or not _is_screen():
                _once(reader, folder, as_json=as_json)
            else:
                _watch(reader)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except OSError as error:
        if Path(str(error.filename or "")).parent not in (folder, folder.parent):
            raise
        to_do = "Name the folder of a program with --store."
        fail(Exit.DISK, f"{error.filename}: {error.strerror}", to_do)


def _is_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _once(reader: Reader, folder: Path, *, as_json: bool) -> None:
    found = _settled(reader)
    if as_json:
        console.give(json.dumps({"processes": [asdict(each) for each in found]}))
        return
    if not found:
        fail(Exit.INPUT, f"no program with open runners uses {folder}", _RUN_SOMETHING)
    shown = lines(found, View(), terminal_width(sys.stdout))
    console.give("\n".join(text.plain.rstrip() for text in shown))


def _settled(reader: Reader) -> list[ProcessNow]:
    """What all processes say, once there is a rate in it."""
    end = time.monotonic() + _PATIENCE
    while True:
        reader.beat()
        found = reader.processes()
        is_settled = bool(found) and all(each.window for each in found)
        if is_settled or time.monotonic() >= end:
            return found
        time.sleep(_EVERY / 5)  # other processes write: nothing here wakes up


def _watch(reader: Reader) -> None:
    from rich.console import Console, ConsoleDimensions, Group  # noqa: PLC0415 -- 50 ms

    view = View()
    screen = Console(highlight=False, markup=False)
    with Keys() as keys, screen.screen(hide_cursor=True) as shown:
        while not view.over:
            reader.beat()
            found = reader.processes()
            end = time.monotonic() + _EVERY
            while not view.over and (left := end - time.monotonic()) > 0:
                # Not rich's own: COLUMNS may say what the terminal was once.
                screen.size = size = ConsoleDimensions(
                    *os.get_terminal_size(sys.stdout.fileno())
                )
                shown.update(Group(*lines(found, view, *size)))
                for key in keys.wait(left):
                    view.press(key)
