"""The command line: one command a file."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line; the console script ``spanrun``."""
    try:
        from spanrun.cli.app import app  # noqa: PLC0415 -- needs the `cli` extra
    except ModuleNotFoundError as error:
        sys.exit(
            f"the command line needs {error.name}, which isn't installed\n"
            "  pip install 'spanrun[cli,ingest]'"
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that isn't UTF-8
    app()
