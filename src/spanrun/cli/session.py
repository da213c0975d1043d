"""What every command shares: its options, its folder, its telemetry."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.runner.progress import Progress
from spanrun.settings import STORE
from spanrun.telemetry import setup
from spanrun.telemetry.observe import Observer

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output.")
]
NoProgress: TypeAlias = Annotated[
    bool, typer.Option("--no-progress", help="Don't show how far it is.")
]
StoreFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Keeps documents and telemetry.  [default: .spanrun]",
    ),
]
EmbeddingsUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="An OpenAI-compatible endpoint, as http://host/v1; the key is read "
        "from EMBEDDING_KEY.  [default: in this process]",
    ),
]
Model: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="The endpoint's model.")
]
Patience: TypeAlias = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="For one answer of the endpoint; with retries four times that.",
    ),
]

DOCUMENTS: Final = "documents.db"
TIMEOUT: Final = 30.0
# The promise is 5 s at most for a dead collector; ending the process is a part.
_SHUTDOWN: Final = 4.5
LOGGERS: Final = ("opentelemetry", str(setup.__package__))
"""Where the telemetry complains. They stay silent if it didn't end in time."""


def folder(option: Path | None) -> Path:
    """The folder in which documents and telemetry are kept."""
    given = option or Path(os.environ.get("SPANRUN_STORE") or STORE)
    if str(given) == "none":
        fail(
            Exit.CONFIGURATION,
            "SPANRUN_STORE=none: the command line keeps its documents in a folder",
            "Unset it, or name a folder with --store.",
        )
    return given


class Complaints(logging.Handler):
    """Keeps the first thing that the telemetry complains about.

    It would stand in the midst of the progress bars; the summary tells the rest.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.first = self.first or console.line(record.getMessage(), 200)


@contextmanager
def telemetry(store: Path) -> Generator[setup.Telemetry | None]:
    """Telemetry for the length of a block; afterwards nothing more will be sent.

    A local store that can't be used costs the telemetry, not the command.
    """
    complaints = Complaints()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(complaints)
        logger.propagate = False
    try:
        setup.configure(store=store)
        yield setup.telemetry()
    finally:
        if _shut_down():  # else its threads may go on to complain
            for logger in loggers:
                logger.propagate = True
                logger.removeHandler(complaints)
        if complaints.first:
            console.say(f"telemetry: {complaints.first}")


def _shut_down() -> bool:
    active = setup.telemetry()
    chosen = active and active.settings.origins["shutdown_timeout"] != "default"
    return setup.shutdown(None if chosen else _SHUTDOWN)


def observers(*, progress: bool) -> Sequence[Observer]:
    """Who watches the runs: the progress on standard error, if it is wanted."""
    return [Progress(sys.stderr)] if progress else []
