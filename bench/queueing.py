"""A service with a queue in front, in simulated time, for the adaptive limit."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    ``fails`` gives the share of calls that fail at random, at the end of their time.
    """

    def __init__(
        self,
        capacity: int,
        seconds: Seconds = noisy,
        *,
        refuses: float | None = None,
        fails: Callable[[float], float] = lambda _: 0.0,
        seed: int = 1,
    ) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self.refuses = refuses
        self.fails = fails
        self.chance = random.Random(seed)
        self.now = 0.0
        self.busy = 0
        self.done = 0
        self.refused = 0
        self._queue: deque[float] = deque()
        self._ends: list[tuple[float, float, bool]] = []

    @property
    def calls(self) -> int:
        """Calls that are running or queue."""
        return len(self._ends) + len(self._queue)

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
            self.busy -= 1
            share = self.fails(self.now)
            answered = not share or self.chance.random() >= share
        self.done += answered
        self.refused += not answered
        while self._queue and self.busy < self.capacity:
            self._begin(self._queue.popleft())
        return since, answered

    def _begin(self, since: float) -> None:
        self.busy += 1
        end = self.now + self.seconds(self.chance)
        heapq.heappush(self._ends, (end, since, True))


class Limiter(Protocol):
    """An adaptive limit, apart from who keeps its slots."""

    limit: int

    def learn(
        self, since: float, now: float, seconds: float | None, used: int
    ) -> bool: ...


@dataclass
class History:
    """The limit over time, as pairs of a moment and the limit from then on."""

    limits: Sequence[tuple[float, int]]
    end: float

    def during(self, begin: float, end: float) -> list[tuple[float, int]]:
        """Pairs of seconds and limit."""
        moments = [moment for moment, _ in self.limits[1:]] + [self.end]
        spans = [
            (min(until, end) - max(since, begin), limit)
            for (since, limit), until in zip(self.limits, moments, strict=True)
        ]
        return [(seconds, limit) for seconds, limit in spans if seconds > 0]

    def mean(self, begin: float, end: float) -> float:
        spans = self.during(begin, end)
        return sum(s * limit for s, limit in spans) / sum(s for s, _ in spans)

    def share(self, low: float, high: float, begin: float, end: float) -> float:
        """The share of the time in which the limit was in these bounds."""
        spans = self.during(begin, end)
        inside = sum(s for s, limit in spans if low <= limit <= high)
        return inside / sum(s for s, _ in spans)

    def reached(self, low: float, high: float, begin: float = 0.0) -> float:
        """Seconds from ``begin`` until the limit was in these bounds."""
        for moment, limit in self.limits:
            if moment >= begin and low <= limit <= high:
                return moment - begin
        return float("inf")


def simulate(
    service: Service,
    limiter: Limiter,
    seconds: float,
    *,
    demand: float = float("inf"),
    changes: Sequence[tuple[float, int]] = (),
) -> History:
    """Call ``service`` as often at once as ``limiter`` allows, for ``seconds``.

    ``demand`` bounds the calls at once as well; ``changes`` are moments and the
    service's capacity from then on.
    """
    used = service.calls
    limits = [(service.now, limiter.limit)]
    left = list(changes)
    while service.now < seconds:
        while left and left[0][0] <= service.now:
            service.capacity = left.pop(0)[1]
        while used < min(limiter.limit, demand):
            service.call()
            used += 1
        since, answered = service.next()
        now = service.now
        if limiter.learn(since, now, now - since if answered else None, used):
            limits.append((now, limiter.limit))
        used -= 1
    return History(limits, service.now)
