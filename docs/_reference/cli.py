"""`reference/cli.md`: every command, from the command line's own code."""

from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from spanrun.cli.app import app
from spanrun.cli.exits import Exit

_HEAD: Final = """\
# Command line

`spanrun` is there after `pip install '.[cli,ingest]'` in a checkout, or after
`make demo`, as `.venv/bin/spanrun`. `python -m spanrun` is the same.

Results go to standard output; progress, warnings and errors to standard error.
Progress is drawn as bars on a terminal and written as lines elsewhere.
Every command also obeys the [settings](settings.md).
"""


def render() -> str:
    """The page."""
    group: Any = get_command(app)
    parts = [_HEAD, *_options("Options of `spanrun` itself", group.params)]
    for name, command in group.commands.items():
        parts += [f"## `spanrun {name}`\n", *_command(name, command)]
        for inner, each in getattr(command, "commands", {}).items():
            full = f"{name} {inner}"
            parts += [f"### `spanrun {full}`\n", *_command(full, each)]
    parts += ["## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [f"| {code.value} | {code.meaning} |" for code in Exit]
    return "\n".join([*parts, ""])


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    shown = " ".join(_shown(argument) for argument in arguments)
    yield f"```text\nspanrun {name} [OPTIONS] {shown}".rstrip() + "\n```\n"
    yield f"{command.help}\n"
    rows = [f"| `{_shown(p)}` | {_cell(p.help)} |" for p in arguments]
    if rows:
        yield "\n".join(["| argument | |", "|---|---|", *rows, ""])
    yield from _options("", [p for p in command.params if p not in arguments])


def _options(title: str, options: Any) -> Iterator[str]:
    rows: list[str] = []
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" `{option.metavar or option.name.upper()}`"
        default = "" if option.is_flag or option.default is None else option.default
        told = f" [default: {default}]" if default != "" else ""
        rows.append(f"| {names}{value} | {_cell(option.help)}{told} |")
    rows.append("| `--help` | Show the command's help. |")
    if title:
        yield f"{title}:\n"
    yield "\n".join(["| option | |", "|---|---|", *rows, ""])


def _shown(argument: Any) -> str:
    many = argument.nargs != 1
    return argument.name.upper().removesuffix("S" if many else "") + "…" * many


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())
