"""``--engine``: where the jobs of a command run."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from spanrun.cli.exits import Exit, fail
from spanrun.runner.engine import Engine

Where: TypeAlias = Annotated[
    Literal["process", "ray"] | None,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="Run the jobs in other processes: process, of this machine; ray, of a "
        "cluster.  [default: in this one]",
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Of the --engine.  [default: one for each processor]"
    ),
]


def engine_of(
    where: Literal["process", "ray"] | None, workers: int | None
) -> Engine | None:
    """The engine that is asked for."""
    if where is None:
        if workers is not None:
            fail(Exit.USAGE, "--workers: of what?", "Name an --engine.")
        return None
    from spanrun import engines  # noqa: PLC0415 -- few use one

    if where == "process":
        return engines.ProcessEngine(workers)
    return engines.RayEngine() if workers is None else engines.RayEngine(workers)
