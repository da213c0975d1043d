"""`Limit`: how many jobs run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from spanrun.checks import at_least, field, whole
from spanrun.policies._line import Line
from spanrun.policies.base import Binding, Step, Work
from spanrun.speed import Slots as _Slots


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
        field(self, "concurrency", whole, 1)
        field(self, "ageing", at_least, 0)

    def bind(self, binding: Binding) -> Slots:
        """The slot keeper of one runner."""
        return Slots(self.concurrency, self.ageing, binding)


class Slots(_Slots):
    """Keeps the slots: the layer of `Limit`.

    A freed slot is handed to the first waiter in the same step, so nobody who
    comes later can take it, and it is given back when that waiter was
    cancelled in between.

    Attributes:
        limit: How many slots there are.
        used: How many of them are taken.
        places: Of who waits; empty when nobody does.
        on_growth: Called when there are more slots than before.
        on_resize: Called with the new limit.
        on_wait: Called with a job that is about to wait, and the slots taken; gives
            what is to be cancelled when it has one, or raises in its place.
    """

    def __init__(self, limit: int, ageing: float, binding: Binding) -> None:
        self.limit = limit
        self.used = 0
        self.on_growth: Callable[[], None] | None = None
        self.on_resize: Callable[[int], None] | None = None
        self.on_wait: Callable[[Any, int], asyncio.TimerHandle | None] | None = None
        self._now = binding.clock.now
        self._line: Final = Line(ageing)
        self.places = self._line.places

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._line)

    def age(self, now: float) -> float:
        """Seconds that the job has waited that waits longest; from any thread."""
        return self._line.age(now)

    def wrap(self, inner: Step) -> Step:
        """Hold a slot around ``inner``."""

        async def slot(job: Work) -> Any:
            if not self.take():
                await self.wait(job)
            try:
                return await inner(job)
            finally:
                self.release()

        return slot

    def resize(self, limit: int) -> None:
        """Change the limit, at once. Jobs beyond a lower limit finish undisturbed."""
        grows, self.limit = limit > self.limit, limit
        if self.on_resize is not None:
            self.on_resize(limit)
        self.wake()
        if grows and self.on_growth is not None:
            self.on_growth()

    async def wait(self, job: Work) -> None:
        """Wait for a slot, and take it. The wait is booked as ``limit``."""
        since = self._now()
        watch = None if self.on_wait is None else self.on_wait(job, self.used)
        waiter = self._line.join(job.priority, since)
        job.waits = "limit"
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()
            else:
                self._line.leave()
                self.wake()  # who joined behind a cancelled one
            raise
        finally:
            if watch is not None:
                watch.cancel()
            job.waits = None
            job.timings.limit += self._now() - since

    def wake(self) -> None:
        """Serve who waits, as far as there are slots."""
        line = self._line
        while self.used < self.limit and line.first():
            self.used += 1
            line.serve()
