"""`Hedge`: a second call when the first takes longer than most."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, Literal

from spanrun.checks import above, field, one_of, whole
from spanrun.policies._quantile import Quantile
from spanrun.policies._race import Race
from spanrun.policies.base import Binding, Layer, Step, Work

_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_SAVED: Final = 10.0
"""Second calls that can be saved up: a storm after a calm time sends no more."""
_EARLY: Final = 1e-6
"""Seconds that a loop's timer may be early by this clock."""


@dataclass(frozen=True, slots=True)
class Hedge:
    """Call a second time when a call takes longer than most; the first answer counts.

    (J. Dean and L. A. Barroso, *The Tail at Scale*, CACM 56, 2013.) It shortens
    the slowest calls of services that are slow by chance, and only for calls
    that can be made twice.

    A second call waits for a slot and a token like any other. When one of the
    two succeeds, the other is cancelled and awaited. Only when both fail there
    is an error: the first of the two.

    Args:
        at: When to call again: after so many seconds in the first call (its own
            waits for a slot and a token left out), or at a running quantile of
            what calls take. Before 20 calls have succeeded that isn't known.
        max: Second calls of one attempt.
        share: Second calls in all, as a part of the first ones. (At most 10 are
            saved up.)

    Example:
        >>> Hedge(at="p95")
        Hedge(at='p95', max=1, share=0.05)
    """

    at: float | Literal["p50", "p90", "p95", "p99"] = "p95"
    max: int = 1
    share: float = 0.05

    def __post_init__(self) -> None:
        if isinstance(self.at, str):
            field(self, "at", one_of, _QUANTILES, "seconds")
        else:
            field(self, "at", above, 0)
        field(self, "max", whole, 1)
        field(self, "share", above, 0)

    def bind(self, binding: Binding) -> Hedger:
        """The layer of one runner."""
        return Hedger(self, binding)


class Hedger:
    """The layer of `Hedge`.

    A call that isn't late runs in its job's own task, as it would without a
    hedge. One timer serves all calls: it rings for the one that began first.

    Attributes:
        start: The layer that notes when a call begins, inside its waits.
        sent: Second calls so far.
        running: First calls that aren't late yet: since when, and their context.
        branches: The jobs' views that second calls have.
    """

    def __init__(self, policy: Hedge, binding: Binding) -> None:
        at = policy.at
        self.start: Final[Layer] = _Start(self)
        self.sent = 0
        self.now: Final = binding.clock.now
        self._cancels: Final = binding.cancels
        self.running: Final[dict[Work, tuple[float, contextvars.Context]]] = {}
        self.branches: Final[set[Work]] = set()
        self._policy: Final = policy
        self._task_name: Final = f"spanrun hedge {binding.runner}"
        self._quantile: Final = (
            Quantile(_QUANTILES[at]) if isinstance(at, str) else None
        )
        self._fixed: Final = math.inf if isinstance(at, str) else float(at)
        self._funds = 0.0
        self._late: Final[dict[Work, float]] = {}
        self._races: Final[dict[Work, Race]] = {}
        self._inner: Step | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def after(self) -> float:
        """Seconds after which a call is late; infinite until that is known."""
        if self._quantile is None or self._quantile.value is None:
            return self._fixed
        return self._quantile.value

    def close(self) -> None:
        """The runner is closed: there is nothing left to watch."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def wrap(self, inner: Step) -> Step:
        """Give ``inner`` a second chance when it is late."""
        self._inner = inner
        share, now, began_at = self._policy.share, self.now, self.running
        learn = None if self._quantile is None else self._quantile.add

        async def hedged(job: Work) -> Any:
            if self._funds < _SAVED:
                self._funds += share
            try:
                value = await inner(job)
            except BaseException as error:
                seconds = self._ended(job)
                race = self._races.pop(job, None)
                if race is None:
                    raise
                value = await self._settle(job, race, race.lost(error))
                if learn is not None and isinstance(error, asyncio.CancelledError):
                    learn(seconds)  # it would have taken even longer
                return value
            if self._late:
                seconds = self._ended(job)
            else:
                began = began_at.pop(job, None)
                seconds = 0.0 if began is None else now() - began[0]
            if learn is not None:
                learn(seconds)
            race = self._races.pop(job, None) if self._races else None
            if race is None:
                return value
            return await self._settle(job, race, race.won(value))

        return hedged

    def watch(self) -> None:
        """A call has begun: be there when it is late."""
        if self.after < math.inf:
            self._ring_in(self.after)

    async def _settle(self, job: Work, race: Race, result: Awaitable[Any]) -> Any:
        try:
            return await result
        finally:
            self.branches.difference_update(race.branches.values())
            for ended in race.results():
                job.hedge_ended(ended)

    def _ended(self, job: Work) -> float:
        """The first call has ended. How long did it take?"""
        began = self.running.pop(job, None)
        since = self._late.pop(job, None)
        if since is None:
            if began is None:
                return 0.0  # it never began
            since = began[0]
        return self.now() - since

    def _ring_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        """Call again for those that are late."""
        self.timer = None
        now = self.now()
        while self.running:
            job, (since, context) = next(iter(self.running.items()))
            if since + self.after > now + _EARLY:
                self._ring_in(since + self.after - now)
                return
            del self.running[job]
            self._late.setdefault(job, since)
            if self._funds < 1 - 1e-9:  # a sum of shares
                job.refused("hedge_share")
                continue
            self._funds -= 1
            self._send(job, context)
            if len(self._races[job].branches) < self._policy.max:
                self.running[job] = now, context

    def _send(self, job: Work, context: contextvars.Context) -> None:
        assert self._inner is not None  # noqa: S101 -- wrapped before any job
        race = self._races.get(job)
        if race is None:
            race = self._races[job] = Race(job, self._cancels)
        self.branches.add(race.send(self._inner, context, self._task_name))
        self.sent += 1
        job.hedged(self.now() - self._late[job])


class _Start:
    """Notes that a call begins: what it waited for before is left out."""

    def __init__(self, hedger: Hedger) -> None:
        self._hedger = hedger

    def wrap(self, inner: Step) -> Step:
        hedger, now = self._hedger, self._hedger.now
        running, branches = hedger.running, hedger.branches

        def start(job: Work) -> Awaitable[Any]:
            if not branches or job not in branches:
                running[job] = now(), contextvars.copy_context()
                if hedger.timer is None:
                    hedger.watch()
            return inner(job)

        return start
