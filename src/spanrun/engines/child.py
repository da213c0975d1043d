"""The process of a `ProcessEngine`'s worker, which its parent starts by `main`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

from spanrun.engines.frames import read_frame, write_frame
from spanrun.engines.worker import Worker

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Be a worker, until the parent says so or is gone."""
    for each in _SIGNALS:
        # They are for the parent, which drains: a shell and a service manager send them
        # to all. A handler, as what jobs start would inherit that they are ignored.
        signal.signal(each, _leave_it)
    link = socket.socket(fileno=int(sys.argv[1]))
    asyncio.run(_Child(link).serve())
    # Threads that a job left don't keep a worker.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_it(*_: object) -> None:
    """The signal isn't for us."""


class _Child:
    def __init__(self, link: socket.socket) -> None:
        self._link: Final = link
        self._stream: Final = link.makefile("rb")
        self._lock: Final = threading.Lock()
        self._parent: Final = os.getppid()
        self._closing: Final = threading.Event()

    async def serve(self) -> None:
        """Take messages until the worker is closed."""
        worker = Worker(self._send)
        loop = asyncio.get_running_loop()
        for work in (self._read, self._beat):
            threading.Thread(
                target=work, args=(worker, loop), name="spanrun-link", daemon=True
            ).start()
        await worker.closed.wait()
        self._closing.set()

    def _send(self, message: bytes) -> None:
        with self._lock, suppress(OSError):  # the parent is gone, and `_read` knows
            write_frame(self._link, message)

    def _read(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, so that the parent's end is seen while a job blocks the loop."""
        while (message := read_frame(self._stream)) is not None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(worker.take, message)
        self._end(worker)

    def _beat(self, worker: Worker, _: asyncio.AbstractEventLoop) -> None:
        """Say that the worker lives, and look whether the parent does.

        Another child of the parent's may have the other end of the link open.
        """
        every = float(sys.argv[3])
        while not self._closing.wait(every):
            self._send(b"")
            if os.getppid() != self._parent:
                self._end(worker)

    def _end(self, worker: Worker) -> None:
        """The parent is gone, and nobody wants to hear of a job any more."""
        if not self._closing.is_set():
            worker.keep()
            os._exit(1)
