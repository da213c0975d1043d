"""The watchdog: a thread that sees, from outside, what blocks an event loop.

It runs while a runner is open and telemetry is on. Each half threshold it sends each
loop a *beat*, a callback whose lateness is the metric ``spanrun.loop.lag``. While one
isn't answered, it looks at what the loop's thread is doing: so a step that blocks is
seen, and its stack is taken, while it still does so.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from spanrun.loop.lag import Guilty, Host, LoopLag, Suspect, nothing
from spanrun.loop.place import where_is
from spanrun.speed import Drive
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.threads import Worker

F = TypeVar("F")

_LEAST_INTERVAL: Final = 0.005
_MOST_INTERVAL: Final = 1.0
_DEBUGGERS: Final = ("/bdb.py", "/pdb.py", "/pydevd.py", "\\bdb.py", "\\pydevd.py")
_OVERSLEPT: Final = 3
"""Intervals: a wait this long means that the process was stopped or had no turn …"""
_IDLE: Final = 0.25
"""… if it used less than this part of it. Else it is code that keeps Python's lock."""
_LAST: Final = 1.0
"""Seconds for the thread to end: a log handler may hang in it."""
_LONG: Final = 5.0
"""Seconds after which the log has a step that has not ended."""
_VIRTUAL: Final = 60.0
"""Seconds between the loop's time and the machine's: such a loop's is a test's own."""

Look: TypeAlias = Callable[[Sequence[LoopLag]], object]
"""Called in each round of the watchdog, with the loops that it watches; at its end,
with none. It raises nothing."""

_guilty: Final[dict[CodeType, str]] = {}
_drivers: Final[set[CodeType]] = set()


def guilty_in(local: str, *, drives: bool = False) -> Callable[[F], F]:
    """Whose steps the decorated function runs is in its variable ``local``.

    With ``drives`` it says itself when a step is over, and has the step's beginning
    and its clock in ``began`` and ``now``.
    """

    def note(function: F) -> F:
        code: CodeType = cast("Any", function).__code__
        _guilty[code] = local
        if drives:
            _drivers.add(code)
        return function

    return note


class _Step(NamedTuple):
    """A step of a job, which says itself when it is over.

    Attributes:
        who: The job.
        began: When, by the job's clock.
        now: Reads that.
        outside: The innermost frame that isn't the step's.
    """

    who: Guilty
    began: float
    now: Callable[[], float]
    outside: FrameType | None


class _Sight(NamedTuple):
    """What a loop's thread is doing at this moment.

    Attributes:
        top: The innermost frame; None when the thread has ended.
        root: The frame that the loop has called; None while it waits, and as
            long as no beat has told what calls its callbacks.
        owner: The innermost frame that knows whose step this is.
        step: The job's, if it is one's.
        debugged: A debugger has halted it.
    """

    top: FrameType | None
    root: FrameType | None
    owner: FrameType | None
    step: _Step | None
    debugged: bool


