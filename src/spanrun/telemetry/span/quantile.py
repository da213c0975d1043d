"""`RunningQuantile`: a quantile of what came lately; `Slowness`: what is above it."""

from __future__ import annotations

import math
from threading import RLock
from typing import Final

FEWEST: Final = 100
"""Values without which nothing is said: the p99 of fewer is their maximum."""

_STEPS: Final = 8  # buckets for each doubling: each is 9 % wide
_KEPT: Final = 2_000
_SMALLEST: Final = 1e-9
_OFTEN: Final = 50  # values between two looks


class RunningQuantile:
    """The quantile ``q`` of the latest few thousand positive values.

    They are counted in buckets that are 9 % wide, and all counts are halved now
    and then: it follows a service that changes. Not safe against other threads.

    Attributes:
        value: An upper bound of the quantile, so that values which hardly differ
            aren't above it; infinite before there are enough of them.
    """

    __slots__ = ("_added", "_counts", "_q", "_total", "_until", "value")

    def __init__(self, q: float) -> None:
        self.value = math.inf
        self._q: Final = q
        self._added: list[float] = []
        self._counts: dict[int, int] = {}
        self._total = 0
        self._until = FEWEST

    def add(self, value: float) -> None:
        """Take in a value."""
        self._added.append(value)
        if len(self._added) >= self._until:
            self._look()

    def _look(self) -> None:
        added, self._added = self._added, []  # a span may end in between
        for value in added:
            bucket = math.ceil(math.log2(max(value, _SMALLEST)) * _STEPS)
            self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._total += len(added)
        self._until = _OFTEN
        above = int((1 - self._q) * self._total)
        for bucket in sorted(self._counts, reverse=True):
            above -= self._counts[bucket]
            if above < 0:
                self.value = 2 ** (bucket / _STEPS)
                break
        if self._total >= _KEPT:
            halves = ((bucket, n // 2) for bucket, n in self._counts.items())
            self._counts = {bucket: n for bucket, n in halves if n}
            self._total = sum(self._counts.values())


class Slowness:
    """See ``_core.pyi``."""

    __slots__ = ("_allowed", "_lock", "_p99")

    def __init__(self, allowed: float | None) -> None:
        self._allowed: Final = allowed
        self._p99: Final = RunningQuantile(0.99)
        self._lock: Final = RLock()  # the garbage collector may end a span in it

    def is_slow(self, seconds: float) -> bool:
        """Whether ``seconds`` are long."""
        with self._lock:
            is_slow = seconds > self._p99.value
            self._p99.add(seconds)
        return is_slow or (self._allowed is not None and seconds >= self._allowed)
