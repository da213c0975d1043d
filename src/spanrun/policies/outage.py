"""`Outage`: while a service is gone its runner's jobs wait, and one of them probes it.

The state behind ``Retry(outage=…)``, shared by the calls of one runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from spanrun.errors import CircuitOpen
from spanrun.policies.base import Binding, Layer, Step, Work
from spanrun.policies.overload import STATUSES, status_of

_LEAST: Final = 5
_MOST: Final = 16
"""Failures in a row that are an outage: as many as calls run, within these."""
_PROBES: Final = 12
"""The longest interval between two probes is this part of the time to outlast."""
_SHORTEST: Final = 1_000
"""The shortest one is this part."""
_EARLY: Final = 1e-6
"""Seconds that a loop's timer may be early by this clock."""

outlasting: Final[ContextVar[bool | None]] = ContextVar(
    "spanrun-outlasting", default=None
)
"""Whether what is called here outlasts an outage. It does where nobody said no."""


class Patience(Protocol):
    """What `Outage` needs to know of a `Retry`."""

    @property
    def base(self) -> float:
        """Seconds before the first probe."""
        ...

    @property
    def cap(self) -> float:
        """Seconds between two probes at most."""
        ...

    def wants(self, error: Exception) -> bool:
        """Whether ``error`` is worth another attempt."""
        ...


class Running(Protocol):
    """What runs now."""

    @property
    def used(self) -> int:
        """How many slots are taken."""
        ...


class _Place(NamedTuple):
    """Where a job waits, and since when."""

    waiter: asyncio.Future[None]
    since: float


class _Began(BaseException):
    """The outage has begun while a job waited for its slot or token."""


