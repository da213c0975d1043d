"""`Accounting`: where each item went, as one sum that has to come out even.

::

    produced + recovered = delivered + dropped + waiting

``recovered`` are items that another process produced, and left on disk.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.log import Log
from spanrun.telemetry.signals import SIGNALS, Signal

Losses: TypeAlias = Mapping[tuple[Signal, SpanrunTelemetryReason], int]
Lose: TypeAlias = Callable[[Signal, int, SpanrunTelemetryReason], None]
"""Called with the items that had to be given up, and why."""

# The registry has no reason of its own for a file that was found damaged.
DAMAGED: Final[SpanrunTelemetryReason] = "internal_error"

_log: Final = Log(__name__)

_SAY_EVERY: Final = 60.0  # seconds between two lines about what is lost
_ITEMS: Final[dict[Signal, str]] = {
    "traces": "spans",
    "metrics": "data points",
    "logs": "log records",
}
# Each refusal has a line of its own where it happens.
_SAID: Final = frozenset(("rejected", "partial_success"))


def described(losses: Losses) -> str:
    """As ``300 spans (queue_full), 2 data points (rejected)``; empty without a loss."""
    return ", ".join(
        f"{count:,} {_ITEMS[signal]} ({reason})"
        for (signal, reason), count in sorted(losses.items())
        if count
    )


def counted(items: Mapping[Signal, int]) -> str:
    """As ``300 spans, 2 data points``."""
    return ", ".join(f"{count:,} {_ITEMS[signal]}" for signal, count in items.items())


class Tally(Protocol):
    """Who is told of each item when its fate is known. Called on any thread."""

    def deliver(self, signal: Signal, items: int) -> None:
        """``items`` were acknowledged."""
        ...

    def drop(self, signal: Signal, reason: SpanrunTelemetryReason, items: int) -> None:
        """``items`` are lost, and why."""
        ...


class Accounting:
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
        self._say_at = 0.0
        self._said: Counter[tuple[Signal, SpanrunTelemetryReason]] = Counter()

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

    @property
    def lost(self) -> bool:
        """Whether any item was."""
        with self._lock:
            return any(self.dropped.values())

    def say_losses(self, now: float) -> None:
        """Log what was lost since the last time, once a minute; not refusals."""
        if now < self._say_at:
            return
        with self._lock:
            news = self.dropped - self._said
            self._said = self.dropped.copy()
        lost = {key: count for key, count in news.items() if key[1] not in _SAID}
        if lost:
            self._say_at = now + _SAY_EVERY
            _log.warning("given up: %s", described(lost))

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

    def troubles(self) -> list[str]:
        """What went wrong last at the disk, and at each destination."""
        disk = [f"the spool can't be written: {self.disk_trouble}"]
        return (disk if self.disk_trouble else []) + [
            f"{known.destination} doesn't take {signal}: {known.trouble}"
            for signal, known in self.signals.items()
            if known.trouble
        ]
