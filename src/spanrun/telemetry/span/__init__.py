"""Spans, compiled where that is possible and else in plain Python.

`fallback` has the same interface as `spanrun._core`, whose stub describes both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from spanrun.accelerator import core

__all__ = [
    "ERROR",
    "EXEMPLAR",
    "JOB",
    "RETRIED",
    "ROOT",
    "RUN",
    "SLOW",
    "Batch",
    "Buffer",
    "Scope",
    "Slowness",
    "Span",
    "Tail",
    "random_bits",
    "reseed",
]

if TYPE_CHECKING or hasattr(core, "Span"):
    from spanrun._core import (
        ERROR,
        EXEMPLAR,
        JOB,
        RETRIED,
        ROOT,
        RUN,
        SLOW,
        Batch,
        Buffer,
        Scope,
        Slowness,
        Span,
        Tail,
        random_bits,
        reseed,
    )
else:
    from spanrun.telemetry.span.fallback import (
        ERROR,
        EXEMPLAR,
        JOB,
        RETRIED,
        ROOT,
        RUN,
        SLOW,
        Batch,
        Buffer,
        Scope,
        Slowness,
        Span,
        Tail,
        random_bits,
        reseed,
    )

# OpenTelemetry gives out a current span only if it is one by this class.
trace.Span.register(Span)
