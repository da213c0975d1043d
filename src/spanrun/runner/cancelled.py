"""`Cancellations`: what was cancelled and doesn't end is said, and may be given up.

A task can swallow its cancellation, or take long to clean up. Whoever awaits it waits
as long as that takes, as a task group does. But not in silence: after 5 s a line of
log says which job it is and where it is, and then each 30 s; of all others of the
runner it only has the number. With ``abandon_after``
the runner gives it up then: the job has its outcome, its task keeps its slot until it
really ends, and what it gives at last is dropped and counted.

It costs nothing for a job that nobody cancels: there is one timer for those that were.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from typing import Any, Final

from spanrun.outcome import CancelledBy
from spanrun.runner.job import Job, which
from spanrun.runner.stack import stack
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.observe import Observers, RunEvent

_log: Final = Log(__name__)

FIRST: Final = 5.0
"""Seconds after a cancellation at which it is said that the task hasn't ended …"""
AGAIN: Final = 30.0
"""… and from one time to the next."""
_PAUSE: Final = AGAIN - 1.0  # a timer may be late, and the next one in time
_MOST: Final = 10
"""Stacks that are taken at one time."""
_EARLY: Final = 1e-6  # a loop's timer may be early

_BY: Final[dict[CancelledBy, str]] = {
    "self": "from inside",
    "run": "with its run",
    "timeout": "by a timeout",
    "signal": "by a signal",
}


class _Cancelled:
    """A task that was cancelled and has not ended.

    Attributes:
        job: Whose it is; None for the source of a run.
        since: When it was cancelled, by the loop's time.
        say_at: When that is to be said.
        abandon_at: When it is to be given up.
        ends: The task is to end, and not only what was cancelled in it.
        abandoned: It was given up.
        stuck: It was said that it doesn't end.
    """

    __slots__ = (
        "abandon",
        "abandon_at",
        "abandoned",
        "by",
        "ends",
        "job",
        "say_at",
        "since",
        "stuck",
    )

    def __init__(
        self,
        job: Job | None,
        by: CancelledBy,
        since: float,
        abandon_after: float,
        abandon: Callable[[], object],
    ) -> None:
        self.job = job
        self.by: CancelledBy = by
        self.since = since
        self.say_at = since + FIRST
        self.abandon_at = since + abandon_after
        self.abandon = abandon
        self.ends = self.abandoned = self.stuck = False

    @property
    def due(self) -> float:
        """When it is to be looked at."""
        return self.say_at if self.abandoned else min(self.say_at, self.abandon_at)

    @property
    def name(self) -> str:
        """Whose task it is."""
        return "the source of a run" if self.job is None else which(self.job)


