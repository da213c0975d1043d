"""`reference/cli.md`: every command, from the command line's own code."""

from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from spanrun.cli.app import app
from spanrun.cli.exits import Exit

_HEAD: Final = """\
# Command line

`spanrun` is there after `pip install '.[all]'` in a checkout, or after `make demo`, as
`.venv/bin/spanrun`. `python -m spanrun` is the same. All commands need the extra `cli`;
`demo`, `ingest` and `search` also `ingest`, and `slo` also `slo`.

Results go to standard output; progress, warnings and errors to standard error.
Progress is drawn as bars on a terminal and written as lines elsewhere.
Every command also obeys the [settings](settings.md).

Each command's first line here is that of its `--help`: `{PATH}` must be given,
`[FOLDER]` may be left out, and `...` says that there may be several.
"""


def render() -> str:
    """The page."""
    group: Any = get_command(app)
    whole = group.context_class(group, info_name="spanrun")
    parts = [_HEAD, "Options of `spanrun` itself:\n", *_options(whole)]
    for name, command in group.commands.items():
        own = group.context_class(command, whole, info_name=name)
        parts += [f"## `spanrun {name}`\n", *_command(own)]
        for inner, each in getattr(command, "commands", {}).items():
            below = group.context_class(each, own, info_name=inner)
            parts += [f"### `spanrun {name} {inner}`\n", *_command(below)]
    parts += ["## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [f"| {code.value} | {code.meaning} |" for code in Exit]
    return "\n".join([*parts, ""])


def _command(context: Any) -> Iterator[str]:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n"
    yield f"{command.help}\n"
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    rows = [f"| `{p.metavar}` | {_told(p, context)} |" for p in arguments]
    if rows:
        yield "\n".join(["| argument | |", "|---|---|", *rows, ""])
    yield from _options(context)


def _options(context: Any) -> Iterator[str]:
    rows: list[str] = []
    for option in context.command.get_params(context):
        if option.param_type_name != "argument":
            names = ", ".join(f"`{name}`" for name in option.opts)
            value = "" if option.is_flag else f" `{option.metavar}`"
            rows.append(f"| {names}{value} | {_told(option, context)} |")
    yield "\n".join(["| option | |", "|---|---|", *rows, ""])


def _told(parameter: Any, context: Any) -> str:
    """What `--help` says of it, on one line."""
    _, told = parameter.get_help_record(context)
    return " ".join(told.replace("|", "\\|").split())
