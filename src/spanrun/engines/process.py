"""`ProcessEngine`: workers are processes of this machine, each behind a socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

from spanrun.checks import above, optional, whole
from spanrun.engines.frames import HEAD
from spanrun.engines.pool import MISSED, LinkPool
from spanrun.errors import ConfigurationError
from spanrun.runner.engine import WorkerSpec
from spanrun.runner.pickled import dumps

_CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from spanrun.engines.child import main; main()"
)
_BUFFER: Final = 1024 * 1024
_PATIENCE: Final = 10.0
"""Seconds that a worker has to end; its telemetry has half of that."""
_EVERY: Final = 0.005
"""Seconds between two looks whether a process that was killed is gone."""


class ProcessEngine:
    """Runs the jobs of a runner in processes on this machine.

    A worker is started when the runner is opened, and another one in its place when it
    dies. It imports what a job needs, by name: functions at the top of a module, and
    items and results that can be pickled. The main module is imported, too, when
    something of it is sent, so what it does stands under
    ``if __name__ == "__main__":``.

    Args:
        workers: How many; by default one for each processor that may be used.
        chunk: The most jobs that are sent together; by default as many as a worker ends
            in a tenth of a second.
        lost_after: Seconds of silence after which a worker counts as lost, and is
            killed. It gives signs of life also while a job blocks its event loop, but
            not while one holds the interpreter's lock.

    Raises:
        ConfigurationError: At once, for a value that can't work.

    Example:
        >>> ProcessEngine(workers=2)
        ProcessEngine(workers=2)
    """

    name: ClassVar = "process"

    def __init__(
        self,
        workers: int | None = None,
        *,
        chunk: int | None = None,
        lost_after: float = 10.0,
    ) -> None:
        if sys.platform == "win32":
            raise ConfigurationError("ProcessEngine: there is none for Windows yet")
        given = optional(whole)("ProcessEngine", "workers", workers, 1)
        self.workers: Final = given or len(os.sched_getaffinity(0))
        self.chunk: Final = optional(whole)("ProcessEngine", "chunk", chunk, 1)
        self._lost_after: Final = above("ProcessEngine", "lost_after", lost_after, 0)
        self.heartbeat: Final = self._lost_after / MISSED

    def __repr__(self) -> str:
        return f"ProcessEngine(workers={self.workers})"

    def dumps(self, value: Any, /) -> bytes:
        """Pickle a function, by its name."""
        return dumps(value)

    async def open(self, specs: Sequence[WorkerSpec]) -> LinkPool:
        """Make a pool with a place for each of ``specs``."""
        return LinkPool(partial(_connect, self.heartbeat), specs, _PATIENCE)


async def _connect(heartbeat: float, _: int) -> _ProcessLink:
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        told = (str(descriptor), json.dumps(sys.path), str(heartbeat))
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 -- our own code
                [sys.executable, "-c", _CODE, *told],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
            )
        except BaseException:
            ours.close()
            raise
    try:
        reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER)
    except BaseException:
        ours.close()
        process.kill()
        process.wait()
        raise
    return _ProcessLink(process, reader, writer)


class _ProcessLink:
    """The way to a worker in a child process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process: Final = process
        self._reader: Final = reader
        self._writer: Final = writer

    def send(self, message: bytes) -> None:
        """Send a message, in order."""
        if self._writer.is_closing():
            return  # the process is gone, and `receive` says so
        self._writer.write(HEAD.pack(len(message)))
        self._writer.write(message)

    async def receive(self) -> bytes | None:
        """Wait for a message; None when no more will come."""
        try:
            (size,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None

    def kill(self) -> None:
        """End the process at once; one that is stopped, too."""
        self._process.kill()

    async def ended(self) -> str:
        """Wait until the process is gone; how it ended."""
        self._writer.close()
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 -- no event
            await asyncio.sleep(_EVERY)
        if code >= 0:
            return f"process {self._process.pid} ended with exit code {code}"
        return f"process {self._process.pid} was ended by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
