"""A context on its way to another process: W3C's ``traceparent`` and ``baggage``.

Whatever propagators the application has set, both ends are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_BOTH: Final = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
)


def carrier_of(context: Context) -> dict[str, str]:
    """What of ``context`` another process may know: its span, and its baggage."""
    carrier: dict[str, str] = {}
    _BOTH.inject(carrier, context)
    return carrier


def context_of(carrier: Mapping[str, str]) -> Context:
    """The context that `carrier_of` was given, as far as it is told."""
    return _BOTH.extract(dict(carrier), Context())
