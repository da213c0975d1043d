"""The units in C: `NativeJob` and `NativeCall` with some methods from there."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanKind

from spanrun.speed import FAST, bind
from spanrun.telemetry.current import (
    ATTEMPT,
    CURRENT_SPAN,
    VARIABLE,
    WAY_OUT,
    WayOut,
)
from spanrun.telemetry.metrics.c_cells import Gate, Histogram, Sum
from spanrun.telemetry.native_call import NativeCall
from spanrun.telemetry.native_job import NativeJob
from spanrun.telemetry.open_units import CallKind
from spanrun.telemetry.spans.origin import Origin
from spanrun.telemetry.spans.recorded import Recorded


class FastJob(NativeJob):
    """A `NativeJob` whose attempt and success are told in C."""

    __slots__ = ()


class FastCall(NativeCall):
    """A `NativeCall` that is entered and left in C."""

    __slots__ = ()


def _bind() -> bool:
    if not FAST or not isinstance(VARIABLE, ContextVar):
        return False
    bind(
        FastJob,
        FastCall,
        Recorded,
        (Origin, Gate, WayOut, CallKind, Sum, Histogram),
        Context,
        VARIABLE,
        CURRENT_SPAN,
        ATTEMPT,
        WAY_OUT,
        DEFAULT_TRACE_STATE,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    )
    return True


BOUND: Final = _bind()
"""Whether they are in use."""
