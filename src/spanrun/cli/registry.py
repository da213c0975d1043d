"""``spanrun registry``: the names of all telemetry, and telemetry held against them."""

from __future__ import annotations

import json
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.registry.check import Finding, Findings
from spanrun.telemetry.otlp_file import NoOtlpError, read

registry = typer.Typer(
    help="The names of all telemetry.", no_args_is_help=True, rich_markup_mode=None
)

_INSTALLED: Final = "telemetry.md"
"""Where the wheel has the reference, inside the package."""
_CHECKOUT: Final = Path(__file__).parents[3] / "docs" / "reference" / "telemetry.md"
"""Where it is when the package is installed for development."""
_FIX: Final = (
    "Name a file of OTLP: JSON as the Collector's file exporter writes it, or protobuf."
)


@registry.callback()
def _group() -> None:
    """The names of all telemetry."""


@registry.command()
def check(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="OTLP: lines of JSON, one JSON document, or protobuf.",
        ),
    ],
    *,
    as_json: session.AsJson = False,
) -> None:
    """Hold spans and metrics in files against the registry.

    Told are names beginning with spanrun. that it doesn't know, wrong types, values,
    units and kinds, and what is missing. What others emitted may have any other name.
    The exit code is 1 when something was found.
    """
    checked: dict[Path, Findings] = {}
    for path in files:
        found = checked[path] = Findings()
        try:
            found.check(read(path))
        except NoOtlpError as error:
            fail(Exit.INPUT, f"{path}: {error}", _FIX)
        except OSError as error:
            fail(Exit.DISK, f"{path}: {error.strerror}", "Check its rights.")
        if not found.spans + found.points + len(found):
            fail(Exit.INPUT, f"{path}: there are no spans or metrics in it", _FIX)
    if as_json:
        files_ = [_as_json(path, found) for path, found in checked.items()]
        console.give(json.dumps({"files": files_}))
    else:
        console.give(
            "\n".join(_as_text(path, found) for path, found in checked.items())
        )
    if any(checked.values()):
        sys.exit(Exit.SOME_FAILED)


@registry.command()
def docs() -> None:
    """Print the reference of all names, as Markdown."""
    installed: Traversable = resources.files("spanrun") / _INSTALLED
    source = installed if installed.is_file() else _CHECKOUT
    console.give(source.read_text(encoding="utf-8").rstrip("\n"))


def _as_text(path: Path, found: Findings) -> str:
    looked_at = f"{found.spans} spans, {found.points} metric points"
    if not found:
        return f"{console.line(str(path))}: {looked_at}: all as in the registry"
    lines = [f"{console.line(str(path))}: {looked_at}: {len(found)} findings"]
    for each in found:
        where, problem = each.where, each.problem
        scope = f" of {where.scope}" if where.scope else ""
        told = f"{where.item}{scope}: {problem.name}: {problem.what}"
        times = "once" if each.count == 1 else f"{each.count} times, first"
        lines.append(f"  {console.line(told)}")
        lines.append(f"    {problem.rule}, {times} in {console.line(str(where))}")
    if found.left_out:
        lines.append(f"  and {found.left_out} times something more")
    return "\n".join(lines)


def _as_json(path: Path, found: Findings) -> dict[str, Any]:
    return {
        "file": str(path),
        "spans": found.spans,
        "points": found.points,
        "findings": [_finding(each) for each in found],
        "left_out": found.left_out,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        **finding.problem._asdict(),
        "count": finding.count,
        "first": finding.where._asdict(),
    }
