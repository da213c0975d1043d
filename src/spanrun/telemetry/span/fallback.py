"""The interface of `spanrun._core`, in plain Python."""

from __future__ import annotations

from spanrun.telemetry.redact import redact
from spanrun.telemetry.span.buffer import (
    ERROR,
    EXEMPLAR,
    RETRIED,
    ROOT,
    SLOW,
    Batch,
    Buffer,
)
from spanrun.telemetry.span.ids import random_bits, reseed
from spanrun.telemetry.span.quantile import Slowness
from spanrun.telemetry.span.scope import Scope
from spanrun.telemetry.span.span import Span
from spanrun.telemetry.span.tail import Tail
from spanrun.telemetry.units.recorder import JOB, RUN

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
    "redact",
    "reseed",
]
