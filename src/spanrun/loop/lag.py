"""`LoopLag`: which steps held an event loop, and what the others waited for them.

A step of a job that takes longer than the threshold *blocks* the loop. Its own time
is ``busy``; who waited meanwhile was held up by it, and books the overlap as
``loop_lag``. Who blocks is told by the job's own clock, where the step ends. What
only a look from outside can tell comes from `spanrun.loop.watchdog`: where the
step was, and the steps of code that isn't a job's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary, WeakSet

from spanrun import semconv
from spanrun.outcome import Timings
from spanrun.speed import Lag
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.observe import EventKind, Observers, RunEvent
from spanrun.telemetry.units.recorder import Recorder

THRESHOLD: Final = 0.1
"""Seconds that one step may hold the loop."""

_PAUSE: Final = 10.0
"""Seconds from one line of the log to the next."""
_STOPS: Final = 16
_BLOCKS: Final = 256

_log: Final = Log(__name__)


class Told(Protocol):
    """A unit, as far as it is told of a step that blocks."""

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to its span."""
        ...


class Guilty(Protocol):
    """Whose step blocks: a job, or a run by its source and observers."""

    @property
    def label(self) -> str:
        """How a person would name it."""
        ...

    @property
    def unit(self) -> Told | None:
        """Its span; None without telemetry."""
        ...

    @property
    def metrics(self) -> RunnerMetrics | None:
        """Its runner's; None without telemetry."""
        ...

    def happened(
        self, kind: EventKind, *, stack: str | None = None, **value: object
    ) -> None:
        """Tell the observers of an event of it."""
        ...


class Host(Protocol):
    """An open runner on the loop."""

    @property
    def runs(self) -> Collection[Guilty]:
        """Its open runs."""
        ...


