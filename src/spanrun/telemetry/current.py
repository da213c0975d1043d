"""OpenTelemetry's context, which has the current span, by the shortest way."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

(CURRENT_SPAN,) = set_span_in_context(INVALID_SPAN, Context())
"""The key under which a context has its span; OpenTelemetry doesn't tell it."""

ATTEMPT: Final = otel_context.create_key("spanrun-attempt")
"""The key under which it has the number of a job's attempt."""

WAY_OUT: Final = otel_context.create_key("spanrun-way-out")
"""The key under which it has the `WayOut` of the unit that it was made for."""

current: Callable[[], Context] = otel_context.get_current
"""Gives the current context."""
make_current: Callable[[Context], object] = otel_context.attach
"""Makes a context the current one, in this task."""

# Nearly always it is a context variable, and three calls can be one.
VARIABLE: ContextVar[Any] | None = getattr(
    getattr(otel_context, "_RUNTIME_CONTEXT", None), "_current_context", None
)
"""The context variable; None where OpenTelemetry keeps its context elsewhere."""

if VARIABLE is not None:
    current, make_current = VARIABLE.get, VARIABLE.set


class WayOut:
    """What is outside of a unit, and whether it was left.

    Attributes:
        outside: The context that was current before.
        left: The unit isn't to be current again.
    """

    __slots__ = ("left", "outside")

    def __init__(self, outside: Context) -> None:
        self.outside = outside
        self.left = False


def go_back_to(outside: Context) -> None:
    """Make ``outside`` current or, if its unit was left before, what is outside of it.

    Units may be closed in another order than the reverse of their opening.
    """
    while isinstance(way := outside.get(WAY_OUT), WayOut) and way.left:
        outside = way.outside
    make_current(outside)


def attempt_number() -> int:
    """Which attempt of its job this code runs in; 1 outside of any."""
    number = current().get(ATTEMPT)
    return number if isinstance(number, int) else 1
