"""``spanrun view``: what is recorded, in a browser, also while a program runs."""

from __future__ import annotations

import errno
import threading
import webbrowser
from typing import Annotated

import typer

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import RecordingsFolder, open_recording
from spanrun.cli.slo import Objectives
from spanrun.slo import load
from spanrun.slo.local import require_recorded
from spanrun.view.server import Viewer


def view(
    *,
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            help="Where to listen; 0: a port that is free.",
        ),
    ] = 0,
    open_: Annotated[
        bool, typer.Option("--open", help="Open it in the browser.")
    ] = False,
    slo: Objectives = None,
    store: RecordingsFolder = None,
) -> None:
    """Show sessions and runs in a browser of this machine, live, until Ctrl-C."""
    slos = load(slo) if slo else ()
    require_recorded(slos)
    with open_recording(store) as recording:
        path = recording.path
    try:
        viewer = Viewer(path, port, slos)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = f"port {port} can't be used: {error.strerror}"
        fail(Exit.USAGE, why, "Name another with --port, or none.")
    console.say(f"{viewer.url}\nCtrl-C ends it")
    if open_:
        threading.Thread(target=webbrowser.open, args=[viewer.url], daemon=True).start()
    try:
        viewer.serve()
    except KeyboardInterrupt:
        viewer.closing.set()
