"""Who else wants to know how jobs end: progress, the local store, a live view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    runtime_checkable,
)

from spanrun.outcome import Outcome
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

EventKind: TypeAlias = Literal[
    "blocked",
    "breaker",
    "hedge",
    "limit",
    "outage",
    "resumed",
    "retry",
    "signal",
    "stuck",
]


class RunEvent(NamedTuple):
    """Something that happened while jobs ran, whether or not a span tells of it.

    Attributes:
        time_ns: When, in nanoseconds since the Unix epoch; of what took a while, when
            that was over.
        kind: ``"blocked"``, ``"breaker"``, ``"hedge"``, ``"limit"``, ``"outage"``,
            ``"resumed"``, ``"retry"``, ``"signal"`` or ``"stuck"``.
        run: The id of the run; None where it belongs to none.
        index: The job's place among the items of its run; None where it is of no job.
        value: What there is to say of it, by name: see the page on telemetry.
        stack: Where the code was, as a traceback shows it; None where nobody looked.
    """

    time_ns: int
    kind: str
    run: str | None
    index: int | None  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] -- tuples have one
    value: Mapping[str, Any]
    stack: str | None


@dataclass(slots=True, eq=False)
class RunInfo:
    """One run of a runner: a `map`, a `stream`, or all its single calls.

    Attributes:
        id: Random hex digits that name the run.
        runner: The runner's name.
        total: How many jobs there will be, where that is known.
        trace_id: The trace of the run's span; 0 without one.
        started_ns: Since the Unix epoch.
        ended_ns: Since the Unix epoch; 0 while the run is open.
        calls: These are single calls, and nobody can say how many are to come.
        opened: When it began, on the runner's clock, as `Timings.submitted` is.
        policies: The runner's, as an object of JSON; empty where nobody said.
        source_wait: Seconds that it waited for an item, known at its end.
        consumer_wait: Seconds that it waited for its outcomes to be taken, the same.
        batched: Each of its jobs takes a list of items.
        items: How many items have each outcome so far. Where jobs aren't batched, an
            item is a job.
        total_items: How many items there will be, where that is known.
        restored: How many outcomes came out of a checkpoint: no job of this run has
            them, and they aren't among the ``items``.
    """

    id: str
    runner: str
    total: int | None
    trace_id: int
    started_ns: int
    ended_ns: int = 0
    calls: bool = False
    opened: float = 0.0
    policies: str = ""
    source_wait: float = 0.0
    consumer_wait: float = 0.0
    batched: bool = False
    items: dict[SpanrunJobOutcome, int] = field(
        default_factory=dict[SpanrunJobOutcome, int]
    )
    total_items: int | None = None
    restored: int = 0
    _zero: int = 0

    def begin(self, now: float, zero: int) -> None:
        """It begins ``now``, by a clock that was at 0 at ``zero``, since the epoch."""
        self._zero, self.opened = zero, now
        self.started_ns = self.wall_ns(now)

    def wall_ns(self, now: float) -> int:
        """``now`` in nanoseconds since the Unix epoch, as its beginning has it."""
        return self._zero + int(now * 1e9)

    def event(
        self,
        now: float,
        kind: EventKind,
        *,
        index: int | None = None,
        stack: str | None = None,
        **value: Any,
    ) -> RunEvent:
        """Something that happens in it now, or in its job at ``index``."""
        return RunEvent(self.wall_ns(now), kind, self.id, index, value, stack)


class Observer(Protocol):
    """Hears of runs and of each job's outcome, on the event loop's thread.

    What an observer raises is counted and goes no further: it can't change a
    result. Slow work belongs in a thread of its own.
    """

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        ...

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """A job has its outcome."""
        ...

    def run_closed(self, run: RunInfo) -> None:
        """A run is over; nothing more is heard of it."""
        ...


@runtime_checkable
class EventObserver(Protocol):
    """An observer that hears of more than runs and jobs; that is its own choice."""

    def happened(self, event: RunEvent) -> None:
        """Something has happened; it may be called from any thread."""
        ...


class Observers:
    """Tells many observers; what one of them raises is logged once and dropped."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._curious: Final = [
            each for each in self._observers if isinstance(each, EventObserver)
        ]
        self._complained = False

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __add__(self, more: Sequence[Observer]) -> Observers:
        return Observers((*self._observers, *more)) if more else self

    def has(self, kind: type) -> bool:
        """Whether one of them is of that class."""
        return any(isinstance(each, kind) for each in self._observers)

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        self._tell(lambda observer: observer.run_opened(run))

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """A job has its outcome."""
        for observer in self._observers:
            try:
                observer.job_ended(run, outcome)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def run_closed(self, run: RunInfo) -> None:
        """A run is over."""
        self._tell(lambda observer: observer.run_closed(run))

    @property
    def curious(self) -> bool:
        """Whether any of them wants to hear of events."""
        return bool(self._curious)

    def happened(self, event: RunEvent) -> None:
        """Something has happened that isn't a run or a job."""
        for observer in self._curious:
            try:
                observer.happened(event)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def _tell(self, news: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                news(observer)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def _complain(self, observer: object, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("observer %s failed and goes on: %s", observer, error)