class Outage:
    """The layer that holds the calls of one runner back while its service is gone.

    The service is gone when as many calls as run at once have failed in a row, by
    errors that `Retry` names and that `looks_gone`; the calls of any job count. Then
    jobs wait here, without a slot, and one at a time goes on as the *probe*, at
    intervals that grow. When a probe is answered all go on, even if by an error of
    the job's own. A probe that is cancelled is followed by the next one.

    Each run waits for ``seconds``, from its first job that meets the outage. Then its
    jobs go on, and their errors stand.

    Attributes:
        on: The service is gone.
        answers: Calls that were answered.
        seconds: For which a run waits.
        standby: The layer that sends back who waited for a slot as it began.
        on_change: Called with the error that began it, or None at its end, and the
            seconds since the first failure.
    """

    def __init__(
        self, policy: Patience, seconds: float, binding: Binding, running: Running
    ) -> None:
        self.on = False
        self.answers = 0
        self.standby: Final[Layer] = _Standby(self)
        self.on_change: Callable[[Exception | None, float], object] | None = None
        self._policy: Final = policy
        self.seconds: Final = seconds
        self._now: Final = binding.clock.now
        self._uniform: Final = binding.random.uniform
        self._running: Final = running
        self._era = 0  # a call that began in another one has no say
        self._row = 0  # failures since the last answer
        self._since = self._last = 0.0  # the first and the last of them
        self._deadlines: Final[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()
        self._waiting: Final[dict[Work, _Place]] = {}
        self._prober: Work | None = None
        self._probes = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def age(self, now: float) -> float:
        """Seconds that the job has waited that waits longest; from any thread."""
        places = tuple(self._waiting.values())
        return max((now - place.since for place in places), default=0.0)

    def close(self) -> None:
        """The runner is closed: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wrap(self, inner: Step) -> Step:
        """Hold ``inner`` back during an outage, and learn from how it ends."""

        async def held(job: Work) -> Any:
            while True:
                if self.holds(job):
                    job.held()
                while self.holds(job):
                    await self._turn(job)
                era = self._era
                try:
                    value = await inner(job)
                except _Began:
                    continue
                except Exception as error:
                    if era == self._era:
                        self._failed(job, error)
                    raise
                finally:
                    if self._prober is job:
                        self._prober = None
                        self._next()
                if era == self._era:
                    self._answered()
                return value

        return held

    def holds(self, job: Work) -> bool:
        """Whether ``job`` must not call now."""
        if not self.on or self._prober is job or outlasting.get() is False:
            return False
        return not self.outlasted(job)

    def outlasted(self, job: Work) -> bool:
        """Whether the run of ``job`` has waited long enough in this outage."""
        now, idle = self._now(), self._prober is None and not self._waiting
        if idle and now - self._last > self.seconds:  # nobody has asked since
            self._deadlines.clear()
        until = self._deadlines.setdefault(job.run, now + self.seconds)
        return now + _EARLY >= until

    def begin(self, error: Exception) -> None:
        """The service is gone, as ``error`` says."""
        now = self._now()
        if not self._row:
            self._since = self._last = now
        self.on = True
        self._era += 1
        self._probes = 0
        self._set_due(now)
        if self.on_change is not None:
            self.on_change(error, now - self._since)

    def _end(self) -> None:
        self.on = False
        self._era += 1
        self._prober = None
        self._deadlines.clear()
        self.close()
        self._release(lambda _: True)
        if self.on_change is not None:
            self.on_change(None, self._now() - self._since)

    def _answered(self) -> None:
        self.answers += 1
        self._row = 0
        if self.on:
            self._end()

    def _failed(self, job: Work, error: Exception) -> None:
        if isinstance(error, CircuitOpen):  # it was not asked at all
            return
        if not self._policy.wants(error):
            self._answered()
            return
        now = self._now()
        if self.on:
            if self._prober is job:
                self._last = now
                self._probes += 1
                self._set_due(now)
                self._release(self.outlasted)
            return
        if not looks_gone(error):
            return
        self._last = now
        if not self._row:
            self._since = now
        self._row += 1
        if self._row >= min(max(_LEAST, self._running.used), _MOST):
            self.begin(error)

    def _set_due(self, now: float) -> None:
        """When the next probe is due: the last one when a run's time is up."""
        doubled = self._policy.base * 2.0 ** min(self._probes, 64)
        longest = min(self._policy.cap, self.seconds / _PROBES, doubled)
        interval = max(longest, self.seconds / _SHORTEST)
        due = now + self._uniform(interval / 2, interval)
        left = (until for until in self._deadlines.values() if until > now + _EARLY)
        self._due = min((due, *left))

    async def _turn(self, job: Work) -> None:
        """Wait for the outage's end, or to be the probe."""
        since = self._now()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[job] = _Place(waiter, since)
        self._next()
        job.waits = "rate_limit"
        try:
            await waiter
        except asyncio.CancelledError:
            if self._prober is job:
                self._prober = None
            raise
        finally:
            self._waiting.pop(job, None)
            job.waits = None
            job.timings.rate_limit += self._now() - since
            self._next()

    def _next(self) -> None:
        """Send the next probe, or set the timer for it."""
        self.close()
        if not self.on or self._prober is not None or not self._waiting:
            return
        left = self._due - self._now()
        if left > _EARLY:
            self._timer = asyncio.get_running_loop().call_later(left, self._next)
            return
        for job, (waiter, _) in self._waiting.items():
            if not waiter.done():
                self._prober = job
                waiter.set_result(None)
                return

    def _release(self, which: Callable[[Work], bool]) -> None:
        for job, (waiter, _) in self._waiting.items():
            if not waiter.done() and which(job):
                waiter.set_result(None)


class _Standby:
    """Sends a job back that has waited while the outage began."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage

    def wrap(self, inner: Step) -> Step:
        outage = self._outage

        def checked(job: Work) -> Awaitable[Any]:
            if outage.on and outage.holds(job):
                raise _Began
            return inner(job)

        return checked


def looks_gone(error: Exception) -> bool:
    """Whether ``error`` may come of a service that is gone, as it has no other status.

    A 500 may lie in what was sent: some services answer so to a text too long.
    """
    return status_of(error) in (None, *STATUSES)