class Cancellations:
    """Cancels the tasks of one runner, and sees to it that they end.

    Args:
        runner: Its name.
        loop: Where it runs.
        abandon_after: Seconds after a cancellation at which a task is given up.

    Attributes:
        metrics: Of the runner; None without telemetry.
        observers: Who hears of what is stuck.
    """

    def __init__(
        self, runner: str, loop: asyncio.AbstractEventLoop, abandon_after: float | None
    ) -> None:
        self._runner: Final = runner
        self._loop: Final = loop
        self._abandon_after: Final = (
            math.inf if abandon_after is None else abandon_after
        )
        self._tasks: Final[dict[asyncio.Task[Any], _Cancelled]] = {}
        self._timer: asyncio.TimerHandle | None = None
        # What is done here is no part of whichever job happens to run.
        self._context: Final = contextvars.Context()
        self._seldom: Final = Seldom(_PAUSE, loop.time)
        self.metrics: RunnerMetrics | None = None
        self.observers = Observers()

    @property
    def stuck(self) -> int:
        """How many have not ended long after their cancellation."""
        return sum(each.stuck for each in tuple(self._tasks.values()))

    @property
    def abandoned(self) -> int:
        """How many were given up and have not ended."""
        return sum(each.abandoned for each in tuple(self._tasks.values()))

    def cancel(
        self,
        task: asyncio.Task[Any],
        job: Any,
        by: CancelledBy,
        *,
        abandon: Callable[[], object] | None = None,
        ends: bool = False,
    ) -> None:
        """Cancel ``task``, and look after it until it ends, or `obeyed` is called.

        Args:
            task: That of a job, of another call for it, or of a run's source.
            job: None for a source.
            by: In whose name.
            abandon: Called when it is to be given up; else the job is.
            ends: The task is to end by that, whatever `obeyed` says.
        """
        task.cancel()
        known = self._tasks.get(task)
        if known is None:
            if task.done():
                return
            if abandon is None:
                abandon = lambda: job.abandon(by)  # noqa: E731 -- short
            now = self._loop.time()
            known = _Cancelled(job, by, now, self._abandon_after, abandon)
            self._tasks[task] = known
            task.add_done_callback(self._forget, context=self._context)
            self._ring_at(known.due)
        known.ends = known.ends or ends

    def obeyed(self, task: asyncio.Task[Any]) -> None:
        """What was cancelled in ``task`` has ended; the task may go on."""
        known = self._tasks.get(task)
        if known is not None and not known.ends:
            self._forget(task)

    def abandon(self) -> None:
        """Give up what was cancelled and has not ended."""
        for task, each in tuple(self._tasks.items()):
            if not each.abandoned and not task.done():
                self._give_up(task, each)

    def late(self, job: Job, error: BaseException | None) -> None:
        """``job`` ends, long after it was given up: nobody wants its result."""
        if isinstance(error, GeneratorExit):
            return  # its task was destroyed
        if self.metrics is not None:
            self.metrics.late()
        gave = "a value" if error is None else type(error).__name__
        _log.warning(
            "%s of runner %r, which was abandoned, has ended after all: %s is dropped",
            *(which(job), self._runner, gave),
        )

    def close(self) -> None:
        """The runner is closed: nobody waits for what is left."""
        self._tasks.clear()
        self._set_timer(None)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not self._tasks:
            self._set_timer(None)

    def _ring_at(self, when: float) -> None:
        if self._timer is None or when < self._timer.when():
            call_at = self._loop.call_at
            self._set_timer(call_at(when, self._ring, context=self._context))

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time() + _EARLY
        found: list[tuple[asyncio.Task[Any], _Cancelled]] = []
        for task, each in tuple(self._tasks.items()):
            if task.done():
                continue
            if each.abandon_at <= now and not each.abandoned:
                self._give_up(task, each)
            elif each.say_at <= now:
                each.stuck, each.say_at = True, now + AGAIN
                found.append((task, each))
        self._say_stuck(found, now)
        due = [each.due for task, each in self._tasks.items() if not task.done()]
        if due:
            self._ring_at(min(due))

    def _give_up(self, task: asyncio.Task[Any], each: _Cancelled) -> None:
        now = self._loop.time()
        each.abandoned = each.stuck = True
        each.say_at = now + AGAIN
        where = stack(task)
        self._say(each, now, where, "")
        self._note(each, now - each.since, where)
        each.abandon()

    def _say_stuck(
        self, stuck: list[tuple[asyncio.Task[Any], _Cancelled]], now: float
    ) -> None:
        """Log the first of them in full, if it is time for a line, and count others."""
        for place, (task, each) in enumerate(stuck):
            where = stack(task) if place < _MOST else ""
            more = self._seldom()
            if more is not None:
                left = len(stuck) - 1
                others = f"; so are {left} more" if left else ""
                self._say(each, now, where, f"{others}{more}")
            self._note(each, now - each.since, where)

    def _say(self, each: _Cancelled, now: float, where: str, more: str) -> None:
        if each.abandoned:
            follows = "it is abandoned, and keeps its slot until it ends"
        elif self._abandon_after < math.inf:
            follows = f"it is waited for, {self._abandon_after:g} s at most"
        else:
            follows = "it is waited for (abandon_after=… of the runner bounds that)"
        _log.warning(
            "%s of runner %r was cancelled %s %.0f s ago and has not ended: %s%s",
            *(each.name, self._runner, _BY[each.by], now - each.since, follows, more),
            stack=where,
        )

    def _note(self, each: _Cancelled, seconds: float, where: str) -> None:
        value: dict[str, object] = {
            "seconds": seconds,
            "by": each.by,
            "abandoned": each.abandoned,
        }
        if each.job is not None:
            each.job.happened("stuck", stack=where or None, **value)
            return
        value["source_of"] = self._runner
        now = time.time_ns()
        event = RunEvent(now, "stuck", None, None, value, where or None)
        self.observers.happened(event)
