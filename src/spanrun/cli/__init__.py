"""The command line: one command a file."""

from __future__ import annotations

import contextlib
import sys

from spanrun.runner import terminated


def main() -> None:
    """Run the command line; the console script ``spanrun``."""
    try:
        with terminated.listening():
            from spanrun.cli.entry import enter  # noqa: PLC0415 -- it takes a while

            enter()
    except SystemExit as error:
        # A command tells of it itself, and ends with one of `Exit`.
        if type(error.code) is int and error.code == terminated.STATUS:
            _say("spanrun: terminated before it had begun\n")
        raise


def _say(text: str) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # none; full; closed
        sys.stderr.write(text)
        sys.stderr.flush()
