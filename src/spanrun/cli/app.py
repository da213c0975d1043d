"""The commands, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spanrun import __version__
from spanrun.cli.dashboards import dashboards
from spanrun.cli.demo import demo
from spanrun.cli.exits import explained
from spanrun.cli.ingest import ingest
from spanrun.cli.registry import registry
from spanrun.cli.search import search
from spanrun.cli.slo import slo
from spanrun.cli.spool import spool


class Commands(TyperGroup):
    """Every command's errors become two lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with explained():
            return super().invoke(ctx)


app = typer.Typer(
    name="spanrun",
    cls=Commands,
    help="Run async work where you can see every job.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 -- typer's form of a callback
    if wanted:
        typer.echo(f"spanrun {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: FBT002 -- typer's form of an option
        bool, typer.Option("--version", callback=_version)
    ] = False,
) -> None:
    """Run async work where you can see every job."""


app.command()(demo)
app.command()(ingest)
app.command()(search)
app.add_typer(dashboards, name="dashboards")
app.add_typer(registry, name="registry")
app.add_typer(slo, name="slo")
app.add_typer(spool, name="spool")