class Watch:
    """Looks at one loop. `sample` is called by the watchdog's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lag: LoopLag) -> None:
        self.lag: Final = lag
        self.interval: Final = max(_LEAST_INTERVAL, lag.threshold / 2)
        self.over = False
        self._loop: Final = weakref.ref(loop)
        self._thread = threading.get_ident()
        # What calls the loop's callbacks: known once a beat has been called.
        self._caller: CodeType | None = None
        self._posted: float | None = None
        self._counts = True
        self._sampled = time.perf_counter()
        self._post(loop, self._sampled)
        self._seen: tuple[int, CodeType] | None = None
        self._seen_at = 0.0

    def sample(self) -> bool:
        """Send a beat or, while the last one isn't answered, look why.

        Returns:
            False when the loop is closed, or no runner is left on it.
        """
        now, before = time.perf_counter(), self._sampled
        self._sampled = now
        loop = self._loop()
        if loop is None or loop.is_closed() or not self.lag.hosts:
            return False
        if self._posted is None:
            self._look(now, before, beaten=False)
            try:
                self._post(loop, now)
            except RuntimeError:  # closed in this moment
                return False
        elif loop.is_running():
            self._look(now, before, beaten=True)
        else:  # between two `run_until_complete`: nobody waits for it
            self._counts = False
            self._seen = None
        return True

    def _post(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._posted, self._counts = now, True
        loop.call_soon_threadsafe(self._beat, context=contextvars.Context())

    def _beat(self) -> None:
        """The loop answers."""
        posted = self._posted
        if self.over or posted is None:
            return
        caller = sys._getframe().f_back  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- no other way
        self._caller = None if caller is None else caller.f_code
        self._thread = threading.get_ident()
        lag = self.lag
        lag.settle()
        lag.suspect = None  # between two steps nobody is
        now = time.perf_counter()
        if self._counts:
            lag.late(max(0.0, now - posted - lag.stopped(posted, now)))
        self._posted = None

    def _look(self, now: float, before: float, *, beaten: bool) -> None:
        """See which step runs, and whether it is the one of the last time."""
        sight = self._sight()
        root = sight.root
        seen, self._seen = self._seen, root and (id(root), root.f_code)
        if self._seen != seen or not beaten:
            self._seen_at = now
        if not beaten:
            return
        if sight.debugged:
            self.lag.stop(before, now)
        elif sight.step is not None:
            seconds = sight.step.now() - sight.step.began
            if seconds >= self.interval:
                self._suspect(sight, sight.step.who, sight.step.began, seconds)
        elif seen is not None and self._seen == seen:
            self._suspect(sight, _who(sight.owner), self._seen_at, now - self._seen_at)

    def _suspect(
        self,
        sight: _Sight,
        who: Guilty | None,
        since: float,
        seconds: float,
    ) -> None:
        lag, known, step = self.lag, self.lag.suspect, sight.step
        outside = step.outside if step else (sight.root and sight.root.f_back)
        if known is None or known.who is not who or known.since != since:
            where = where_is(sight.top, outside)
            known = Suspect(who, since, step is not None, *where, seconds)
            lag.accuse(known)
            if self._sight().root is not sight.root:
                lag.suspect = None  # it ended meanwhile
                return
        elif seconds >= 2 * known.taken:
            # The last one is from the second half of the step, however long it is.
            known.stack, known.place = where_is(sight.top, outside)
            known.taken = seconds
        known.lasts = seconds
        if seconds > lag.threshold:
            lag.count(known)
        if seconds > _LONG and not known.said:
            lag.say(known, seconds, ended=False)

    def _sight(self) -> _Sight:
        top = sys._current_frames().get(self._thread)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- no other way
        root = owner = step = None
        debugged = False
        driven = _driven(self.lag.stepping)
        frame = top
        while frame is not None:
            code, outer = frame.f_code, frame.f_back
            if owner is None and (frame in driven or code in _guilty):
                owner = frame
                step = driven.get(frame) or _step(frame)
            if code.co_filename.endswith(_DEBUGGERS):
                debugged = True
            if outer is not None and outer.f_code is self._caller:
                root = frame
            frame = outer
        return _Sight(top, root, owner, step, debugged)


def _driven(drive: Drive | None) -> dict[FrameType, _Step]:
    """The outermost frame of each step that runs, where C drives them."""
    found: dict[FrameType, _Step] = {}
    while drive is not None:
        frame = drive.coroutine.cr_frame
        if frame is not None:
            found[frame] = _Step(drive.job, drive.began, drive.now, frame.f_back)
        drive = drive.outer
    return found


def _step(frame: FrameType) -> _Step | None:
    """The one that ``frame`` drives, in Python; None before it began."""
    variables = frame.f_locals if frame.f_code in _drivers else {}
    began = variables.get("began")
    if began is None:
        return None
    who = variables[_guilty[frame.f_code]]
    return _Step(who, began, variables["now"], frame)


def _who(owner: FrameType | None) -> Guilty | None:
    return None if owner is None else owner.f_locals.get(_guilty[owner.f_code])


class _Watchdog:
    """The thread. There is one in the process, while there is a loop to watch."""

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self.watches: Final[dict[LoopLag, Watch]] = {}
        self._worker: Worker | None = None
        self._end = threading.Event()
        self._look: Look = _nobody_looks
        self._checking: Final = threading.Lock()
        self._sampled = self._used = 0.0

    def begin(self, loop: asyncio.AbstractEventLoop, lag: LoopLag, look: Look) -> None:
        with self.lock:
            self._look = look
            if lag in self.watches:
                return
            self.watches[lag] = Watch(loop, lag)
            lag.look = self.check
            if self._worker is not None:
                return
            self._sampled, self._used = time.perf_counter(), time.process_time()
            self._end = threading.Event()
            run = functools.partial(self._run, self._end)
            self._worker = Worker("watchdog", run)

    def end(self, lag: LoopLag) -> None:
        with self.lock:
            watch = self.watches.pop(lag, None)
            if watch is None:
                return
            watch.over = True
            lag.look, lag.suspect = nothing, None
            worker = self._worker
            if self.watches or worker is None:
                return
            self._worker = None
            self._end.set()
        worker.join(_LAST)

    def after_fork(self) -> None:
        """In the child: there is no thread, and its locks may be held for ever."""
        for lag in self.watches:
            lag.look = nothing
        _Here.watchdog = _Watchdog()

    def check(self) -> None:
        """Find out whether the process did not run since the last time."""
        with self._checking:
            now, used = time.perf_counter(), time.process_time()
            slept = now - self._sampled
            watches = tuple(self.watches.values())
            patience = _OVERSLEPT * max((w.interval for w in watches), default=slept)
            if slept > patience and used - self._used < _IDLE * slept:
                for watch in watches:
                    watch.lag.stop(self._sampled, now)
            self._sampled, self._used = now, used

    def _run(self, end: threading.Event) -> None:
        while not end.wait(self._interval()):
            self.check()
            for watch in tuple(self.watches.values()):
                try:
                    alive = watch.sample()
                except Exception as error:  # noqa: BLE001 -- counted: breaks no job
                    alive = False
                    if watch.lag.recorder is not None:
                        watch.lag.recorder.failed("traces", error)
                if not alive:
                    self._forget(watch)
            self._look(tuple(self.watches))
        self._look(())

    def _interval(self) -> float:
        watches = tuple(self.watches.values())
        wanted = (watch.interval for watch in watches)
        return min(_MOST_INTERVAL, min(wanted, default=_LEAST_INTERVAL))

    def _forget(self, watch: Watch) -> None:
        with self.lock:
            if self.watches.get(watch.lag) is watch:
                del self.watches[watch.lag]
            worker = self._worker
            if not self.watches and worker is not None and worker.is_current:
                self._worker = None
                self._end.set()


def _nobody_looks(_: Sequence[LoopLag]) -> None:
    """As long as there is no thread."""


class _Here:
    watchdog = _Watchdog()


def watch(
    loop: asyncio.AbstractEventLoop,
    lag: LoopLag,
    host: Host,
    look: Look = _nobody_looks,
) -> None:
    """``host`` is open on ``loop``, the one that runs here: look at it from outside.

    A loop in virtual time has no lag that could be measured, and is left alone.

    Args:
        loop: The loop.
        lag: What blocks it.
        host: An open runner.
        look: Called in the watchdog's thread, too, in each of its rounds.
    """
    lag.hosts.add(host)
    if abs(loop.time() - time.monotonic()) > _VIRTUAL:
        return
    tell_after_fork(_Here.watchdog)
    _Here.watchdog.begin(loop, lag, look)


def unwatch(lag: LoopLag, host: Host) -> None:
    """``host`` is closed. With the last one the thread ends."""
    lag.hosts.discard(host)
    if not lag.hosts:
        _Here.watchdog.end(lag)
