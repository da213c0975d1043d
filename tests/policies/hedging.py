"""For the tests of `Hedge`: a service that takes what it was told to take."""

import asyncio

import pytest

from spanrun.policies.hedge import Hedge, Hedger


class Service:
    """Calls take the seconds that they were told, one after the other.

    With ``(seconds, exception)`` the call fails after so many.
    """

    def __init__(self, *plan, clock):
        self.plan = list(plan)
        self.clock = clock
        self.began = []
        self.cancelled = []
        self.ended = []

    async def __call__(self, *_):
        number = len(self.began)
        self.began.append(self.clock.now())
        what = self.plan[number] if number < len(self.plan) else 1.0
        seconds, error = what if isinstance(what, tuple) else (what, None)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.ended.append((number, self.clock.now()))
        if error is not None:
            raise error
        return number


def hedge(at=2.0, share=1.0, **values):
    return Hedge(at=at, share=share, **values)


async def one(runner, call):
    """One job's outcome."""
    (outcome,) = await runner.map(call, ["item"], errors="collect")
    return outcome


def hedger(runner):
    (layer,) = (one for one in runner._core.layers.values() if isinstance(one, Hedger))
    return layer


def adds_up(timings):
    parts = sum(seconds for _, seconds in timings.phases())
    return parts == pytest.approx(timings.duration)
