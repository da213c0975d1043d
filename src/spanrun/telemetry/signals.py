"""`Signal`: what a request carries, and in which order signals are looked at."""

from __future__ import annotations

from typing import Final, TypeAlias

from spanrun.semconv import SpanrunTelemetrySignal

Signal: TypeAlias = SpanrunTelemetrySignal

SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")
"""The place of each is its number in a frame on disk."""
