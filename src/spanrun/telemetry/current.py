"""What the current context of OpenTelemetry says, beside its span."""

from __future__ import annotations

from typing import Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

(CURRENT_SPAN,) = set_span_in_context(INVALID_SPAN, Context())
"""The key under which a context has its span; OpenTelemetry doesn't tell it."""

_ATTEMPT: Final = otel_context.create_key("spanrun-attempt")


def with_attempt(context: Context, span: Span, number: int) -> Context:
    """A copy of ``context`` with the span of an attempt, and the attempt's number."""
    return Context({**context, CURRENT_SPAN: span, _ATTEMPT: number})


def attempt_number() -> int:
    """Which attempt of its job this code runs in; 1 outside of any."""
    number = otel_context.get_value(_ATTEMPT)
    return number if isinstance(number, int) else 1
