"""`Retry`: which errors are worth another attempt, how many, and when."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from spanrun.causes import leaves
from spanrun.checks import above, at_least, field, optional, whole
from spanrun.errors import CircuitOpen, ServiceError
from spanrun.policies.base import Binding, Step, Work
from spanrun.policies.limit import Slots
from spanrun.policies.outage import Outage, Running, looks_gone, outlasting
from spanrun.policies.overload import On, check_on, matches
from spanrun.policies.rate import Gate
from spanrun.speed import FAST, FirstAttempts

_MAX_DOUBLINGS: Final = 64
"""Beyond this a float overflows sooner than any sensible cap is reached."""

_SAVED: Final = 100
"""Retries that a calm time can save up: a storm after it finds no more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again when an attempt fails with an error that ``on`` names.

    The wait before attempt *n* + 1 is drawn between 0 and
    ``min(cap, base · 2ⁿ⁻¹)`` ("full jitter", M. Brooker, *Exponential Backoff
    and Jitter*, AWS Architecture Blog, 2015). Where the error has a
    ``retry_after``, the wait is at least that long, ``retry_after_cap`` at
    most, and every other job of the runner holds its next call for as long.
    A job that waits holds no slot.

    A *budget* keeps retries from becoming a storm: each first attempt earns
    ``budget`` of a retry, and ``reserve`` of them are lent to start with; when
    it is spent, an error stands. At most 100 are saved up. ``budget=None`` turns
    that off.

    With ``outage`` a run isn't lost to a service that is gone for a while. When calls
    fail one after another, whichever jobs they are of, all jobs of the runner wait;
    one at a time probes the service, at intervals that grow up to ``cap`` or a
    twelfth of ``outage``; and all go on when it answers. What fails meanwhile takes
    nothing of ``attempts`` and ``budget``. A run for which that lasts longer than
    ``outage`` fails by the service's own error. Failures between successes, and a
    status of 500, are no outage; a job's total timeout goes on.

    Args:
        on: Exception types, or a predicate. There is no default, as retrying
            what can't succeed, or can't be repeated, does harm.
        attempts: How many attempts in all, the first included.
        base: Seconds: the bound of the first wait.
        cap: Seconds: no wait is drawn longer than this.
        retry_after_cap: Seconds: the most that a service can ask for.
        budget: Retries allowed per first attempt.
        reserve: Retries allowed before that many are earned.
        outage: Seconds for which the service may be gone; None has the attempts and
            the budget alone.

    Example:
        >>> Retry(on=ConnectionError, attempts=4).attempts
        4
    """

    on: On
    attempts: int = 3
    base: float = 0.1
    cap: float = 30.0
    retry_after_cap: float = 60.0
    budget: float | None = 0.1
    reserve: int = 10
    outage: float | None = None

    def __post_init__(self) -> None:
        check_on("Retry", self.on)
        field(self, "attempts", whole, 1)
        field(self, "base", at_least, 0)
        field(self, "cap", at_least, self.base, infinite=True)
        field(self, "retry_after_cap", at_least, 0, infinite=True)
        field(self, "budget", optional(above), 0)
        field(self, "reserve", whole, 0)
        field(self, "outage", optional(above), 0)

    def wants(self, error: Exception) -> bool:
        """Whether ``error`` is worth another attempt: itself, or all that it groups."""
        if self._names(error):
            return True
        if not isinstance(error, BaseExceptionGroup):
            return False
        parts = list(leaves(error))
        return bool(parts) and all(map(self._names, parts))

    def _names(self, error: BaseException) -> bool:
        if isinstance(error, ServiceError) and error.final:
            return False
        return isinstance(error, Exception) and matches(self.on, error)

    def outage_layer(self, binding: Binding, running: Running) -> Outage | None:
        """The layer that waits while the service is gone; None without ``outage``."""
        if self.outage is None:
            return None
        return Outage(self, self.outage, binding, running)

    def bind(
        self,
        binding: Binding,
        gate: Gate,
        slots: Slots | None = None,
        outage: Outage | None = None,
    ) -> Retrier:
        """The layer of one runner, which shares ``gate`` and ``outage`` with its calls.

        With ``slots``, it is their layer as well.
        """
        return Retrier(self, binding, gate, slots, outage)


@dataclass(slots=True)
class _Count:
    """What a job's failures cost it.

    Attributes:
        free: Attempts that don't count, as an outage came after them.
        answers: Of the service, when the first one that counts failed.
        asks: The next attempt needs somebody's leave.
    """

    free: int = 0
    asks: bool = False
    answers: int | None = None


class Retrier:
    """The layer of `Retry`.

    With ``slots`` it is the layer of the limit as well, where nothing is between the
    two: a coroutine less is on each job's way.

    Attributes:
        ask: Gives leave for a retry, where the budget is kept by somebody else.
    """

    def __init__(
        self,
        policy: Retry,
        binding: Binding,
        gate: Gate,
        slots: Slots | None,
        outage: Outage | None,
    ) -> None:
        self._policy = policy
        self._now = binding.clock.now
        self._uniform = binding.random.uniform
        self._gate = gate
        self._slots = slots
        self._outage = outage
        self.ask: Callable[[], Awaitable[bool]] | None = None
        self._firsts = 0
        self._in_c: FirstAttempts | None = None
        self._spent = 0.0

    def wrap(self, inner: Step) -> Step:
        """Repeat ``inner`` until it succeeds, or its error stands."""
        attempt = self._attempt(inner)

        async def retry(job: Work) -> Any:
            self._firsts += 1
            try:
                return await attempt(job)
            except BaseException as error:
                others = again(job, error)
                if others is None:
                    raise
            return await others

        def again(job: Work, error: BaseException) -> Awaitable[Any] | None:
            """Return the attempts that follow on ``error``; None where that stands."""
            count = _Count()
            delay = self._delay_after(job, error, count)
            if delay is None:
                return None
            return self._repeat(attempt, job, error, delay, count)

        if not FAST:
            return retry
        self._in_c = FirstAttempts(inner, self._slots, retry, again)
        return self._in_c

    async def _repeat(
        self,
        attempt: Step,
        job: Work,
        error: BaseException,
        delay: float,
        count: _Count,
    ) -> Any:
        """Attempt it again, until that succeeds or an error stands."""
        try:
            while True:
                if not await self._may(job, error, count):
                    raise error
                await self._back_off(job, error, delay)
                try:
                    return await attempt(job)
                except BaseException as raised:
                    another = self._delay_after(job, raised, count)
                    if another is None:
                        raise
                    error, delay = raised, another
        finally:
            del error  # its traceback holds this frame: don't make a cycle of them

    def _attempt(self, inner: Step) -> Step:
        """One attempt: its span and its slot around ``inner``."""
        slots = self._slots

        async def attempt(job: Work) -> Any:
            unit = job.unit
            job.attempts += 1
            if unit is not None:
                unit.begin_attempt(job.attempts)
            try:
                if slots is None:
                    value = await inner(job)
                else:
                    if not slots.take():
                        await slots.wait(job)
                    try:
                        value = await inner(job)
                    finally:
                        slots.release()
            except BaseException as error:
                if unit is not None:
                    unit.end_attempt(job.attempts, error)
                raise
            if unit is not None:
                unit.end_attempt(job.attempts, None)
            return value

        return attempt

    @property
    def firsts(self) -> int:
        """How many jobs had a first attempt."""
        return self._firsts + (self._in_c.firsts if self._in_c else 0)

    def _delay_after(
        self, job: Work, error: BaseException, count: _Count
    ) -> float | None:
        """How long to wait for another attempt; None when ``error`` stands."""
        if not isinstance(error, Exception):  # the user's own: `on` says which
            return None
        outage = self._outage if outlasting.get() is not False else None
        refused = outage is not None and isinstance(error, CircuitOpen)
        if not refused and not self._policy.wants(error):
            return None
        if _cancelled():  # and the error came in place of that
            return None
        if outage is None:
            delay = self._within_limits(job, error, count)
        else:
            delay = self._outlast(outage, job, error, count)
        return delay

    async def _may(self, job: Work, error: BaseException, count: _Count) -> bool:
        """Whether another attempt has the leave that it needs."""
        asks, count.asks = count.asks, False
        if not asks or self.ask is None or await self.ask():
            return True
        _refuse(job, error)
        return False

    def _within_limits(
        self, job: Work, error: Exception, count: _Count
    ) -> float | None:
        attempts = job.attempts - count.free
        if attempts >= self._policy.attempts:
            return None
        if not self.spend():
            _refuse(job, error)
            return None
        count.asks = self.ask is not None
        return self._delay(attempts, error)

    def _outlast(
        self, outage: Outage, job: Work, error: Exception, count: _Count
    ) -> float | None:
        """As `_within_limits`, unless the service is gone: then `Outage` says when."""
        refused = isinstance(error, CircuitOpen)
        if not outage.on and not refused:
            if count.answers is None:
                count.answers = outage.answers
            unanswered = count.answers == outage.answers
            delay = self._within_limits(job, error, count)
            if delay is not None or not (unanswered and looks_gone(error)):
                return delay
        if not outage.on:
            outage.begin(error)
        if outage.outlasted(job):
            _note(
                error, f"no retry: the service was gone for {self._policy.outage:g} s"
            )
            return None
        count.free, count.answers = job.attempts, None
        if refused:
            return self._delay(1, error)
        self._pause(error)
        return 0.0

    async def _back_off(self, job: Work, error: BaseException, delay: float) -> None:
        job.backing_off(cast("Exception", error), delay)
        since = self._now()
        job.waits = "backoff"
        try:
            await asyncio.sleep(delay)
        finally:
            job.waits = None
            job.timings.backoff += self._now() - since
            job.back()

    def earn(self, count: int) -> None:
        """So many jobs had a first attempt somewhere else."""
        self._firsts += count

    def spend(self) -> bool:
        """Take a retry off the budget, if there is one left."""
        budget, spent = self._budget()
        if spent + 1 > budget:
            return False
        self._spent = spent + 1
        return True

    @property
    def has_budget(self) -> bool:
        """Whether retries are bounded."""
        return self._policy.budget is not None

    @property
    def left(self) -> float:
        """Retries that the budget allows; infinite without one."""
        budget, spent = self._budget()
        return budget - spent

    def _budget(self) -> tuple[float, float]:
        """How many retries there are in all, and how many of them are gone."""
        policy = self._policy
        if policy.budget is None:
            return math.inf, 0.0
        earned = policy.budget * self.firsts
        return max(policy.reserve, earned), max(self._spent, earned - _SAVED)

    def _delay(self, attempts: int, error: Exception) -> float:
        policy = self._policy
        doubled = policy.base * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS)
        return self._pause(error) + self._uniform(0, min(policy.cap, doubled))

    def _pause(self, error: Exception) -> float:
        """The seconds that the service asked for, in which nobody calls it."""
        asked = getattr(error, "retry_after", None)
        if not isinstance(asked, int | float) or not asked > 0:
            return 0.0
        pause = min(float(asked), self._policy.retry_after_cap)
        self._gate.pause(pause)
        return pause


def _refuse(job: Work, error: BaseException) -> None:
    job.refused("retry_budget")
    _note(error, "no retry: the runner's retry budget is used up")


def _note(error: BaseException, text: str) -> None:
    with suppress(Exception):  # an error of the user's that can't be changed
        error.add_note(text)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
