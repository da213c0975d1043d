"""``spanrun report``: what was recorded, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import RecordingsFolder, Which, open_named
from spanrun.recordings import LAST
from spanrun.view.data import data_of, described
from spanrun.view.page import write


def report(
    name: Which = LAST,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            metavar="FILE",
            help="Where it is written, also over a file that is there.",
        ),
    ] = Path("run.html"),
    store: RecordingsFolder = None,
) -> None:
    """Write a session or a run as one HTML file, which needs no server."""
    if out.is_dir():
        fail(Exit.USAGE, f"{out} is a folder", "Name a file with -o.")
    with open_named(name, store) as (recording, named):
        data = data_of(recording, named)
    try:
        size = write(data, out)
    except OSError as error:
        why = error.strerror or str(error)
        fail(Exit.DISK, f"{out} can't be written: {why}", "Name another with -o.")
    console.say(f"wrote {console.line(str(out))}: {described(data, size)}")
