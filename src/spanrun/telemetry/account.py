"""What became of the telemetry itself, to the last span.

::

    produced + recovered = delivered + spooled + sampled out + dropped + waiting

``recovered`` was left on disk by another process and taken over here; ``spooled``
is left on disk here. Both are known at the end, when nothing waits any more.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, TypeAlias

from spanrun.semconv import (
    SpanrunTelemetryReason,
    SpanrunTelemetryResult,
    SpanrunTelemetrySignal,
)
from spanrun.telemetry.queue.accounting import SpoolStatus, described

Row: TypeAlias = tuple[
    SpanrunTelemetrySignal, SpanrunTelemetryResult, SpanrunTelemetryReason, int
]


class Account:
    """Counts every item of telemetry, once. Safe from any thread."""

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may end a span while this is held.
        self._lock = threading.RLock()
        self.produced: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.delivered: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.dropped: Final[
            Counter[tuple[SpanrunTelemetrySignal, SpanrunTelemetryReason]]
        ] = Counter()
        self.spooled: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.recovered: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.sampled_out: Final[Counter[SpanrunTelemetrySignal]] = Counter()
        self.over_budget: Final[
            Counter[tuple[SpanrunTelemetrySignal, SpanrunTelemetryReason]]
        ] = Counter()
        self.processed: Final[Counter[str]] = Counter()

    def process(self, spans: int, failure: str = "") -> None:
        """``spans`` left their queue; or were lost in it, and why."""
        with self._lock:
            self.processed[failure] += spans

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

    def fault(self, signal: SpanrunTelemetrySignal) -> None:
        """One that should have been is lost, by a fault in spanrun or a processor."""
        with self._lock:
            self.produced[signal] += 1
            self.dropped[signal, "internal_error"] += 1

    def leave_out(
        self,
        signal: SpanrunTelemetrySignal,
        items: int,
        reason: SpanrunTelemetryReason = "none",
    ) -> None:
        """``items`` were left out by the sampler; or by its budget for ``reason``."""
        with self._lock:
            self.sampled_out[signal] += items
            if reason != "none":
                self.over_budget[signal, reason] += items

    def settle(self, status: SpoolStatus) -> None:
        """The spool is closed: what is in it stays for another process."""
        with self._lock:
            for signal, known in status.signals.items():
                self.spooled[signal] = known.on_disk
                self.recovered[signal] = known.recovered

    def after_fork(self) -> None:
        """In the child: nothing was counted yet; the parent counts on."""
        self._lock = threading.RLock()
        for counter in (
            self.produced,
            self.delivered,
            self.dropped,
            self.spooled,
            self.recovered,
            self.sampled_out,
            self.over_budget,
            self.processed,
        ):
            counter.clear()

    @property
    def lost(self) -> str:
        """What is lost, and why, in words; empty when nothing is."""
        with self._lock:
            return described(self.dropped)

    def results(self) -> list[Row]:
        """Rows of signal, result, reason and count, as the metric reports them."""
        with self._lock:
            rows: list[Row] = []
            for signal, count in self.delivered.items():
                rows.append((signal, "delivered", "none", count))
            over: Counter[SpanrunTelemetrySignal] = Counter()
            for (signal, reason), count in self.over_budget.items():
                rows.append((signal, "sampled_out", reason, count))
                over[signal] += count
            for signal, count in self.sampled_out.items():
                rows.append((signal, "sampled_out", "none", count - over[signal]))
            for signal, count in self.spooled.items():
                rows.append((signal, "spooled", "none", count))
            for (signal, reason), count in self.dropped.items():
                rows.append((signal, "dropped", reason, count))
        return rows
