"""`run`: from ordinary code into async code, wherever that is."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import re
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from spanrun.checks import at_least, flag, optional, shown
from spanrun.errors import ConfigurationError
from spanrun.runner.ending import end_generators, end_tasks
from spanrun.runner.signals import Program, Signals, listening
from spanrun.runner.tasks import begun, discard
from spanrun.telemetry import setup

T = TypeVar("T")

GRACE: Final = 10.0
_LOOK: Final = 0.1
_OTHER_LOOP: Final = re.compile(r"different (event )?loop")


class Lent(AbstractContextManager[asyncio.Runner], Protocol):
    """Lends a runner whose loop goes on after the call."""

    def drop(self) -> None:
        """Have the loop closed: something of the call goes on, on it."""
        ...


def run(
    main: Coroutine[Any, Any, T], *, grace: float = GRACE, debug: bool | None = None
) -> T:
    """Run ``main`` to its end and give its value, in a script or inside a loop.

    Without a running loop this is `asyncio.run`. Inside one, as in a notebook,
    ``main`` runs on a loop of its own in a thread of its own, while the calling
    thread waits. Context variables go in and, at the end, come back out.

    What belongs to the outer loop (a lock, a client, an open `Runner`) can't be
    used in ``main`` then; await it there instead.

    In a script, SIGTERM is the wish to end in order: open runners admit no more
    jobs, those that run have ``grace`` seconds, then everything is cancelled. A
    second SIGTERM cancels at once, a third one ends the process. Ctrl-C cancels
    at once. Handlers that the program has set itself stay in force.

    In the end the tasks that are left are cancelled. What was cancelled and has not
    ended ``grace`` seconds later, or at a second Ctrl-C, is named in the log and
    abandoned, so that the program ends.

    Args:
        main: What to run.
        grace: Seconds that the running jobs have after SIGTERM, and whatever was
            cancelled has to end; `math.inf`: no bound.
        debug: asyncio's debug mode; None leaves that to ``PYTHONASYNCIODEBUG``.

    Raises:
        ConfigurationError: ``main`` is no coroutine, or has begun already.
        SystemExit: With 143, after SIGTERM.
        KeyboardInterrupt: After Ctrl-C, when ``main`` has ended.
        BaseException: What ``main`` raised, as it was.

    Example:
        >>> async def main() -> str:
        ...     return "done"
        >>> run(main())
        'done'
    """
    context = contextvars.copy_context()
    inside = loop_runs()
    try:
        with contextlib.nullcontext() if inside else Signals():
            return enter("run", main, context=context, grace=grace, debug=debug)
    finally:
        _take_over(context)
        if not inside and setup.telemetry() is not None:
            from spanrun.runner.summary import tell_at_end  # noqa: PLC0415 -- 40 ms

            tell_at_end(is_main=_caller() == "__main__")


def _caller() -> str | None:
    """The module that has called `run`."""
    frame = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- no other way
    return frame.f_globals.get("__name__")


def enter(
    name: str,
    main: Coroutine[Any, Any, T],
    *,
    context: contextvars.Context | None = None,
    on: Lent | None = None,
    grace: float = GRACE,
    debug: bool | None = None,
) -> T:
    """As `run`, without listening to signals; ``name`` is who calls.

    Args:
        name: For errors.
        main: What to run.
        context: In which; by default in a copy of this one.
        on: Gives the runner, with its loop; by default a new one.
        grace: As for `run`.
        debug: As for `run`.
    """
    try:
        _check(name, main)
        grace = at_least(name, "grace", grace, 0, infinite=True)
        debug = optional(flag)(name, "debug", debug)
        if context is None:
            context = contextvars.copy_context()
        runner: asyncio.Runner | Lent | None = on
        if runner is None:
            # With a factory, asyncio leaves the thread's own idle loop in its place.
            runner = asyncio.Runner(debug=debug, loop_factory=asyncio.new_event_loop)
        work = partial(_work, runner, main, context, grace)
        return _Guest(work).join() if loop_runs() else work(None)
    finally:
        discard(main)


def _check(name: str, main: object) -> None:
    kind = type(main).__name__
    if asyncio.isfuture(main):
        raise ConfigurationError(
            f"{name}({kind}): it belongs to a loop already, and can't be moved to "
            "another one: await it there, or hand over the coroutine itself"
        )
    if not asyncio.iscoroutine(main):
        raise ConfigurationError(
            f"{name}({shown(main)}): must be a coroutine, as in {name}(main())"
        )
    if begun(main):
        called = getattr(main, "__qualname__", kind)
        raise ConfigurationError(
            f"{name}({called}): this coroutine has begun already, and "
            "none runs twice: make another one"
        )


def loop_runs() -> bool:
    """Whether this code is inside a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _work(
    on: asyncio.Runner | Lent,
    main: Coroutine[Any, Any, T],
    context: contextvars.Context,
    grace: float,
    started: Callable[[Program], None] | None,
) -> T:
    with on as runner:
        loop = runner.get_loop()
        program = Program(loop, grace)
        if started is not None:
            started(program)
        with listening(program, loop):
            try:
                return runner.run(program.main(main), context=context)
            except RuntimeError:
                if program.at_once:  # the loop was stopped
                    raise asyncio.CancelledError from None
                raise
            finally:
                _end(on, loop, program)


