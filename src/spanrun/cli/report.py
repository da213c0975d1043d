"""``spanrun report``: what was recorded, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import RecordingsFolder, Which, open_named
from spanrun.cli.slo import Objectives
from spanrun.recordings import LAST
from spanrun.slo import load
from spanrun.view.comparison import comparison_of
from spanrun.view.data import data_of, described
from spanrun.view.page import write


def report(
    name: Which = LAST,
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="B",
            help="Another one: the page shows it, and what changed from ID to it.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            metavar="FILE",
            help="Where it is written, also over a file that is there.",
        ),
    ] = Path("run.html"),
    slo: Objectives = None,
    store: RecordingsFolder = None,
) -> None:
    """Write a session or a run as one HTML file that needs nothing."""
    if out.is_dir():
        fail(Exit.USAGE, f"{out} is a folder", "Name a file with -o.")
    slos = load(slo) if slo else ()
    with open_named(name, store) as (recording, named):
        data = data_of(recording, named if other is None else other, slos=slos)
        if other is not None:
            data["compare"] = comparison_of(recording, named, other)
    try:
        size = write(data, out)
    except OSError as error:
        why = error.strerror or str(error)
        fail(Exit.DISK, f"{out} can't be written: {why}", "Name another with -o.")
    console.say(f"wrote {console.line(str(out))}: {described(data, size)}")
