"""``spanrun config``: the settings that are in force here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any

import typer

from spanrun import settings
from spanrun.cli import console, session
from spanrun.telemetry.export.destination import destination
from spanrun.telemetry.signals import SIGNALS


def config(
    *,
    show_origin: Annotated[
        bool,
        typer.Option("--show-origin", help="Also where each value comes from."),
    ] = False,
    as_json: session.AsJson = False,
) -> None:
    """Show every setting that a program started here would have."""
    chosen = settings.load(environ=os.environ, directory=settings.here())
    found = list(_found(chosen))
    if as_json:
        told = {name: {"value": value, "origin": at} for name, value, at in found}
        console.give(json.dumps(told))
        return
    width = max(len(name) for name, _, _ in found)
    for name, value, at in found:
        shown = "not set" if value in (None, "") else console.line(str(value))
        origin = f"  ({at})" if show_origin else ""
        console.give(f"{name:<{width}}  {shown}{origin}")


def _found(chosen: settings.Settings) -> Iterator[tuple[str, Any, str]]:
    """Name, value and origin. An endpoint is shown as where it really leads."""
    origins = chosen.origins
    yield "disabled", not chosen.enabled, origins["disabled"]
    for signal in SIGNALS:
        where = chosen.signal(signal)
        exporter = f"{signal}_exporter"
        yield exporter, where.exporter, origins[exporter]
        if where.exporter == "otlp":
            leads = destination(signal, where, os.environ)
            yield f"{signal}_protocol", where.protocol, where.origins["protocol"]
            yield f"{signal}_endpoint", leads.label, where.origins["endpoint"]
    for name in (each.name for each in fields(chosen) if each.name in origins):
        value = getattr(chosen, name)
        plain = value if isinstance(value, int | float | None) else str(value)
        yield name, plain, origins[name]