class Place(NamedTuple):
    """Where code was."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


@dataclass(slots=True, eq=False)
class Suspect:
    """A step that the watchdog saw for a while; it may still end in time.

    Attributes:
        who: Whose step it is; None where it is no job's or run's.
        since: When it began, as far as is known.
        ends_itself: It is a job's, which says itself when it has ended.
        stack: Where it was, the last time that was taken, with all that called it.
        place: The same in short, if possible in the user's own code.
        taken: How many seconds it had lasted then.
        lasts: How many it had when it was seen last.
        counted: The metric has it already.
        said: The log has it already.
    """

    who: Guilty | None
    since: float
    ends_itself: bool
    stack: str = ""
    place: Place | None = None
    taken: float = 0.0
    lasts: float = 0.0
    counted: bool = False
    said: bool = False


def nothing() -> None:
    """Nobody looks."""


class Mark:
    """How long the loop was blocked until some moment. Compare by identity.

    While a job's step waits, a new mark on the loop is news for it.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class LoopLag(Lag):
    """The time that steps over the threshold have held one loop.

    All but `accuse`, `count`, `say`, `stop` and `stopped` belongs to the loop's own
    thread.

    Attributes:
        threshold: Seconds that one step may take.
        mark: Replaced whenever somebody who waits may have been held up.
        shown: The open runs whose jobs' times somebody can see.
        suspect: What the watchdog has seen last; None when all is well.
        hosts: The open runners, where telemetry is on.
        recorder: Where their telemetry goes.
        observers: Who hears of what blocks it.
        look: Finds out whether the process has just been stopped.
        latest: Seconds that the loop was late, at most, since somebody set that to 0.
    """

    def __init__(self) -> None:
        self.threshold = THRESHOLD
        self.mark = Mark(0.0)
        self.shown = 0
        self.suspect: Suspect | None = None
        self.hosts: Final[WeakSet[Host]] = WeakSet()
        self.recorder: Recorder | None = None
        self.observers = Observers()
        self.look: Callable[[], None] = nothing
        self.latest = 0.0
        self._seconds = 0.0
        self._stops: Final[deque[tuple[float, float]]] = deque(maxlen=_STOPS)
        self._blocks: Final[deque[tuple[float, float]]] = deque(maxlen=_BLOCKS)
        self._lock: Final = threading.Lock()
        self._seldom: Final = Seldom(_PAUSE)

    def accuse(self, suspect: Suspect) -> None:
        """The watchdog has seen a step that may block; from its thread."""
        self.suspect = suspect
        if not suspect.ends_itself:
            self.mark = Mark(self._seconds)  # whoever runs next may settle it

    def held_up(self, timings: Timings, mark: Mark, waited: float) -> float:
        """Book what others blocked since ``mark``, during a wait that is over now.

        Returns:
            The seconds, ``waited`` at most.
        """
        self.settle()
        lag = max(0.0, min(waited, self._seconds - mark.seconds))
        timings.loop_lag += lag
        return lag

    def blocked(self, who: Guilty, began: float, ended: float, mark: Mark) -> None:
        """A job's step is over, and took longer than the threshold.

        ``mark`` is the one at its beginning: a step inside it, as eager tasks
        have them, is booked already.
        """
        seconds = ended - began
        now = time.perf_counter()
        seconds -= self.stopped(now - seconds, now)
        if seconds <= self.threshold:
            return
        self._book(seconds - (self._seconds - mark.seconds))
        suspect, self.suspect = self.suspect, None
        if suspect is None or suspect.who is not who or suspect.since != began:
            suspect = Suspect(who, since=began, ends_itself=True)
        self._tell(suspect, seconds)

    def settle(self) -> None:
        """Book a step that ended without saying so: code is running which isn't it."""
        suspect = self.suspect
        if suspect is None or suspect.ends_itself:
            return
        self.suspect = None
        now = time.perf_counter()
        seconds = now - suspect.since - self.stopped(suspect.since, now)
        if seconds > self.threshold:
            self._book(seconds)
            self._tell(suspect, seconds)

    def count(self, suspect: Suspect) -> None:
        """Count a step in ``spanrun.loop.blocked``, once; from any thread."""
        if suspect.counted:
            return
        suspect.counted = True
        if suspect.who is not None:
            if suspect.who.metrics is not None:
                suspect.who.metrics.blocked()
            return
        if self.recorder is not None:
            self.recorder.record(semconv.METRIC_SPANRUN_LOOP_BLOCKED, 1, {})

    def say(self, suspect: Suspect, seconds: float, *, ended: bool) -> None:
        """Log a step that has taken ``seconds``; from any thread."""
        more = None if self.recorder is None else self._seldom()
        if more is None:
            return
        suspect.said = True
        _log.warning(
            "%s blocked the event loop for %.3g s%s%s"
            if ended
            else "%s has blocked the event loop for %.3g s until now%s%s",
            suspect.who.label if suspect.who else "code that belongs to no job",
            seconds,
            f", in {suspect.place}" if suspect.place else "",
            more,
        )

    def late(self, seconds: float) -> None:
        """Record that the loop ran a callback so much later than it might have."""
        self.latest = max(self.latest, seconds)
        if self.recorder is None:
            return
        try:
            self.recorder.record(semconv.METRIC_SPANRUN_LOOP_LAG, seconds, {})
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.recorder.failed("metrics", error)

    def stop(self, since: float, until: float) -> None:
        """Nothing ran meanwhile, and nobody here is to blame for that."""
        with self._lock:
            stops = self._stops
            if stops and stops[-1][1] >= since:
                since = stops.pop()[0]
            stops.append((since, until))

    def stopped(self, since: float, until: float) -> float:
        """The seconds between two moments in which nothing ran; see `stop`."""
        self.look()
        with self._lock:
            return sum(
                max(0.0, min(until, end) - max(since, begin))
                for begin, end in self._stops
            )

    def within(self, seconds: float) -> float:
        """How many of the last ``seconds`` steps that block have taken."""
        self.settle()
        now = time.perf_counter()
        return sum(
            max(0.0, end - max(now - seconds, begin)) for begin, end in self._blocks
        )

    def _book(self, seconds: float) -> None:
        self._seconds += seconds
        self.mark = Mark(self._seconds)
        now = time.perf_counter()
        self._blocks.append((now - seconds, now))

    def _tell(self, suspect: Suspect, seconds: float) -> None:
        attributes: dict[str, float | str] = {
            semconv.SPANRUN_LOOP_BLOCKED_DURATION: seconds
        }
        if suspect.stack:
            attributes[semconv.SPANRUN_LOOP_BLOCKED_STACK] = suspect.stack
        try:
            self.count(suspect)
            for unit in self._units(suspect.who):
                unit.event(semconv.EVENT_SPANRUN_LOOP_BLOCKED, **attributes)
            self.say(suspect, seconds, ended=True)
            self._note(suspect, seconds)
        except Exception as error:
            if self.recorder is None:
                raise
            self.recorder.failed("traces", error)

    def _note(self, suspect: Suspect, seconds: float) -> None:
        """Tell the observers: once, however many jobs were held up."""
        place = suspect.place._asdict() if suspect.place else {}
        value, stack = {"seconds": seconds, **place}, suspect.stack or None
        if suspect.who is not None:
            suspect.who.happened("blocked", stack=stack, **value)
        elif self.observers.curious:
            now = time.time_ns()
            event = RunEvent(now, "blocked", None, None, value, stack)
            self.observers.happened(event)

    def _units(self, who: Guilty | None) -> Iterable[Told]:
        """Whose spans tell of it. Where nobody is guilty, those of all open runs."""
        guilty = [who] if who else [run for host in self.hosts for run in host.runs]
        return [one.unit for one in guilty if one.unit is not None]


_lags: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, LoopLag]] = (
    WeakKeyDictionary()
)


def lag_of(loop: asyncio.AbstractEventLoop) -> LoopLag:
    """The one `LoopLag` of ``loop``."""
    lag = _lags.get(loop)
    if lag is None:
        lag = _lags[loop] = LoopLag()
    return lag
