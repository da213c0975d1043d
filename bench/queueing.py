"""A service with a queue in front, in simulated time, for the adaptive limit."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

Seconds = Callable[[random.Random], float]


def constant(_: random.Random) -> float:
    return 1.0


def noisy(chance: random.Random) -> float:
    return chance.lognormvariate(0.0, 0.2)


def exponential(chance: random.Random) -> float:
    return chance.expovariate(1.0)


class Service:
    """Does ``capacity`` calls at once. The others queue, or are refused.

    ``refuses`` is how long a refusal takes, in seconds; None means that calls queue.
    """

    def __init__(
        self,
        capacity: int,
        seconds: Seconds = noisy,
        *,
        refuses: float | None = None,
        seed: int = 1,
    ) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self.refuses = refuses
        self.chance = random.Random(seed)
        self.now = 0.0
        self.busy = 0
        self.done = 0
        self.refused = 0
        self._queue: deque[float] = deque()
        self._ends: list[tuple[float, float, bool]] = []

    def call(self) -> None:
        """A call arrives."""
        if self.busy < self.capacity:
            self._begin(self.now)
        elif self.refuses is None:
            self._queue.append(self.now)
        else:
            heapq.heappush(self._ends, (self.now + self.refuses, self.now, False))

    def next(self) -> tuple[float, bool]:
        """The next call ends: when it arrived, and whether it was answered."""
        self.now, since, answered = heapq.heappop(self._ends)
        if answered:
            self.done += 1
            self.busy -= 1
        else:
            self.refused += 1
        while self._queue and self.busy < self.capacity:
            self._begin(self._queue.popleft())
        return since, answered

    def _begin(self, since: float) -> None:
        self.busy += 1
        end = self.now + self.seconds(self.chance)
        heapq.heappush(self._ends, (end, since, True))
