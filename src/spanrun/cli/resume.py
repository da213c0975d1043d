"""``spanrun resume FILE``: the command that a checkpoint is of, once more."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spanrun.cli import items
from spanrun.cli.exits import Exit, fail
from spanrun.cli.results import plain
from spanrun.runner.checkpoint.checkpoint import Checkpoint

GIVEN: Final = "arguments"
"""The command line, in the context of all commands."""
ONLY_FAILED: Final = "--only-failed"
_COMMAND: Final = ("spanrun", "run")


class _Lines:
    """Keeps results as the output has them: as JSON."""

    def dumps(self, value: Any) -> bytes:
        """``value`` as JSON."""
        return json.dumps(value, default=plain, allow_nan=False).encode()

    def loads(self, data: bytes) -> Any:
        """What it says."""
        return json.loads(data)


def resume(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint of spanrun run.")
    ],
    *,
    only_failed: Annotated[
        bool, typer.Option(ONLY_FAILED, help="Run nothing but what failed.")
    ] = False,
) -> None:
    """Go on with a run that was ended, by its checkpoint.

    It is the command that made FILE, as it was, and belongs into the same folder.
    What succeeded is written out again, so that the results are whole; what failed, and
    what never ran, is run.
    """
    command = shlex.split(_command_of(file))
    if tuple(command[:2]) != _COMMAND:
        what = f"{file} is no checkpoint of spanrun run"
        fail(Exit.INPUT, what, "Run its program again: that goes on from it.")
    more = [ONLY_FAILED] if only_failed else []
    group = context.find_root().command
    group.main([*command[1:], *more], prog_name="spanrun", standalone_mode=False)


def checkpoint_of(
    context: typer.Context, path: Path | None, source: str, *, only_failed: bool
) -> Checkpoint | None:
    """The checkpoint of the command that runs now, if it has one."""
    if path is None:
        if only_failed:
            fail(Exit.USAGE, "--only-failed: of which run?", "Name its --checkpoint.")
        return None
    if source == items.STDIN:
        what = "--checkpoint: standard input can't be read again"
        fail(Exit.USAGE, what, "Name a file as INPUT.")
    given = context.find_root().meta[GIVEN]
    command = ["spanrun", *(each for each in given if each != ONLY_FAILED)]
    return Checkpoint(
        path, only_failed=only_failed, codec=_Lines(), command=shlex.join(command)
    )


def is_ours(checkpoint: Checkpoint | None, out: Path | None) -> bool:
    """Whether ``out`` was written by the run that goes on: it is written anew."""
    if checkpoint is None or out is None or not Path(checkpoint.path).exists():
        return False
    return str(out) in shlex.split(_command_of(Path(checkpoint.path)))


def _command_of(path: Path) -> str:
    from spanrun.runner.checkpoint.file import read_about  # noqa: PLC0415 -- SQLite

    return read_about(path).get("command", "")
