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

OUTSIDE: Final = otel_context.create_key("spanrun-outside")
"""The key under which the context of a unit has its span, and the context around it."""

TOLD: Final = otel_context.create_key("spanrun-told")
"""The key under which it has the `OpenSpan` of the unit, where that isn't the span."""

current: Callable[[], Context] = otel_context.get_current
"""Gives the current context."""
make_current: Callable[[Context], object] = otel_context.attach
"""Makes a context the current one, in this task."""

# Nearly always it is a context variable, and three calls can be one.
_variable: ContextVar[Any] | None = getattr(
    getattr(otel_context, "_RUNTIME_CONTEXT", None), "_current_context", None
)

if _variable is not None:
    current, make_current = _variable.get, _variable.set


def inside(span: object, outside: Context, attempt: int | None = None) -> Context:
    """Return a context in which ``span`` is the current one, within ``outside``.

    With ``attempt`` it also has the number of a job's attempt.
    """
    # Not of the class `Context`, an instance of which costs three times as much: all
    # that is more is that it refuses to be changed.
    context: Any = outside.copy()
    context[CURRENT_SPAN] = span
    context[OUTSIDE] = span, outside
    if attempt is not None:
        context[ATTEMPT] = attempt
    return context  # type: ignore[no-any-return] # see above


def open_context(context: Context) -> Context:
    """Return the innermost context, from ``context`` outwards, whose unit is open.

    A unit may end while it is current: a generator that holds one is left by `break`,
    and closed later; or two are closed in the order in which they were opened. Its
    span is no parent any more, and what began around it still is.
    """
    way: Any = context.get(OUTSIDE)
    while way is not None:
        span, outside = way
        if span is not context.get(CURRENT_SPAN):
            break
        told: Any = context.get(TOLD)
        unit = told if told is not None and told.otel is span else span
        if getattr(unit, "has_ended", False) is not True:
            break
        context, way = outside, outside.get(OUTSIDE)
    return context


def leave(context: Context, outside: Context) -> None:
    """Make ``outside`` current again, unless ``context`` isn't the current one.

    There is no token to hand back: where a generator is closed in another context
    than it ran in, that would fail. Here it changes nothing.
    """
    if current() is context:
        make_current(open_context(outside))


def attempt_number() -> int:
    """Which attempt of its job this code runs in; 1 outside of any."""
    number = current().get(ATTEMPT)
    return number if isinstance(number, int) else 1
