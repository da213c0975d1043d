"""What every command shares: options, telemetry, progress, errors, exit codes."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeAlias

import typer

from spanrun.errors import ConfigurationError, ServiceError, StoreError
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

DOCUMENTS: Final = "documents.db"


class Exit(enum.IntEnum):
    """The exit codes, one table for all commands."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    INPUT = 65
    UNREACHABLE = 69
    DISK = 74
    CONFIGURATION = 78
    INTERRUPTED = 130


def fail(code: Exit, what: str, to_do: str = "") -> NoReturn:
    """Say what happened and, on its own line, what to do; then exit."""
    typer.echo(f"spanrun: {what}", err=True)
    if to_do:
        typer.echo(f"  {to_do}", err=True)
    raise typer.Exit(code)


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


@contextmanager
def telemetry(store: Path) -> Iterator[setup.Telemetry | None]:
    """Telemetry for the length of a command; errors become lines and exit codes."""
    try:
        setup.configure(store=store)
        yield setup.telemetry()
    except KeyboardInterrupt:
        fail(Exit.INTERRUPTED, "interrupted; what was stored is whole")
    except ConfigurationError as error:
        fail(Exit.CONFIGURATION, str(error))
    except StoreError as error:
        fail(Exit.DISK, str(error))
    except ServiceError as error:
        fail(Exit.UNREACHABLE, str(error))
    finally:
        setup.shutdown()


def observers(*, progress: bool) -> Sequence[Observer]:
    """Who watches the runs: the progress on standard error, if it is wanted."""
    return [Progress(sys.stderr)] if progress else []
