"""What a policy's layer is, and the one right order of the layers.

A policy is a frozen value without a loop, lock or clock. A runner binds it,
which makes a *layer*: a step of a job's way that calls the next step. The
order is fixed here and can't be chosen, since most orders are wrong: a retry
inside a slot holds the slot while it waits, an adaptive limit outside the
retry never sees an error, a hedge outside the limit doubles the load.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias

from spanrun.clock import Clock
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunHedgeResult, SpanrunRefusalReason

ORDER: Final = (
    "deadline",  # the whole job's time, every wait included
    "retry",  # another attempt; holds nothing while it waits
    "breaker",  # refuses before anything is waited for
    "hedge",  # a second try takes a second slot
    "outage",  # waits while the service is gone, without a slot
    "slot",  # the concurrency limit
    "token",  # the rate limit, and the pause that a service asked for
    "fuse",  # the breaker once more, for who waited while it opened
    "standby",  # the outage once more, for who waited while it began
    "start",  # the hedge's watch, set when nothing is left to wait for
    "timeout",  # one attempt's time, without the waits above
)
"""The layers' names, from the outermost to the call itself."""

LayerName: TypeAlias = Literal[
    "deadline",
    "retry",
    "breaker",
    "hedge",
    "outage",
    "slot",
    "token",
    "fuse",
    "standby",
    "start",
    "timeout",
]


Waits: TypeAlias = Literal["limit", "rate_limit", "backoff"]
"""A phase of the ledger in which a job waits for its turn."""


class Attempts(Protocol):
    """Told of a job's attempts."""

    def begin_attempt(self, number: int) -> None:
        """An attempt begins, from 1."""
        ...

    def end_attempt(self, number: int, error: BaseException | None) -> None:
        """It is over, by ``error`` if there is one."""
        ...


class Work(Protocol):
    """What a layer sees of a job. Layers book their own waits in ``timings``.

    Where a job waits is said in ``waits`` meanwhile, for who looks at open jobs.
    """

    timings: Timings
    attempts: int
    priority: float
    task: asyncio.Task[None] | None
    waits: Waits | None

    @property
    def run(self) -> object:
        """What it is a part of."""
        ...

    @property
    def unit(self) -> Attempts | None:
        """Told of its attempts; None without telemetry."""
        ...

    def backing_off(self, error: Exception, delay: float) -> None:
        """Another attempt follows ``error`` after ``delay`` seconds."""
        ...

    def back(self) -> None:
        """The wait that `backing_off` announced is over."""
        ...

    def hedged(self, after: float) -> None:
        """A second call was sent, ``after`` seconds of waiting for the first."""
        ...

    def hedge_ended(self, result: SpanrunHedgeResult) -> None:
        """A second call is over."""
        ...

    def refused(self, reason: SpanrunRefusalReason) -> None:
        """A policy refuses it something."""
        ...

    def paused(self, seconds: float) -> None:
        """Tell that it has waited so long, as its service had asked for a pause."""
        ...

    def held(self) -> None:
        """It begins to wait, as the service is gone."""
        ...


class Cancels(Protocol):
    """Cancels tasks, and sees to it that they end."""

    def cancel(
        self,
        task: asyncio.Task[Any],
        job: Work,
        by: CancelledBy,
        *,
        abandon: Callable[[], object] | None = None,
        ends: bool = False,
    ) -> None:
        """Cancel ``task``, in which ``job`` or a call of it runs.

        Where it has not ended after the runner's ``abandon_after``, ``abandon`` is
        called, or the job given up. ``ends``: the task is to end by that.
        """
        ...

    def obeyed(self, task: asyncio.Task[Any]) -> None:
        """What was cancelled in ``task`` has ended; the task may go on."""
        ...


class _Cancels:
    """Cancels, and doesn't look after it."""

    def cancel(self, task: asyncio.Task[Any], *_: object, **__: object) -> None:
        task.cancel()

    def obeyed(self, task: asyncio.Task[Any]) -> None:
        """Nobody waits to hear of it."""


CANCELS: Final[Cancels] = _Cancels()


Step: TypeAlias = Callable[[Any], Awaitable[Any]]
"""One step of a job's way: takes the job, gives its value or raises."""


class Layer(Protocol):
    """One policy, bound to one runner."""

    def wrap(self, inner: Step) -> Step:
        """The step that applies this layer around ``inner``."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """What a policy is bound to.

    Attributes:
        runner: Its name.
        clock: Its time.
        random: Its chance.
        blocked: How many of the last so many seconds its event loop was blocked.
        cancels: By what a policy cancels.
    """

    runner: str
    clock: Clock
    random: random.Random = field(default_factory=random.Random)
    blocked: Callable[[float], float] = lambda _: 0.0
    cancels: Cancels = CANCELS


def compose(layers: Mapping[LayerName, Layer], call: Step) -> Step:
    """Put ``layers`` around ``call``, in the one right order."""
    step = call
    for name in reversed(ORDER):
        layer = layers.get(name)
        if layer is not None:
            step = layer.wrap(step)
    return step
