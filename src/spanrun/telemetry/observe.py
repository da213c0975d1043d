"""Who else wants to know how jobs end: progress, the local store, a live view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from spanrun.outcome import Outcome
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)


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


class Observers:
    """Tells many observers; what one of them raises is logged once and dropped."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._complained = False

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __add__(self, more: Sequence[Observer]) -> Observers:
        return Observers((*self._observers, *more)) if more else self

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

    def _tell(self, news: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                news(observer)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def _complain(self, observer: Observer, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("observer %s failed and goes on: %s", observer, error)
