"""The command line, once its parts are there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.text import traceback_of

EXTRAS: Final[Mapping[str, str]] = {
    "demo": "ingest",
    "ingest": "ingest",
    "search": "ingest",
    "slo": "slo",
}
"""What a command needs beside the extra ``cli``."""


def enter() -> None:
    """Run the command that the program was started with."""
    console.prepare()
    try:
        _run()
    except KeyboardInterrupt:  # before any command has begun
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 -- what nobody foresaw is shown whole
        console.say(traceback_of(error))
        sys.exit(Exit.FAULT)
    finally:
        console.release()


def _run() -> None:
    try:
        from spanrun.cli.app import app  # noqa: PLC0415 -- needs the `cli` extra
    except ModuleNotFoundError as error:
        if (error.name or "spanrun").startswith("spanrun"):
            raise
        fail(
            Exit.CONFIGURATION,
            f"the command line needs {error.name}, which isn't installed",
            f"pip install 'spanrun[{_extras(sys.argv[1:])}]'",
        )
    app()


def _extras(words: Sequence[str]) -> str:
    """What the command in ``words`` can't do without."""
    command = next((word for word in words if not word.startswith("-")), "")
    also = EXTRAS.get(command)
    return "cli" if also is None else f"cli,{also}"
