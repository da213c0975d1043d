"""`Balance`: lends the slots that a worker has no use for to one that has.

There are never more slots than the runner's limit. One that is taken from a worker is
given to another when nothing can run in it any more. The driver knows: a worker runs no
more than it has jobs without an outcome, and is given no others meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from spanrun.runner.dispatched import Worker

_LONG: Final = 2
"""A worker has so few jobs ahead when each takes a tenth of a second or more: one that
waits for its slot in a worker of short ones has it before it could be lent another."""


class Balance:
    """Says how many slots each worker has.

    Args:
        workers: All of them, each with the share that is its due.
        tell: Tells a worker how many slots it has.
    """

    def __init__(
        self, workers: Sequence[Worker], tell: Callable[[int, int], None]
    ) -> None:
        self._workers: Final = workers
        self._limit: Final = sum(each.due for each in workers)
        self._tell: Final = tell

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

    def _give(self, worker: Worker, share: int) -> None:
        worker.share = share
        self._tell(worker.place, share)

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
