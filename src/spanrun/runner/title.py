"""The title of a run: what it does, in the words of who called for it."""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import Context, ContextVar
from typing import Final

from spanrun.semconv import SPANRUN_RUN_TITLE
from spanrun.telemetry.redact import redact
from spanrun.telemetry.units.unit import Unit

_title: Final[ContextVar[str | None]] = ContextVar("spanrun-title", default=None)


def titled(title: str | None) -> ExitStack:
    """Have the runs that are opened until the stack ends show ``title``, if any."""
    stack = ExitStack()
    if title:
        stack.callback(_title.reset, _title.set(title))
    return stack


def show_title(unit: Unit | None, inside: Context) -> None:
    """Put the title, if there is one, on the span of a run that is being opened.

    Args:
        unit: The run's.
        inside: The context of its jobs: the runs that these open have no title.
    """
    title = _title.get()
    if title is not None and unit is not None:
        unit.set(SPANRUN_RUN_TITLE, redact(title))
        inside.run(_title.set, None)
