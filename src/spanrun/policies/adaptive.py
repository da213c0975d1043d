"""`AdaptiveLimit`: as many jobs at once as the service can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spanrun.checks import at_least, field, whole
from spanrun.errors import ConfigurationError
from spanrun.policies._gradient import Gradient
from spanrun.policies.base import Binding, Step, Work
from spanrun.policies.limit import Slots
from spanrun.policies.overload import On, check_on, matches, overloaded
from spanrun.semconv import SpanrunLimitDecision


@dataclass(frozen=True, slots=True)
class AdaptiveLimit:
    """Run ``min`` to ``max`` jobs at once: as many as the service can take.

    While more jobs at once don't make the calls slower, the limit grows; where
    they only queue at the service, it stops; when calls are refused, it falls.
    It grows only while it is used in full, and by calls: a slot whose job waits
    for a `RateLimit` isn't used. See `Gradient` for how.

    It holds a slot for each attempt, so that it sees the ones that failed. An
    error that ``on`` names counts as a refusal, any other one says nothing.
    Refusals that come as often at a lower limit are no overload, unless they are
    most of the calls.

    Args:
        start: The limit to begin with.
        min: It never falls below this.
        max: It never grows beyond this.
        ageing: As for `Limit`.
        on: Which errors mean that the service has too much to do.

    Example:
        >>> AdaptiveLimit(start=8, max=64).min
        1
    """

    start: int = 16
    min: int = 1
    max: int = 256
    ageing: float = 1.0
    on: On = overloaded

    def __post_init__(self) -> None:
        for name in ("start", "min", "max"):
            field(self, name, whole, 1)
        if not self.min <= self.start <= self.max:
            raise ConfigurationError(
                f"AdaptiveLimit(start={self.start}, min={self.min}, max={self.max}): "
                "must be min ≤ start ≤ max"
            )
        field(self, "ageing", at_least, 0)
        check_on("AdaptiveLimit", self.on)

    def bind(self, binding: Binding) -> AdaptiveSlots:
        """The slot keeper of one runner."""
        return AdaptiveSlots(self, binding)


class AdaptiveSlots(Slots):
    """Keeps the slots, and learns from each call: the layer of `AdaptiveLimit`.

    Attributes:
        on_decision: Called with the reason of each change.
    """

    def __init__(self, policy: AdaptiveLimit, binding: Binding) -> None:
        super().__init__(policy.start, policy.ageing, binding)
        self._on = policy.on
        self._gradient = Gradient(policy.start, policy.min, policy.max)
        self.on_decision: Callable[[SpanrunLimitDecision], None] | None = None

    def wrap(self, inner: Step) -> Step:
        """Hold a slot around ``inner``, and time it."""
        now = self._now
        learn = self._gradient.learn

        async def slot(job: Work) -> Any:
            if not self.take():
                await self.wait(job)
            since, timings = now(), job.timings
            paused = timings.rate_limit
            try:
                value = await inner(job)
            except Exception as error:
                refused = matches(self._on, error)
                if refused and learn(since, now(), None, self.used):
                    self._follow()
                raise
            else:
                # A wait for a token says nothing about the service.
                ended = now()
                seconds = ended - since - (timings.rate_limit - paused)
                if learn(since, ended, seconds, self.used):
                    self._follow()
                return value
            finally:
                self.release()

        return slot

    def _follow(self) -> None:
        """The gradient has another limit."""
        if self.on_decision is not None:
            self.on_decision(self._gradient.decision)
        self.resize(self._gradient.limit)