def _end(
    on: asyncio.Runner | Lent, loop: asyncio.AbstractEventLoop, program: Program
) -> None:
    """End what is left of a call; the generators of a lent loop live on."""
    program.returned = True
    ended = False
    try:
        ended = end_tasks(loop, program)
    finally:
        if isinstance(on, asyncio.Runner):
            end_generators(loop, program)
        elif not ended:
            on.drop()


class _Guest(Generic[T]):
    """A coroutine on a loop of its own, in a thread of its own."""

    def __init__(self, work: Callable[[Callable[[Program], None]], T]) -> None:
        self._work: Final = work
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._program: Program | None = None
        self._presses = self._obeyed = 0
        self._over: Final = threading.Event()

    def join(self) -> T:
        """Wait for the end. Ctrl-C cancels the coroutine, and is raised after it."""
        thread = threading.Thread(target=self._run, name="spanrun-run")
        with self._counting():
            thread.start()
            # Not `thread.join()`: before 3.13, one that a KeyboardInterrupt breaks
            # off takes the thread for dead. And not for ever: another thread may be
            # the one that a signal wakes.
            while not self._over.is_set():
                try:
                    self._over.wait(_LOOK)
                except KeyboardInterrupt:  # of a handler that the program has set
                    self._presses += 1
                self._obey()
            thread.join()
        if self._presses:
            raise KeyboardInterrupt
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._work(self._begin))
        except BaseException as error:  # noqa: BLE001 -- raised again in `join`
            self._error = error
            if isinstance(error, RuntimeError) and _OTHER_LOOP.search(str(error)):
                error.add_note(
                    "run() was called inside a running loop, so this ran on a loop "
                    "of its own, where nothing of the other one can be used: await "
                    "the coroutine there, instead of run(…)"
                )
        finally:
            self._over.set()

    def _begin(self, program: Program) -> None:
        self._program = program

    def _counting(self) -> ExitStack:
        """Count Ctrl-C instead of raising it, which a second one can break anywhere."""
        stack = ExitStack()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with suppress(ValueError):  # this isn't the main thread
                signal.signal(signal.SIGINT, self._pressed)
                stack.callback(_raise_again, self._pressed)
        return stack

    def _pressed(self, *_: object) -> None:
        self._presses += 1

    def _obey(self) -> None:
        presses, program = self._presses, self._program
        if program is None or presses == self._obeyed:
            return
        self._obeyed = presses
        if presses == 1:
            program.cancel()
        else:
            program.end()


def _raise_again(instead: object) -> None:
    if signal.getsignal(signal.SIGINT) == instead:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _take_over(context: contextvars.Context) -> None:
    """Give this thread the context variables as ``context`` left them."""
    missing = object()
    for variable, value in context.items():
        if variable.get(missing) is not value:
            variable.set(value)
