"""Time, as one thing that tests can replace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol


class Clock(Protocol):
    """A source of time.

    ``now`` never goes back and has an arbitrary zero; only differences count.
    ``wall_ns`` says where such a reading stands on the calendar. The two are
    anchored to each other once, so that a step of the system's clock (NTP, a
    resumed laptop) can't give a span a negative duration.
    """

    @property
    def now(self) -> Callable[[], float]:
        """Called, it gives the seconds on the monotonic clock."""
        ...

    def wall_ns(self, now: float) -> int:
        """The reading ``now`` as nanoseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock: `time.perf_counter`, anchored when it is made."""

    def __init__(self) -> None:
        self.now: Final = time.perf_counter
        self._wall: Final = time.time_ns()
        self._mono: Final = time.perf_counter()

    def wall_ns(self, now: float) -> int:
        """The reading ``now`` as nanoseconds since the Unix epoch."""
        return self._wall + int((now - self._mono) * 1e9)
