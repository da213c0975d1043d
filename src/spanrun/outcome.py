"""How a job ended: `Ok` or `Err`, and where its time went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar, final

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES, SpanrunJobOutcome

T = TypeVar("T")

CancelledBy: TypeAlias = Literal["self", "run", "timeout", "signal"]


@final
class Timings:
    """Where a job's time went, in seconds. The parts add up to `duration`.

    Attributes:
        queue: From submission until the job's task first ran.
        limit: Waiting for a slot.
        rate_limit: Waiting for a token.
        backoff: Waiting before another attempt. No slot is held meanwhile.
        busy: Running on the event loop.
        loop_lag: Ready to run, while another job blocked the event loop.
        duration: From submission to the outcome.
    """

    # The zeros stand on the class: most jobs never wait for most things.
    queue = 0.0
    limit = 0.0
    rate_limit = 0.0
    backoff = 0.0
    busy = 0.0
    loop_lag = 0.0
    duration = 0.0

    @property
    def waited(self) -> float:
        """Seconds in which the job could not run: every part but busy and service."""
        return self.queue + self.limit + self.rate_limit + self.backoff + self.loop_lag

    @property
    def service(self) -> float:
        """Seconds in which the job waited for what it had called."""
        return self.parts()[-1]

    def parts(self) -> tuple[float, float, float, float, float, float, float]:
        """The seconds of each phase, in the order in which a job meets them."""
        queue, limit, rate_limit = self.queue, self.limit, self.rate_limit
        backoff, busy, loop_lag = self.backoff, self.busy, self.loop_lag
        service = self.duration - (
            queue + limit + rate_limit + backoff + busy + loop_lag
        )
        service = max(service, 0.0)
        return queue, limit, rate_limit, backoff, busy, loop_lag, service

    def phases(self) -> Iterator[tuple[str, float]]:
        """Each phase's name and seconds, in the order in which a job meets them."""
        return zip(SPANRUN_JOB_PHASE_VALUES, self.parts(), strict=True)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={value:.6f}" for name, value in self.phases())
        return f"Timings({parts}, duration={self.duration:.6f})"


# Not frozen: a frozen dataclass sets each field through object.__setattr__,
# 3 × the cost of making one, for every job (`make bench`).
@final
@dataclass(slots=True)
class Ok(Generic[T]):
    """A job that returned a value."""

    index: int
    value: T
    timings: Timings
    attempts: int = 1
    key: Any = None
    trace_id: int = 0


@final
@dataclass(slots=True)
class Err:
    """A job that did not: ``error`` is what it raised, unwrapped.

    ``outcome`` is ``"failed"``, ``"timed_out"`` or ``"cancelled"``. A job that
    cancelled itself has a `JobCancelled`, one that ran out of time a
    `DeadlineExceeded`.
    """

    index: int
    error: Exception
    timings: Timings
    attempts: int = 1
    key: Any = None
    trace_id: int = 0
    outcome: SpanrunJobOutcome = "failed"


Outcome: TypeAlias = Ok[T] | Err
