"""Time, as one thing that tests can replace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol


class Clock(Protocol):
    """A source of time.

    ``now`` never goes back and has an arbitrary zero; only differences count.
    ``wall_ns`` says where such a reading stands on the calendar. The system's clock
    may be set (NTP, a resumed laptop), and what belongs together must not be torn
    apart by that: so each run keeps its ``wall_ns(0.0)``, and counts from there.
    """

    @property
    def now(self) -> Callable[[], float]:
        """Called, it gives the seconds on the monotonic clock."""
        ...

    def wall_ns(self, now: float) -> int:
        """The reading ``now`` as nanoseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock: `time.perf_counter`."""

    def __init__(self) -> None:
        self.now: Final = time.perf_counter

    def wall_ns(self, now: float) -> int:
        """The reading ``now`` as nanoseconds since the Unix epoch, by now."""
        return time.time_ns() + int((now - time.perf_counter()) * 1e9)
