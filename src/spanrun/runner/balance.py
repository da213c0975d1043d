"""`Balance`: lends the slots that a worker has no use for to one that has.

There are never more slots than the runner's limit. One that is taken from a worker is
given to another when nothing can run in it any more. The driver knows: a worker runs no
more than it has jobs without an outcome, and is given no others meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from spanrun.runner.dispatched import AHEAD, Worker
from spanrun.runner.engine import Say

_LONG: Final = 2
"""A worker has so few jobs ahead when each takes a tenth of a second or more: one that
waits for its slot in a worker of short ones has it before it could be lent another."""


class Balance:
    """Says how many slots each worker has.

    Args:
        workers: All of them, each with the share that is its due.
        say: Tells a worker something: here how many slots it has.
        slowed: Told when a worker's jobs take much longer than those before them, of
            which no outcome tells. None: nobody looks.
        now: Reads the clock.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        say: Say,
        slowed: Callable[[], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers: Final = workers
        self._slowed: Final = slowed
        self._now: Final = now
        self._timer: asyncio.TimerHandle | None = None
        self._limit: Final = sum(each.due for each in workers)
        self._say: Final = say

    def begin(self, worker: Worker) -> None:
        """A worker begins, as if it had its due: of that others may have a part."""
        taken = sum(each.bounded() for each in self._workers if each.up)
        worker.bound = worker.share = max(0, min(worker.due, self._limit - taken))
        if worker.share != worker.due:
            self._give(worker, worker.share)

    def set(self, waiting: int) -> None:
        """Give each worker its slots, while so many jobs are in none."""
        up = [each for each in self._workers if each.up]
        goals = self._goals(up, waiting)
        for each, goal in zip(up, goals, strict=True):
            if goal < each.share:
                self._give(each, goal)
        left = self._limit - sum(each.bounded() for each in up)
        for each, goal in zip(up, goals, strict=True):
            share = min(goal, each.bound + left)
            if share > each.share:
                left -= max(0, share - each.bound)
                self._give(each, share)
                each.bounded()

        self._watch()

    def close(self) -> None:
        """No worker has anything to do any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self) -> None:
        """Look in a while whether the jobs that are there have become long ones."""
        has_jobs = any(each.load for each in self._workers)
        if has_jobs and self._timer is None and self._slowed is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(AHEAD, self._look, self._slowed)

    def _look(self, slowed: Callable[[], None]) -> None:
        self._timer = None
        now = self._now()
        if sum(each.slowed(now) for each in self._workers):
            slowed()
        self._watch()

    def _give(self, worker: Worker, share: int) -> None:
        worker.share = share
        self._say(worker.place, "limit", share)

    def _goals(self, up: Sequence[Worker], waiting: int) -> list[int]:
        """What is each one's due and, of what is left, what others have use for."""
        uses = [each.load + (0 if each.alone else waiting) for each in up]
        goals = [min(each.due, use) for each, use in zip(up, uses, strict=True)]
        left = self._limit - sum(goals)
        for place, each in enumerate(up):
            if each.ahead <= _LONG:
                more = max(0, min(left, uses[place] - goals[place]))
                goals[place] += more
                left -= more
        for place, each in enumerate(up):
            more = max(0, min(left, each.due - goals[place]))
            goals[place] += more
            left -= more
        return goals
