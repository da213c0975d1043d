"""What became of the telemetry itself: produced = delivered + dropped + waiting."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, TypeAlias

from spanrun.semconv import (
    SpanrunTelemetryReason,
    SpanrunTelemetryResult,
    SpanrunTelemetrySignal,
)

Row: TypeAlias = tuple[
    SpanrunTelemetrySignal, SpanrunTelemetryResult, SpanrunTelemetryReason, int
]


class Account:
    """Counts every item of telemetry, once. Safe from any thread."""

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may end a span while this is held.
        self._lock: Final = threading.RLock()
        self.produced: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.delivered: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.dropped: Final[
            Counter[tuple[SpanrunTelemetrySignal, SpanrunTelemetryReason]]
        ] = Counter()

    def produce(self, signal: SpanrunTelemetrySignal, items: int = 1) -> None:
        """``items`` were made."""
        with self._lock:
            self.produced[signal] += items

    def deliver(self, signal: SpanrunTelemetrySignal, items: int) -> None:
        """``items`` were taken by the other side."""
        with self._lock:
            self.delivered[signal] += items

    def drop(
        self,
        signal: SpanrunTelemetrySignal,
        reason: SpanrunTelemetryReason,
        items: int = 1,
    ) -> None:
        """``items`` are lost, and why."""
        with self._lock:
            self.dropped[signal, reason] += items

    def results(self) -> list[Row]:
        """Rows of signal, result, reason and count, as the metric reports them."""
        with self._lock:
            rows: list[Row] = []
            for signal, count in self.delivered.items():
                rows.append((signal, "delivered", "none", count))
            for (signal, reason), count in self.dropped.items():
                rows.append((signal, "dropped", reason, count))
        return rows
