"""`Timeout`: how long one attempt, and the whole job, may take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Literal

from spanrun.checks import above, field, optional
from spanrun.errors import ConfigurationError, DeadlineExceeded
from spanrun.policies.base import Binding, Cancels, Step, Work


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
        return None if self.total is None else Bound("total", self.total, binding)

    def attempt_layer(self, binding: Binding) -> Bound | None:
        """The inner layer, for ``attempt``."""
        return None if self.attempt is None else Bound("attempt", self.attempt, binding)


class Bound:
    """Cancels what runs in it when its time is up, and says so.

    As `asyncio.timeout` does, with less work where nothing runs out. All have the same
    time, so who comes first is due first, and one timer serves them all. A timer for
    each would cost 5 times as much (`bench/policies.py`: 5.2 µs a job, and 1.0 so).

    Args:
        scope: What is bounded: an attempt from now on, or all of a job since it was
            submitted.
        seconds: How long it may take.
        binding: Says what held the loop up, and cancels.
    """

    def __init__(
        self, scope: Literal["attempt", "total"], seconds: float, binding: Binding
    ) -> None:
        self._scope: Final = scope
        self._seconds: Final = seconds
        self._blocked: Final = binding.blocked
        self._cancels: Final = binding.cancels
        self._due: Final[dict[_Alarm, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """The runner is closed: nothing is left to watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wrap(self, inner: Step) -> Step:
        """Bound ``inner``'s time."""
        due, seconds, cancels = self._due, self._seconds, self._cancels
        is_total = self._scope == "total"

        async def bounded(job: Work) -> Any:
            task = job.task
            assert task is not None  # noqa: S101 -- a job always runs in a task
            before = task.cancelling()
            alarm = _Alarm(job)
            left = seconds
            if is_total:
                left -= job.timings.queue + job.timings.loop_lag
            due[alarm] = task.get_loop().time() + left
            if self._timer is None:
                self._watch(left)
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
            elapsed = self._seconds + max(0.0, now - due)
            alarm.error = DeadlineExceeded(
                # A timer that is late was held up, also where nobody saw by what.
                self._scope,
                self._seconds,
                elapsed,
                max(self._blocked(elapsed), elapsed - self._seconds),
            )
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

    def take(self) -> DeadlineExceeded:
        """The error. Kept here as well, its traceback would hold itself."""
        error, self.error = self.error, None
        assert error is not None  # noqa: S101 -- it has rung
        return error
