"""`RateLimit`: how many calls begin in a time, and the pause a service asked for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from spanrun.checks import above, field, optional, text, whole
from spanrun.errors import ConfigurationError
from spanrun.policies._line import Line
from spanrun.policies.base import Binding, Step, Work

_AGEING: Final = 1.0
"""Seconds in the line that weigh as much as one step of priority, as in `Limit`."""
_APART: Final = 0.1
"""Seconds: a timer's lateness is nothing to tokens that are this far apart."""
_EARLY: Final = 1e-6
"""Seconds that a loop's timer may be early by this clock."""
_LENT: Final = 0.02
"""Of the ``per`` seconds: how late a call may begin elsewhere after its token."""
_LATEST: Final = 0.1
"""Seconds: the most that this is."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``rate`` calls begin in any ``per`` seconds; the others wait.

    Calls are spaced evenly. A rate that wasn't used is not saved up, beyond
    ``burst`` calls that may begin at once: then a window can hold ``burst`` − 1
    more. (Tokens by GCRA, the leaky bucket as a meter: ITU-T I.371.)

    Waiting calls are served by priority and then by arrival, as with `Limit`.
    After the pause that a service asked for they are spaced again, so they don't
    all return at once.

    Args:
        rate: Calls in ``per`` seconds; needs not be whole.
        per: Seconds.
        burst: Calls that may begin at once after a quiet time.
        name: Runners on one event loop whose rates have the same name draw from
            the same tokens, and pause together.

    Example:
        >>> RateLimit(200)
        RateLimit(rate=200, per=1.0, burst=1, name=None)
    """

    rate: float
    per: float = 1.0
    burst: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        field(self, "rate", above, 0)
        field(self, "per", above, 0)
        field(self, "burst", whole, 1)
        field(self, "name", optional(text))

    def bind(self, binding: Binding) -> Gate:
        """The gate of one runner or, given a name, of all that share it.

        Raises:
            ConfigurationError: An open runner has other numbers under the name.
        """
        tokens = None if self.name is None else _shared(self, binding)
        return Gate(binding, self, tokens)


class Pace:
    """When the next token is due: the algorithm, apart from who waits.

    A token is due ``interval`` after the one before. Who asks later than that
    gains nothing by it, except for `spare` seconds (the burst). Who *waited* is
    let in by a timer, which is late by a millisecond or so; up to `slack`
    seconds of that are made up for by the next ones. To keep to the rate in
    every window nevertheless, tokens are ``(per + slack) / rate`` apart: half a
    per cent, where lost lateness would cost 10 or more at 200 a second.
    """

    __slots__ = ("due", "held_until", "interval", "slack", "spare")

    def __init__(self, rate: RateLimit | None) -> None:
        self.due = self.held_until = -math.inf
        self.slack = self.interval = self.spare = 0.0
        if rate is not None:
            if rate.per / rate.rate < _APART:
                self.slack = min(0.01, rate.per / 200)
            self.interval = (rate.per + self.slack) / rate.rate
            self.spare = (rate.burst - 1) * self.interval

    def lend(self, rate: RateLimit) -> None:
        """Space tokens for calls that begin elsewhere, up to `lateness` after them."""
        self.interval = (rate.per + self.slack + lateness(rate)) / rate.rate
        self.spare = (rate.burst - 1) * self.interval

    def take(self, now: float, late: float = 0.0) -> None:
        """Take the token that is due, as if ``late`` seconds ago."""
        self.due = max(self.due, now - late - self.spare) + self.interval

    def begin(self, now: float) -> None:
        """Who took a token begins only now: the loop was held up in between."""
        self.due = max(self.due, now - self.slack - self.spare + self.interval)

    def give_back(self) -> None:
        """The last token that was taken isn't needed."""
        self.due = max(self.due - self.interval, self.held_until)

    def hold(self, until: float) -> None:
        """No token is due before ``until``, and then one at a time."""
        self.held_until = max(self.held_until, until)
        self.due = max(self.due, until)


