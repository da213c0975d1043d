"""How a job ended: `Ok` or `Err`, and where its time went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, final

from spanrun.quantities import seconds
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES, SpanrunJobOutcome
from spanrun.speed import OkFields, Seconds
from spanrun.text import one_line

T = TypeVar("T")

_WIDTH: Final = 60
"""Characters of a value, an error or a key that a repr shows."""
_short: Final = Repr()
_short.maxstring = _short.maxother = _short.maxlong = _WIDTH

CancelledBy: TypeAlias = Literal["self", "run", "timeout", "signal"]


@final
class Timings(Seconds):
    """Where a job's time went, in seconds. The parts add up to `duration`.

    Attributes:
        queue: From submission until the job's task first ran.
        limit: Waiting for a slot.
        rate_limit: Waiting for a token, or while the service is to be left alone: for
            a pause that it asked for, and for the end of an outage.
        backoff: Waiting before another attempt. No slot is held meanwhile.
        busy: Running on the event loop.
        loop_lag: Ready to run, while another job blocked the event loop.
        duration: From submission to the outcome.
        submitted: When the job was submitted, on the runner's clock.
    """

    __slots__ = ()

    @property
    def waited(self) -> float:
        """Seconds in which the job could not run: every part but busy and service."""
        return self.queue + self.limit + self.rate_limit + self.backoff + self.loop_lag

    @property
    def service(self) -> float:
        """Seconds in which the job waited for what it had called."""
        return self.parts()[-1]

    def phases(self) -> Iterator[tuple[str, float]]:
        """Each phase's name and seconds, in the order in which a job meets them."""
        return zip(SPANRUN_JOB_PHASE_VALUES, self.parts(), strict=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (*self.parts()[:-1], self.duration, self.submitted)

    def __repr__(self) -> str:
        longest = sorted(self.phases(), key=lambda part: -part[1])
        parts = ", ".join(f"{name} {seconds(part)}" for name, part in longest if part)
        return f"Timings({seconds(self.duration)}{': ' if parts else ''}{parts})"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from spanrun.markup import ledger  # noqa: PLC0415 -- for notebooks alone

        return ledger(self)


def _restored(*seconds: float) -> Timings:
    """What was pickled or copied; in another process it may be in C or not."""
    made = Timings()
    made.queue, made.limit, made.rate_limit = seconds[:3]
    made.backoff, made.busy, made.loop_lag = seconds[3:6]
    made.duration, made.submitted = seconds[6:]
    return made


# Not frozen: a frozen dataclass sets each field through object.__setattr__,
# 3 × the cost of making one, for every job (`make bench`).
@final
@dataclass(slots=True, repr=False)
class Ok(OkFields, Generic[T]):
    """A job that returned a value."""

    index: int
    value: T
    timings: Timings
    attempts: int = 1
    key: Any = None
    trace_id: int = 0

    def __repr__(self) -> str:
        return _line_of(self, value=self.value)

    def _repr_html_(self) -> str:
        return _html_of(self)


@final
@dataclass(slots=True, repr=False)
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

    def __repr__(self) -> str:
        return _line_of(self, error=self.error, outcome=self.outcome)

    def _repr_html_(self) -> str:
        return _html_of(self)


Outcome: TypeAlias = Ok[T] | Err


def _line_of(outcome: Outcome[Any], /, **own: Any) -> str:
    """The repr of an outcome, on one line: what is long is cut."""
    parts = {"index": outcome.index, **own}
    if outcome.key is not None:
        parts["key"] = outcome.key
    if outcome.attempts != 1:
        parts["attempts"] = outcome.attempts
    shown = [f"{name}={_cut(value)}" for name, value in parts.items()]
    shown.append(f"duration={seconds(outcome.timings.duration)}")
    if outcome.trace_id:
        shown.append(f"trace_id={outcome.trace_id:032x}")
    return f"{type(outcome).__name__}({', '.join(shown)})"


def _html_of(outcome: Outcome[Any]) -> str:
    """For a notebook: the repr, and where the time went."""
    from spanrun import markup  # noqa: PLC0415 -- for notebooks alone

    return markup.outcome(outcome)


def _cut(value: object) -> str:
    try:
        return one_line(_short.repr(value), _WIDTH)
    except Exception:  # noqa: BLE001 -- a number of 5,000 digits, for one
        return object.__repr__(value)
