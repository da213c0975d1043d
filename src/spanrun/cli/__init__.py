"""The command line: one command a file."""

from __future__ import annotations

import sys

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.text import traceback_of


def main() -> None:
    """Run the command line; the console script ``spanrun``."""
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
            "pip install 'spanrun[cli,ingest]'",
        )
    app()
