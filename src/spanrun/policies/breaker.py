"""`Breaker`: refuse at once what a service that is down would fail slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from spanrun.checks import above, between, field, function, optional, whole
from spanrun.errors import CircuitOpen
from spanrun.policies.base import Binding, Layer, Step, Work
from spanrun.policies.overload import On, check_on, matches, overloaded

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """Stop calling a service that is down, and find out when it is back.

    It opens when ``failures`` calls have failed within ``window`` seconds, and
    they are at least ``ratio`` of all that ended in that time. Then jobs fail at
    once with `CircuitOpen`, those that still wait for a slot or a token too.
    After ``open_for`` seconds ``probes`` calls are let through: when all of them
    succeed it closes, when one fails it opens again. A probe that is cancelled
    gives its place back.

    (M. Nygard, *Release It!*, 2nd edition 2018, "Circuit Breaker".)

    Only an error that ``on`` names is a failure. Any other end of a call, even
    with an error, means that the service is there. A call that only the job's
    total deadline ends says nothing.

    Args:
        failures: Failed calls that open it.
        ratio: Their least part of all calls: 0 looks at their number only.
        window: Seconds in which they count, from the first of them.
        open_for: Seconds until it is tried again.
        probes: Calls that must succeed then. No others are let through.
        on: Which errors mean that the service is down.
        on_change: Called with the runner's name and the new state, on the event
            loop. What it raises goes to the loop's exception handler.

    Example:
        >>> Breaker(failures=10, open_for=60).probes
        1
    """

    failures: int = 5
    ratio: float = 0.5
    window: float = 10.0
    open_for: float = 30.0
    probes: int = 1
    on: On = overloaded
    on_change: Callable[[str, BreakerState], object] | None = None

    def __post_init__(self) -> None:
        field(self, "failures", whole, 1)
        field(self, "ratio", between, 0, 1)
        field(self, "window", above, 0, infinite=True)
        field(self, "open_for", above, 0)
        field(self, "probes", whole, 1)
        check_on("Breaker", self.on)
        field(self, "on_change", optional(function), plain=True)

    def bind(self, binding: Binding) -> Circuit:
        """The layer of one runner."""
        return Circuit(self, binding)


class Circuit:
    """The layer of `Breaker`.

    There is no timer: an open circuit is half open when the next job comes
    after its time.

    Attributes:
        state: ``"closed"``, ``"open"`` or ``"half_open"``.
        fuse: The layer that refuses who waited while the circuit opened.
        open_for: Seconds until it is tried again.
        on_change: Called with the new state, and the error that opened it.
    """

    def __init__(self, policy: Breaker, binding: Binding) -> None:
        self.state: BreakerState = "closed"
        self.fuse: Final[Layer] = _Fuse(self)
        self.open_for: Final = policy.open_for
        self.on_change: Callable[[BreakerState, Exception | None], object] | None
        self.on_change = None
        self._policy: Final = policy
        self._runner: Final = binding.runner
        self._now: Final = binding.clock.now
        self._era = 0  # a call that began in another one has no say
        self._calls = self._failures = 0
        self._since = 0.0
        self._until = 0.0
        self._probing: Final[set[Work]] = set()
        self._passed = 0

    def wrap(self, inner: Step) -> Step:
        """Call ``inner``, or refuse to."""
        on = self._policy.on

        async def guarded(job: Work) -> Any:
            if self.state != "closed":
                self._probe(job)
            era = self._era
            try:
                value = await inner(job)
            except Exception as error:
                if era == self._era:
                    if matches(on, error):
                        self._failed(error)
                    else:
                        self._answered(job)
                raise
            except BaseException:
                self._probing.discard(job)
                raise
            if era == self._era:
                self._answered(job)
            return value

        return guarded

    def lets_through(self, job: Work) -> bool:
        """Whether ``job``, which has been let in before, may call now."""
        return self.state == "closed" or job in self._probing

    def refusal(self, job: Work) -> CircuitOpen:
        """What ``job`` is refused with now."""
        job.refused("breaker")
        left = self._until - self._now() if self.state == "open" else 0.0
        return CircuitOpen(self._runner, max(0.0, left))

    def _probe(self, job: Work) -> None:
        """Let ``job`` through to see whether the service is back.

        Raises:
            CircuitOpen: It isn't time for that, or others are doing it.
        """
        if self.state == "open" and self._now() >= self._until:
            self._change("half_open")
        places = self._policy.probes - self._passed - len(self._probing)
        if self.state == "open" or places < 1:
            raise self.refusal(job)
        self._probing.add(job)

    def _answered(self, job: Work) -> None:
        if self.state == "closed":
            self._calls += 1
            return
        self._probing.discard(job)
        self._passed += 1
        if self._passed >= self._policy.probes:
            self._change("closed")

    def _failed(self, error: Exception) -> None:
        policy, now = self._policy, self._now()
        if self.state == "closed":
            if not self._failures or now - self._since > policy.window:
                self._since = now
                self._calls = self._failures = 0
            self._calls += 1
            self._failures += 1
            if (
                self._failures < policy.failures
                or self._failures < policy.ratio * self._calls
            ):
                return
        self._until = now + self.open_for
        self._change("open", error)

    def _change(self, state: BreakerState, cause: Exception | None = None) -> None:
        self.state = state
        self._era += 1
        self._calls = self._failures = self._passed = 0
        self._probing.clear()
        if self.on_change is not None:
            self.on_change(state, cause)
        told = self._policy.on_change
        if told is None:
            return
        try:
            told(self._runner, state)
        except Exception as error:  # noqa: BLE001 -- it must not change a result
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{told!r} failed", "exception": error}
            )


class _Fuse:
    """Refuses a job that has waited while the circuit opened."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def wrap(self, inner: Step) -> Step:
        circuit = self._circuit

        def checked(job: Work) -> Awaitable[Any]:
            if circuit.state != "closed" and not circuit.lets_through(job):
                raise circuit.refusal(job)
            return inner(job)

        return checked
