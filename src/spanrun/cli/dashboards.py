"""``spanrun dashboards export DIR``: the Grafana dashboards, as files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final

import typer

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.slo.annotations import RUNBOOKS

dashboards = typer.Typer(
    help="The Grafana dashboards.", no_args_is_help=True, rich_markup_mode=None
)

_INSTALLED: Final = "dashboards"
"""Where the wheel has them, inside the package."""
_CHECKOUT: Final = Path(__file__).parents[3] / "dashboards" / "json"
"""Where they are when the package is installed for development."""
_WHOLE: Final = "As https://wiki.example.com/spanrun: Grafana is elsewhere."
_FIX: Final = "Name a folder that you may write to, with room for 300 kB."


@dashboards.callback()
def _group() -> None:
    """The Grafana dashboards."""


@dashboards.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Made if it isn't there.")
    ],
    *,
    runbooks: Annotated[
        str,
        typer.Option(
            metavar="URL", help="The folder of the pages that panels link to."
        ),
    ] = RUNBOOKS,
    as_json: session.AsJson = False,
) -> None:
    """Write the five dashboards, as JSON files for Grafana 11 and later.

    A file of the same name is replaced; others in the folder are left alone.
    Grafana reads them by import, or from a folder that its provisioning names.
    """
    if not re.match(r"https?://[^\s/]", runbooks):
        fail(Exit.USAGE, f"--runbooks {runbooks}: must be a whole URL", _WHOLE)
    address = json.dumps(runbooks.rstrip("/"))
    written: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in shipped().items():
            path = folder / name
            ours = text.replace(json.dumps(RUNBOOKS), address)
            path.write_text(ours, encoding="utf-8")
            written.append(str(path))
    except OSError as error:
        fail(Exit.DISK, f"{error.filename}: {error.strerror}", _FIX)
    console.give(json.dumps({"written": written}) if as_json else "\n".join(written))


def shipped() -> Mapping[str, str]:
    """The dashboards that this installation has: file names and their JSON."""
    installed: Traversable = resources.files("spanrun") / _INSTALLED
    source = installed if installed.is_dir() else _CHECKOUT
    return {
        file.name: file.read_text(encoding="utf-8")
        for file in sorted(source.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    }
