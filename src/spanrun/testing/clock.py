"""`FakeClock`: asyncio in virtual time, which jumps ahead when all tasks wait."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import os
import selectors
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanrun import checks
from spanrun.runner.stack import frames
from spanrun.runner.tasks import discard

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")

_EPOCH_NS: Final = 1_700_000_000_000_000_000
_THREAD_PATIENCE: Final = 5.0
"""Seconds, really, for a thread of the loop's executor before time jumps on."""
_STRANGER_PATIENCE: Final = 1.0
"""Seconds, really, for a thread or signal that might yet wake a stuck loop."""
_SELF_PIPE: Final = 1
_ASYNCIO: Final = os.path.dirname(asyncio.__file__)  # noqa: PTH120 -- a prefix


class Deadlock(RuntimeError):  # noqa: N818 -- what it is
    """Every task waits for something that can't come any more."""


class FakeClock:
    """A clock for tests: a sleep of an hour takes no time.

    Time stands still while any task can run. When all of them wait, it jumps
    to the next timer, so `asyncio.sleep`, ``call_later`` and every timeout work
    as ever, at once, and in an order that is the same each time. The model is
    trio's autojump clock.

    Real sockets and threads work too. What is ready is served before time
    moves; while a socket is watched, time jumps only when nothing has come for
    ``patience`` real seconds, and without a timer the loop waits for it really.

    Where nothing can wake the loop any more, `Deadlock` says which tasks wait
    and where.

    Args:
        start: The first reading.
        patience: Real seconds for a watched socket before time jumps.

    Attributes:
        steps: How often an event loop of this clock went round.

    Example:
        >>> import asyncio
        >>> clock = FakeClock()
        >>> clock.run(asyncio.sleep(3600, "done"))
        'done'
        >>> clock.now()
        3600.0
    """

    def __init__(self, start: float = 0.0, *, patience: float = 0.02) -> None:
        self.patience: Final = checks.at_least("FakeClock", "patience", patience, 0)
        self.steps = 0
        self._now = checks.at_least("FakeClock", "start", start, -math.inf)
        self._at_step: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def wall_ns(self, now: float) -> int:
        """The reading ``now`` as nanoseconds since the Unix epoch."""
        return _EPOCH_NS + round(now * 1e9)

    def advance(self, seconds: float) -> None:
        """Let time pass on the spot, as code does that blocks the event loop."""
        self._now += checks.at_least("advance", "seconds", seconds, 0)

    def at_step(self, step: int, call: Callable[[], object]) -> None:
        """Call ``call`` at the beginning of the loop's round number ``step``."""
        checks.function("at_step", "call", call, plain=True)
        self._at_step[checks.whole("at_step", "step", step, 1)].append(call)

    def loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop in this clock's time."""
        return _Loop(self, self._step)

    def run(
        self,
        main: Coroutine[Any, Any, T],
        *,
        debug: bool | None = None,
        context: contextvars.Context | None = None,
    ) -> T:
        """Like `asyncio.run`, in virtual time.

        Raises:
            Deadlock: When all tasks wait, and nothing can wake them.
        """
        given: object = main
        if not inspect.iscoroutine(given):
            raise checks.wrong("run", "main", given, "must be a coroutine")
        try:
            checks.optional(checks.flag)("run", "debug", debug)
            checks.optional(checks.instance)(
                "run", "context", context, contextvars.Context, "copy_context()"
            )
            with asyncio.Runner(debug=debug, loop_factory=self.loop) as runner:
                return runner.run(main, context=context)
        finally:
            discard(main)

    def __repr__(self) -> str:
        return f"<FakeClock at {self._now:g} s, step {self.steps}>"

    def _step(self) -> bool:
        """One round more; whether something was called that may change things."""
        self.steps += 1
        calls = self._at_step.pop(self.steps, ())
        for call in calls:
            call()
        return bool(calls)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock, step: Callable[[], bool]) -> None:
        self._fake: Final = clock
        self.in_threads = 0
        super().__init__(_Selector(self, clock, step))

    def time(self) -> float:
        return self._fake.now()

    @property
    def _clock_resolution(self) -> float:
        """What asyncio adds to the time before it asks which timers are due.

        The machine's nanosecond is nothing beside 17 million seconds (2 ** 24):
        there a timer that is due at this very moment would never be.
        """
        return max(1e-9, math.ulp(self._fake.now()))

    @_clock_resolution.setter
    def _clock_resolution(self, _: float) -> None:
        """Not taken: what asyncio sets is the machine's."""

    # Typeshed's signature is of no use here: the future's type is the caller's.
    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self.in_threads += 1
        future.add_done_callback(self._out_of_thread)
        return future

    async def shutdown_default_executor(self, *timeout: Any) -> None:
        self.in_threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self.in_threads -= 1

    def _out_of_thread(self, _: asyncio.Future[Any]) -> None:
        self.in_threads -= 1


class _Selector(selectors.BaseSelector):
    """Where the loop waits: here virtual time passes instead."""

    def __init__(self, loop: _Loop, clock: FakeClock, step: Callable[[], bool]) -> None:
        self._loop: Final = loop
        self._clock: Final = clock
        self._step: Final = step
        self._real: Final = selectors.DefaultSelector()

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        called = self._step()
        ready = self._real.select(0)
        if ready or called or (timeout is not None and timeout <= 0):
            return ready
        watched = len(self._real.get_map()) > _SELF_PIPE
        if timeout is None:
            return self._wait(watched=watched)
        if self._loop.in_threads:
            ready = self._real.select(_THREAD_PATIENCE)
        elif watched:
            ready = self._real.select(self._clock.patience)
        if not ready:
            self._clock.advance(timeout)
        return ready

    def _wait(self, *, watched: bool) -> list[tuple[selectors.SelectorKey, int]]:
        """No timer: only a socket, a thread or a signal can wake the loop."""
        if watched or self._loop.in_threads:
            return self._real.select(None)
        if threading.active_count() > 1:
            ready = self._real.select(_STRANGER_PATIENCE)
            if ready:
                return ready
        raise Deadlock(_deadlock(self._loop))

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def _deadlock(loop: asyncio.AbstractEventLoop) -> str:
    waiting = [f"  {where(task)}" for task in asyncio.all_tasks(loop)]
    return "\n".join(
        [
            "every task waits, and no timer, socket or thread is left to wake one:",
            *sorted(waiting),
            "wake them with a timer, or cancel them",
        ]
    )


def where(task: asyncio.Task[Any]) -> str:
    """A task's name, and the line of the program's own code at which it waits."""
    place = "not begun"
    for frame in frames(task):
        code = frame.f_code
        if not code.co_filename.startswith(_ASYNCIO):
            place = f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
    return f"{task.get_name()!r} in {place}"