class Tokens:
    """The tokens of one rate, and who waits for them: what gates that share it have.

    One timer serves all who wait.

    Attributes:
        rate: What was asked for; None only has the pauses.
        pace: When the next one is due.
        paused: Nobody may go on before the pace says so.
        users: Open gates that have it by its name.
        line: Who waits.
    """

    def __init__(self, binding: Binding, rate: RateLimit | None) -> None:
        self.rate = rate
        self.pace = Pace(rate)
        self.paused = False
        self.users = 0
        self.line: Final = Line(_AGEING)
        self._now: Final = binding.clock.now
        self._timer: asyncio.TimerHandle | None = None

    def pause(self, seconds: float) -> None:
        """Hold every call back for ``seconds`` from now, or longer if it is so."""
        self.pace.hold(self._now() + seconds)
        self.paused = True

    async def wait(self, job: Work, since: float) -> None:
        """Wait for a token, and take it. The wait is booked as ``rate_limit``."""
        waiter = self.line.join(job.priority, since)
        if self._timer is None:
            self.serve()
        job.waits = "rate_limit"
        try:
            await waiter
            self.pace.begin(self._now())
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.pace.give_back()
                self.serve()
            else:
                self.line.leave()
                if not self.line.first():
                    self.serve()  # stops the timer
            raise
        finally:
            job.waits = None
            ended = self._now()
            job.timings.rate_limit += ended - since
            paused = min(self.pace.held_until, ended) - since
            if paused > 0:
                job.paused(paused)

    def serve(self) -> None:
        """Let in who may go now, and set the timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        line, pace, now = self.line, self.pace, self._now()
        while line.first():
            if pace.due > now + _EARLY:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(pace.due - now, self.serve)
                return
            line.serve()
            pace.take(now, pace.slack)
        if pace.held_until <= now:
            self.paused = False


class Gate:
    """Lets calls of one runner begin when they may: the layer of `RateLimit`.

    Without a rate it only holds calls back until the pause that a service asked
    for is over. One job's ``Retry-After`` is news for all: without the gate the
    others go on calling a service that has just said when to call again.

    Attributes:
        tokens: Its own, or those that it shares with others.
        taken: How many its calls have taken.
        waited: How many of these a call had to wait for.
        on_pause: Told of each pause that a service asks one of its calls for.
    """

    def __init__(
        self,
        binding: Binding,
        rate: RateLimit | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.tokens: Final = tokens or Tokens(binding, rate)
        self.taken = self.waited = 0
        self.on_pause: Callable[[float], object] | None = None
        self._now = binding.clock.now

    @property
    def rate(self) -> RateLimit | None:
        """What it keeps to."""
        return self.tokens.rate

    @property
    def waiting(self) -> int:
        """How many jobs wait for a token."""
        return len(self.tokens.line)

    def age(self, now: float) -> float:
        """Seconds that the job has waited that waits longest; from any thread."""
        return self.tokens.line.age(now)

    def pause(self, seconds: float) -> None:
        """Hold every call back for ``seconds`` from now, or longer if it is so."""
        self.tokens.pause(seconds)
        if self.on_pause is not None:
            self.on_pause(seconds)

    def close(self) -> None:
        """The runner that bound this is closed."""
        self.tokens.users -= 1

    def wrap(self, inner: Step) -> Step:
        """Let a job into ``inner`` when a token is due and the gate is open."""
        now, tokens, places = self._now, self.tokens, self.tokens.line.places

        # No coroutines: mostly a job need not wait.
        def gated(job: Work) -> Awaitable[Any]:
            return waiting(job, now()) if tokens.paused else inner(job)

        def paced(job: Work) -> Awaitable[Any]:
            moment, pace = now(), tokens.pace
            if places or moment < pace.due:
                return waiting(job, moment)
            pace.take(moment)
            self.taken += 1
            return inner(job)

        async def waiting(job: Work, since: float) -> Any:
            await tokens.wait(job, since)
            self.taken += 1
            self.waited += 1
            return await inner(job)

        return gated if self.rate is None else paced


def lateness(rate: RateLimit) -> float:
    """Seconds after which a token that was sent to another process is lost."""
    return min(_LATEST, rate.per * _LENT)


_known: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Tokens]]] = (
    WeakKeyDictionary()
)


def _shared(rate: RateLimit, binding: Binding) -> Tokens:
    assert rate.name is not None  # noqa: S101 -- asked for by `bind`
    known = _known.setdefault(asyncio.get_running_loop(), {})
    tokens = known.get(rate.name)
    if tokens is None:
        tokens = known[rate.name] = Tokens(binding, rate)
    elif tokens.rate != rate:
        if tokens.users:
            raise ConfigurationError(
                f"{rate}: an open runner has {tokens.rate} under this name; give both "
                "the same numbers, or another name"
            )
        # The new numbers hold from now on; what was drawn or paused still counts.
        pace = Pace(rate)
        pace.due, pace.held_until = tokens.pace.due, tokens.pace.held_until
        tokens.rate, tokens.pace = rate, pace
    tokens.users += 1
    return tokens
