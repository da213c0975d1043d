"""SIGINT and SIGTERM during `run`: stop admitting, let jobs end, cancel, exit.

======= ======================================= ================ ==============
signal  the first                               the next         after that
======= ======================================= ================ ==============
SIGTERM drains: no more jobs are admitted, and  cancels at once  ends at once,
        what runs has ``grace`` seconds; then                    by the
        cancels. The exit status is 143.                         system's own
SIGINT  cancels at once, `KeyboardInterrupt`    ends at once     handling
======= ======================================= ================ ==============

What was cancelled has ``grace`` seconds to end. A job that doesn't is abandoned then,
and main that doesn't end either, once more so many seconds later: so the program can
end. What ends at once waits for nothing any more.

The two are counted apart, and the more urgent one rules. Only `run` in the main
thread, without a loop that runs already, listens. A handler that the program has
set itself stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, TypeVar

from spanrun.causes import leaves
from spanrun.errors import JobCancelled, ShuttingDown
from spanrun.runner import terminated
from spanrun.runner.opened import abandon, drain, stop
from spanrun.telemetry import setup
from spanrun.telemetry.observe import RunEvent

T = TypeVar("T")

_DRAIN, _CANCEL, _ABANDON = 1, 2, 3
LAST: Final = 1.0
"""Seconds for the last steps of what was cancelled, where nothing is waited for."""
_NOT_THE_USERS: Final = (
    str(Path(__file__).parent.parent),
    str(Path(asyncio.__file__).parent),
)
_TAKEN: Final = (
    (signal.SIGINT, (signal.default_int_handler,)),
    (signal.SIGTERM, (signal.SIG_DFL, terminated.raise_exit)),
)


class Program:
    """A main coroutine on its loop, and what a signal asks of it.

    Args:
        loop: Where it runs.
        grace: Seconds that its jobs have when it is drained, and once more when they
            were cancelled.

    Attributes:
        stage: What it has begun to do: 0, drain, cancel or abandon.
        over: The coroutine has ended.
        at_once: It is to end without waiting for anything.
        returned: Its loop is no longer run for the coroutine.
        thread: Where its loop runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self._loop: Final = loop
        self._grace: Final = grace
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._abandon_at: float | None = None
        self.stage = 0
        self.over = False
        self.at_once = False
        self.returned = False
        self.thread: Final = threading.get_ident()

    @property
    def patience(self) -> float:
        """Seconds that what was cancelled still has to end."""
        if self.at_once:
            return LAST
        if self._abandon_at is None:
            return self._grace
        return max(LAST, self._abandon_at - self._loop.time())

    async def main(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine``, unless a signal was faster."""
        self._task = asyncio.current_task()
        try:
            if self.stage:
                raise asyncio.CancelledError
            return await coroutine
        finally:
            self.over = True
            coroutine.close()
            if self._timer is not None:
                self._timer.cancel()

    def cancel(self) -> None:
        """Cancel the jobs and the main task, from any thread."""
        self.ask(_CANCEL)

    def end(self, after: float = 0.0) -> None:
        """Stop the loop, from any thread: whatever runs then is not waited for."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
            self._loop.call_soon_threadsafe(self._loop.call_later, after, self._stop)

    def _stop(self) -> None:
        self.at_once = True
        if not self.returned:
            self._loop.stop()

    def ask(self, stage: int, number: int | None = None) -> None:
        """Drain or cancel, from any thread, and from a signal's handler: ``number``."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
            self._loop.call_soon_threadsafe(self._reach, stage, number)

    def _reach(self, stage: int, number: int | None = None) -> None:
        if self.over or stage <= self.stage:
            return
        if number is not None:
            _note(number, stage)
        self.stage = stage
        if stage == _DRAIN and drain(self._loop):
            if math.isfinite(self._grace):
                self._timer = self._loop.call_later(self._grace, self._reach, _CANCEL)
            return
        if stage == _ABANDON:
            abandon(self._loop)
            # Who waited for them has its own cleaning up to do, and as long for it.
            self._timer = self._loop.call_later(self._grace, self._stop)
            return
        self.stage = _CANCEL
        stop(self._loop, "signal")
        if self._task is not None:
            self._task.cancel()
        if math.isfinite(self._grace):
            self._abandon_at = self._loop.time() + self._grace
            self._timer = self._loop.call_at(self._abandon_at, self._reach, _ABANDON)


class _Active:
    signals: Signals | None = None


# No generator is a context manager around the user's code: `contextlib` sets the
# traceback of what is raised through one, which a frozen exception doesn't let it do.


def listening(program: Program, loop: asyncio.AbstractEventLoop) -> ExitStack:
    """Let ``program`` hear of the signals, where the main thread's `run` listens."""
    signals = _Active.signals
    with ExitStack() as stack:
        if signals is not None:
            stack.callback(signals.programs.discard, program)
            behind = signals.add(program)
            if behind:
                program.ask(behind)
            signals.wake(loop, stack)
        return stack.pop_all()


class Signals:
    """Has SIGINT and SIGTERM for the time of one `run`, and puts them back after.

    The handlers are Python's own, which run also while a job blocks the loop.
    The loop's ``add_signal_handler`` only wakes it, whichever thread is told.

    Raises:
        SystemExit: On leaving, after SIGTERM: 143.
        KeyboardInterrupt: On leaving, when SIGINT cancelled the main task.
    """

    def __init__(self) -> None:
        self.programs: Final[set[Program]] = set()
        self._times: Final[Counter[int]] = Counter()
        self._asked = 0
        self._first: int | None = None
        self._before: Final[dict[signal.Signals, Any]] = {}

    def __enter__(self) -> None:
        if (
            threading.current_thread() is not threading.main_thread()
            or _Active.signals is not None
        ):
            return
        for number, defaults in _TAKEN:
            # ValueError: an embedded interpreter without signals.
            with contextlib.suppress(ValueError):
                before = signal.getsignal(number)
                if before in defaults:
                    signal.signal(number, self._received)
                    self._before[number] = before
        _Active.signals = self

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> None:
        if _Active.signals is self:
            _Active.signals = None
        for number, default in self._before.items():
            if signal.getsignal(number) == self._received:
                signal.signal(number, default)
        if self._first == signal.SIGTERM and (error is None or _by_signal(error)):
            raise SystemExit(terminated.STATUS)
        if self._first == signal.SIGINT and error is not None and _by_signal(error):
            _shorten(error)
            raise KeyboardInterrupt

    def wake(self, loop: asyncio.AbstractEventLoop, stack: ExitStack) -> None:
        """Wake ``loop`` for each signal until ``stack`` ends, in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(NotImplementedError):  # Windows
            for number in self._before:
                stack.callback(_leave_alone, loop, number)
                loop.add_signal_handler(number, lambda: None)
                signal.signal(number, self._received)

    def add(self, program: Program) -> int:
        """Let it hear from now on; gives what it is to do at once.

        Where a signal came and a program could not obey yet, its loop waits for
        this one. Where it could, this one may be part of its cleaning up.
        """
        others = self._live()
        self.programs.add(program)
        late = any(each.stage < self._asked for each in others)
        return self._asked if late else 0

    def _live(self) -> list[Program]:
        return [program for program in tuple(self.programs) if not program.over]

    def _received(self, number: int, frame: FrameType | None) -> None:
        interrupt = number == signal.SIGINT
        if self._first is None:
            self._first = number
        # Counted apart: a first SIGTERM after Ctrl-C must not end the process.
        self._times[number] += 1
        stage = self._times[number] + interrupt
        if stage > _CANCEL or (interrupt and not self._live()):
            if interrupt:
                for program in self._live():
                    program.at_once = True
                    # What is raised below ends this thread's, unless a job takes it.
                    # Then jobs are abandoned, and main has as long to end.
                    here = program.thread == threading.get_ident()
                    program.end(after=2 * LAST if here else 0.0)
                signal.default_int_handler(number, frame)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = max(self._asked, stage)
        for program in self._live():
            program.ask(stage, number)


def _note(number: int, stage: int) -> None:
    """Tell the observers, on the loop: in a signal's handler locks may be held."""
    name = signal.Signals(number).name
    value = {"signal": name, "action": "drain" if stage == _DRAIN else "cancel"}
    event = RunEvent(time.time_ns(), "signal", None, None, value, None)
    setup.observers().happened(event)


def _leave_alone(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    """Wake ``loop`` no more; the handler that is in force stays so."""
    now = signal.getsignal(number)
    loop.remove_signal_handler(number)
    signal.signal(number, now)


def _shorten(error: BaseException) -> None:
    """Leave the frames of the program's own code in the traceback of ``error``."""
    kept: TracebackType | None = None
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if not frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            kept = TracebackType(kept, frame, frame.f_lasti, line)
    error.with_traceback(kept)


def _by_signal(error: BaseException) -> bool:
    """Whether ``error`` is what a cancelled or drained program ends with."""
    return all(
        isinstance(part, asyncio.CancelledError | ShuttingDown | JobCancelled)
        for part in leaves(error)
    )
