"""`Books`: where each item went, as one sum that has to come out even.

::

    produced + recovered = delivered + dropped + waiting

``recovered`` are items that another process produced, and left on disk.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.delivery.frames import SIGNALS, Signal


class Tally(Protocol):
    """Who is told of each item when its fate is known. Called on any thread."""

    def deliver(self, signal: Signal, items: int) -> None:
        """``items`` were acknowledged."""
        ...

    def drop(self, signal: Signal, reason: SpanrunTelemetryReason, items: int) -> None:
        """``items`` are lost, and why."""
        ...


class Books:
    """Counts what was handed over, delivered and dropped. Safe from any thread."""

    def __init__(self, tally: Tally) -> None:
        self._tally: Final = tally
        self.reset()

    def reset(self) -> None:
        """Begin anew: in the child of a fork."""
        # Again from the same thread: the garbage collector may end a span in here.
        self._lock = threading.RLock()
        self.produced: Counter[Signal] = Counter(dict.fromkeys(SIGNALS, 0))
        self.delivered: Counter[Signal] = Counter(dict.fromkeys(SIGNALS, 0))
        self.dropped: Counter[tuple[Signal, SpanrunTelemetryReason]] = Counter()

    def produce(self, signal: Signal, items: int) -> None:
        """``items`` were handed over."""
        with self._lock:
            self.produced[signal] += items

    def deliver(self, signal: Signal, items: int) -> None:
        """``items`` were acknowledged."""
        with self._lock:
            self.delivered[signal] += items
        self._tally.deliver(signal, items)

    def drop(self, signal: Signal, items: int, reason: SpanrunTelemetryReason) -> None:
        """``items`` are lost, and why."""
        with self._lock:
            self.dropped[signal, reason] += items
        self._tally.drop(signal, reason, items)

    def dropped_of(self, signal: Signal) -> dict[SpanrunTelemetryReason, int]:
        """What was lost of ``signal``, by reason."""
        with self._lock:
            return {
                reason: count
                for (whose, reason), count in self.dropped.items()
                if whose == signal
            }


@dataclass(frozen=True, slots=True)
class SignalStatus:
    """What became of one signal's items, and how its destination does.

    Attributes:
        produced: Handed over in this process.
        recovered: Taken over from processes that are gone.
        delivered: Acknowledged by the receiver.
        dropped: Lost, by reason.
        in_memory: Waiting, and lost if the process is killed now.
        on_disk: Waiting in the spool.
        destination: Where they go.
        trouble: Why the last request failed; empty when it didn't.
        retry_in: Seconds until the next request, after a failure.
    """

    produced: int
    recovered: int
    delivered: int
    dropped: Mapping[SpanrunTelemetryReason, int]
    in_memory: int
    on_disk: int
    destination: str
    trouble: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How delivery stands.

    Attributes:
        signals: By signal.
        bytes_on_disk: Of what this process has in the spool.
        damaged: Places in spool files where no frame could be read.
        disk_trouble: Why the spool can't be written; empty when it can.
    """

    signals: Mapping[Signal, SignalStatus]
    bytes_on_disk: int
    damaged: int
    disk_trouble: str
