"""The commands, put together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from spanrun import __version__
from spanrun.cli import console
from spanrun.cli.config import config
from spanrun.cli.dashboards import dashboards
from spanrun.cli.demo import demo
from spanrun.cli.diff import diff
from spanrun.cli.doctor import doctor
from spanrun.cli.exits import explained
from spanrun.cli.export import export
from spanrun.cli.ingest import ingest
from spanrun.cli.registry import registry
from spanrun.cli.report import report
from spanrun.cli.resume import GIVEN, resume
from spanrun.cli.run import run
from spanrun.cli.runs import runs, show, trace
from spanrun.cli.search import search
from spanrun.cli.slo import slo
from spanrun.cli.spool import spool
from spanrun.cli.top import top
from spanrun.cli.view import view


class Commands(TyperGroup):
    """Every command's errors become two lines and an exit code."""

    def make_context(
        self, info_name: str | None, args: list[str], *more: Any, **extra: Any
    ) -> Any:
        """Parse the options that stand before the command."""
        given = tuple(args)
        with _inert_usage():
            context = super().make_context(info_name, args, *more, **extra)
        context.meta[GIVEN] = given
        return context

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _inert_usage(), explained():
            return super().invoke(ctx)


@contextmanager
def _inert_usage() -> Generator[None]:
    """Arguments may be the names of somebody's files: typer quotes them as they are."""
    try:
        yield
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is not None:
            cast("Any", error).format_message = lambda: console.line(told())
        raise


app = typer.Typer(
    name="spanrun",
    cls=Commands,
    help="Run async work where you can see every job.",
    no_args_is_help=True,
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
        bool, typer.Option("--version", callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Run async work where you can see every job."""


app.command()(demo)
app.command()(export)
app.command()(ingest)
app.command()(run)
app.command()(resume)
app.command()(search)
app.command()(runs)
app.command()(show)
app.command()(report)
app.command()(top)
app.command()(view)
app.command()(trace)
app.command()(diff)
app.command()(doctor)
app.command()(config)
app.add_typer(dashboards, name="dashboards")
app.add_typer(registry, name="registry")
app.add_typer(slo, name="slo")
app.add_typer(spool, name="spool")
