"""`Limit`: how many jobs run at once."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from typing import Any

from spanrun.errors import ConfigurationError
from spanrun.policies.base import Binding, Step, Work, at_least


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``concurrency`` jobs run at once; the others wait for a slot.

    Waiting jobs are served by priority, the higher first, and in order of
    arrival inside a priority. A job can't starve: each ``ageing`` seconds of
    waiting weigh as much as one step of priority.

    Example:
        >>> Limit(32)
        Limit(concurrency=32, ageing=1.0)
    """

    concurrency: int
    ageing: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.concurrency, bool) or not isinstance(
            self.concurrency,
            int,  # pyright: ignore[reportUnnecessaryIsInstance]
        ):
            raise ConfigurationError(
                f"Limit(concurrency={self.concurrency!r}): must be a whole number"
            )
        at_least("Limit", "concurrency", self.concurrency, 1)
        at_least("Limit", "ageing", self.ageing, 0)

    def bind(self, binding: Binding) -> Slots:
        """The slot keeper of one runner."""
        return Slots(self.concurrency, self.ageing, binding)


class Slots:
    """Keeps the slots: the layer of `Limit`.

    A freed slot is handed to the first waiter in the same step, so nobody who
    comes later can take it, and it is given back when that waiter was
    cancelled in between.
    """

    def __init__(self, limit: int, ageing: float, binding: Binding) -> None:
        self.limit = limit
        self.used = 0
        self._ageing = ageing
        self._now = binding.clock.now
        self._order = itertools.count()
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return sum(not waiter.done() for _, _, waiter in self._waiters)

    def wrap(self, inner: Step) -> Step:
        """Hold a slot around ``inner``."""

        async def slot(job: Work) -> Any:
            if self.used < self.limit and not self._waiters:
                self.used += 1
            else:
                await self._wait(job)
            try:
                return await inner(job)
            finally:
                self.release()

        return slot

    def release(self) -> None:
        """Give a slot back, or to the first that waits."""
        self.used -= 1
        if self._waiters:
            self._wake()

    def resize(self, limit: int) -> None:
        """Change the limit. Jobs beyond a lower limit finish undisturbed."""
        self.limit = limit
        self._wake()

    async def _wait(self, job: Work) -> None:
        waiter = asyncio.get_running_loop().create_future()
        since = self._now()
        rank = since - job.priority * self._ageing
        heapq.heappush(self._waiters, (rank, next(self._order), waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()
            else:
                self._wake()  # drops this waiter when it stands first
            raise
        finally:
            job.timings.limit += self._now() - since

    def _wake(self) -> None:
        waiters = self._waiters
        while waiters and (waiters[0][2].done() or self.used < self.limit):
            waiter = heapq.heappop(waiters)[2]
            if not waiter.done():
                self.used += 1
                waiter.set_result(None)
