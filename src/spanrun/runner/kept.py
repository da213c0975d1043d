"""`KeptLoop`: one event loop for all that the main thread runs by `asyncio_run`.

What one call opened belongs to the loop that it ran on: the connections of an async
client, for instance. So the next call has the same loop. Between two calls it stands
still: tasks that a call left are cancelled and awaited, sockets stay open. Async
generators and the threads of the executor are ended when the loop is closed, at the
end of the process.

In a forked child the loop is given up, and never closed. The child shares the selector
in the kernel with its parent, which hears no more of what the child takes off it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from types import TracebackType
from typing import Any, Final, cast

from spanrun.runner.bridge import GRACE, loop_runs
from spanrun.runner.ending import end_generators, end_tasks
from spanrun.runner.signals import Program
from spanrun.telemetry.forks import notice_fork, tell_after_fork


class KeptLoop:
    """Its runner, for the time of a ``with`` block; see `lend`.

    Not a generator: what passes through one has its traceback set, which a frozen
    exception doesn't allow.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._lent = False
        self._dropped = False
        self._of_parents: Final[list[asyncio.AbstractEventLoop]] = []

    @property
    def open(self) -> bool:
        """Whether there is a loop now."""
        return self._runner is not None

    def lend(self) -> KeptLoop | None:
        """The loop's runner, to be entered; None where this isn't its place.

        That is in another thread, inside a running loop, and amid another use of it,
        as in a signal handler.
        """
        main = threading.current_thread() is threading.main_thread()
        return self if main and not self._lent and not loop_runs() else None

    def __enter__(self) -> asyncio.Runner:
        notice_fork()
        runner = self._runner
        if runner is None or runner.get_loop().is_closed():
            tell_after_fork(self)
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            self._runner = runner
        self._lent = True
        return runner

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        notice_fork()
        self._lent = False
        if self._runner is None:  # a child, which was forked inside
            _give_up(self._of_parents[-1])
            return
        if self._dropped:
            self._dropped = False
            loop = self._runner.get_loop()
            self._runner = None
            loop.close()

    def drop(self) -> None:
        """Have the next call make another loop: something of this one goes on."""
        self._dropped = True

    def close(self) -> None:
        """Close the loop, if there is one. The next call makes another."""
        notice_fork()
        runner, self._runner = self._runner, None
        if runner is None:
            return
        loop = runner.get_loop()
        try:
            if not loop.is_closed():
                loop.run_until_complete(asyncio.sleep(0))  # what was asked of it since
                program = Program(loop, GRACE)
                end_tasks(loop, program)
                end_generators(loop, program)
                loop.run_until_complete(_end(loop))
        finally:
            loop.close()

    def after_fork(self) -> None:
        """In a child process: the loop is the parent's."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        loop = runner.get_loop()
        self._of_parents.append(loop)  # for ever: what is freed is closed
        if not self._lent:
            _give_up(loop)


kept: Final = KeptLoop()
# Here, not where the loop is made: what the program registers comes after this, so it
# runs before, and can still close its clients.
atexit.register(kept.close)


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    try:
        await loop.shutdown_default_executor()
    except RuntimeError:
        # From Python 3.12 on no thread begins at the end of the process, not even the
        # one that waits for the executor's. Python has waited for those before.
        return


def _give_up(loop: asyncio.AbstractEventLoop) -> None:
    """Make ``loop``, the parent's, one that nothing here touches any more.

    A transport that is closed or freed leaves the selector of a closed loop alone.
    """
    for task in asyncio.all_tasks(loop):
        # The parent has it, too, and ends it.
        cast("Any", task)._log_destroy_pending = False  # noqa: SLF001 -- no other way
    if isinstance(loop, asyncio.BaseEventLoop):
        cast("Any", loop)._closed = True  # noqa: SLF001 -- closing would touch it
