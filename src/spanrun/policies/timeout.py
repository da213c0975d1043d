"""`Timeout`: how long one attempt, and the whole job, may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from spanrun.checks import above, field, optional
from spanrun.errors import ConfigurationError, DeadlineExceeded
from spanrun.policies.base import CANCELS, Binding, Cancels, Step, Work

Blocked: TypeAlias = Callable[[float], float]
"""As `Binding.blocked`."""


@dataclass(frozen=True, slots=True)
class Timeout:
    """Bound one ``attempt``, and the ``total`` of a job, in seconds.

    ``attempt`` counts from the moment at which the attempt has its slot and
    its token; an attempt that runs out may be tried again. ``total`` counts
    every wait, every attempt and every back-off.

    Raises:
        DeadlineExceeded: As the job's error. It is a ``TimeoutError``.

    Example:
        >>> Timeout(attempt=5, total=30)
        Timeout(attempt=5, total=30)
    """

    attempt: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        field(self, "attempt", optional(above), 0)
        field(self, "total", optional(above), 0)
        if self.attempt and self.total and self.attempt > self.total:
            raise ConfigurationError(
                f"Timeout(attempt={self.attempt:g}, total={self.total:g}): attempt "
                "must be ≤ total, which holds all attempts and their waits"
            )

    def deadline_layer(self, binding: Binding) -> Bound | None:
        """The outer layer, for ``total``."""
        if self.total is None:
            return None
        return Bound(self.total, binding.blocked, binding.cancels)

    def attempt_layer(self, binding: Binding) -> AttemptBound | None:
        """The inner layer, for ``attempt``."""
        if self.attempt is None:
            return None
        return AttemptBound(self.attempt, binding.blocked, binding.cancels)


class Bound:
    """Cancels what runs in it when its time is up, and says so.

    Like `asyncio.timeout`, with less work where nothing runs out: the timer
    is one call to the loop, and a bound that isn't set is no layer at all.
    """

    def __init__(
        self, seconds: float, blocked: Blocked, cancels: Cancels = CANCELS
    ) -> None:
        self._seconds = seconds
        self._blocked = blocked
        self._cancels = cancels

    def wrap(self, inner: Step) -> Step:
        """Bound ``inner``'s time."""
        cancels = self._cancels

        async def bounded(job: Work) -> Any:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 -- a job always runs in a task
            before = task.cancelling()
            alarm = _Alarm(job)
            # The whole job's time runs from its submission.
            spent = job.timings.queue + job.timings.loop_lag
            loop = task.get_loop()
            due = loop.time() - spent + self._seconds
            handle = loop.call_at(due, self._ring, alarm, due, task)
            cancelled = False
            try:
                return await inner(job)
            except asyncio.CancelledError:
                cancelled = True
                raise
            finally:
                handle.cancel()
                # Ours, unless somebody else asked for cancellation as well.
                if alarm.error and _is_ours(task, before, cancels) and cancelled:
                    raise alarm.take() from None

        return bounded

    def _ring(self, alarm: _Alarm, due: float, task: asyncio.Task[Any]) -> None:
        late = max(0.0, asyncio.get_running_loop().time() - due)
        alarm.ring("total", self._seconds, late, self._blocked)
        self._cancels.cancel(task, alarm.job, "timeout")


class AttemptBound:
    """As `Bound`, for attempts: all have the same time, so one timer serves them.

    It rings for the attempt that began first. A timer for each one would cost
    5 times as much (`bench/policies.py`: 5.2 µs a job, and 1.0 so).
    """

    def __init__(
        self, seconds: float, blocked: Blocked, cancels: Cancels = CANCELS
    ) -> None:
        self._seconds = seconds
        self._blocked = blocked
        self._cancels = cancels
        self._due: dict[_Alarm, float] = {}  # the first is due first
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """The runner is closed: nothing is left to watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wrap(self, inner: Step) -> Step:
        """Bound ``inner``'s time."""
        due, seconds, cancels = self._due, self._seconds, self._cancels

        async def bounded(job: Work) -> Any:
            task = job.task
            assert task is not None  # noqa: S101 -- a job always runs in a task
            before = task.cancelling()
            alarm = _Alarm(job)
            due[alarm] = task.get_loop().time() + seconds
            if self._timer is None:
                self._watch(seconds)
            cancelled = False
            try:
                return await inner(job)
            except asyncio.CancelledError:
                cancelled = True
                raise
            finally:
                due.pop(alarm, None)
                # Ours, unless somebody else asked for cancellation as well.
                if alarm.error and _is_ours(task, before, cancels) and cancelled:
                    raise alarm.take() from None

        return bounded

    def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._due:
            alarm, due = next(iter(self._due.items()))
            if due > now + 1e-6:  # a loop's timer may be early
                self._watch(due - now)
                return
            del self._due[alarm]
            late = max(0.0, now - due)
            alarm.ring("attempt", self._seconds, late, self._blocked)
            task = alarm.job.task
            assert task is not None  # noqa: S101 -- a job always runs in a task
            self._cancels.cancel(task, alarm.job, "timeout")


def _is_ours(task: asyncio.Task[Any], before: int, cancels: Cancels) -> bool:
    """Whether what has ended in ``task`` was cancelled by us alone since ``before``."""
    cancels.obeyed(task)
    return task.uncancel() <= before


class _Alarm:
    """A job's time is up, and why that is raised then.

    Attributes:
        job: Whose time it is.
        error: What is to be raised; None until it has rung.
    """

    __slots__ = ("error", "job")

    def __init__(self, job: Work) -> None:
        self.job = job
        self.error: DeadlineExceeded | None = None

    def ring(
        self,
        scope: Literal["attempt", "total"],
        seconds: float,
        late: float,
        blocked: Blocked,
    ) -> None:
        elapsed = seconds + late
        # A timer that is late was held up, also where nobody has seen by what.
        self.error = DeadlineExceeded(
            scope, seconds, elapsed, max(blocked(elapsed), late)
        )

    def take(self) -> DeadlineExceeded:
        """The error. Kept here as well, its traceback would hold itself."""
        error, self.error = self.error, None
        assert error is not None  # noqa: S101 -- it has rung
        return error
