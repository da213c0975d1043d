"""`Leases`: what all workers of a runner do together no more than the runner may.

The rate's tokens, the pauses that a service asks for and the budget of retries are the
driver's, in the same layers that a runner without an engine has. A worker asks for a
token for each job that waits for one, and for leave for each retry; so a worker that is
idle takes nothing from one that is busy.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from spanrun.policies.base import Layer, LayerName
from spanrun.policies.rate import Gate
from spanrun.policies.retry import Retrier
from spanrun.runner.engine import Say


class Leases:
    """Answers what workers ask for. All on the event loop.

    Args:
        layers: The runner's, as the driver has them.
        say: Tells a worker something.
        workers: How many there are.
        now: Reads the clock.
    """

    def __init__(
        self,
        layers: Mapping[LayerName, Layer],
        say: Say,
        workers: int,
        now: Callable[[], float],
    ) -> None:
        gate, retrier = layers.get("token"), layers.get("retry")
        self._gate: Final = gate if isinstance(gate, Gate) else None
        self._retrier: Final = retrier if isinstance(retrier, Retrier) else None
        self._say: Final = say
        self._now: Final = now
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[list[list[asyncio.Future[None]]]] = [
            [] for _ in range(workers)
        ]
        self._granted: Final = [0] * workers
        self._due: Counter[int] = Counter()
        if self._gate is not None and self._gate.rate is not None:
            self._gate.tokens.pace.lend(self._gate.rate)

    def begin(self, place: int) -> None:
        """A worker begins at ``place``: forget what the one before it asked for."""
        self._withdraw(place, len(self._waiting[place]))
        self._granted[place] = self._due[place] = 0

    def close(self) -> None:
        """Nobody asks any more."""
        for place in range(len(self._waiting)):
            self.begin(place)

    def ended(self, jobs: int) -> None:
        """So many jobs have ended, each of which had a first attempt."""
        if self._retrier is not None:
            self._retrier.earn(jobs)

    def wants(self, place: int, total: int) -> None:
        """A worker wants so many tokens, with those that it was given already."""
        assert self._gate is not None  # noqa: S101 -- of whose rate it asks
        waiting = self._waiting[place]
        more = total - self._granted[place] - len(waiting)
        tokens = self._gate.tokens
        new = [tokens.line.join(0, self._now()) for _ in range(more)]
        for future in new:
            future.add_done_callback(lambda done: self._served(place, done))
        waiting.extend(new)
        self._withdraw(place, -more)
        tokens.serve()
        self._gate.waited += sum(not each.done() for each in new)

    def pause(self, place: int, seconds: float) -> None:
        """A service has asked a job of a worker for a pause, which is for all."""
        assert self._gate is not None  # noqa: S101 -- there is one where there are retries
        self._gate.tokens.pause(seconds)
        for other in range(len(self._waiting)):
            if other != place:
                self._say(other, "pause", seconds)

    def retry(self, place: int, number: int) -> None:
        """A worker asks for leave for its retry of that number."""
        may = self._retrier is None or self._retrier.spend()
        self._say(place, "leave", number, may)

    def _withdraw(self, place: int, count: int) -> None:
        """Nobody wants so many of the tokens that a worker has asked for."""
        if count <= 0 or self._gate is None:
            return
        for each in [one for one in self._waiting[place] if not one.done()][-count:]:
            self._waiting[place].remove(each)
            each.cancel()
            self._gate.tokens.line.leave()
        self._gate.tokens.serve()

    def _served(self, place: int, future: asyncio.Future[None]) -> None:
        if future.cancelled() or self._gate is None:
            return
        self._waiting[place].remove(future)
        self._granted[place] += 1
        self._gate.taken += 1
        self._gate.tokens.pace.begin(self._now())
        if not self._due.total():
            self._loop.call_soon(self._send)
        self._due[place] += 1

    def _send(self) -> None:
        """Send the tokens that are due, with the time of that."""
        due, self._due = self._due, Counter()
        for place, count in due.items():
            if count:
                self._say(place, "tokens", count, self._now())


def hears(leases: Leases) -> dict[str, Callable[..., Any]]:
    """What is done at which message of a worker's."""
    return {"tokens": leases.wants, "pause": leases.pause, "retry": leases.retry}
