"""`Actor`: a worker in an actor of Ray's. It is sent by its name, and needs no Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Final

from spanrun.engines.worker import Worker


class Actor:
    """A worker on an event loop of its own.

    The actor's own loop has the messages alone, so that it gives signs of life also
    while a job blocks the worker's.

    Args:
        heartbeat: Seconds from one sign of life to the next.
    """

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat: Final = heartbeat
        self._ready: Final = threading.Event()
        self._ahead: Final[dict[int, bytes]] = {}
        self._next = 0
        self._lock: Final = threading.Lock()
        self._early: Final[list[bytes | None]] = []
        self._replies: asyncio.Queue[bytes | None] | None = None
        self._here: asyncio.AbstractEventLoop | None = None
        self._there: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        threading.Thread(
            target=lambda: asyncio.run(self._work()), name="spanrun-worker", daemon=True
        ).start()
        self._ready.wait()

    async def take(self, number: int, message: bytes) -> None:
        """Take what the driver says, in the order of the numbers, from 0.

        Ray keeps no order among the calls of an actor that is async.
        """
        assert self._there is not None  # noqa: S101 -- set before it is ready
        assert self._worker is not None  # noqa: S101 -- the same
        self._ahead[number] = message
        while (due := self._ahead.pop(self._next, None)) is not None:
            self._next += 1
            self._there.call_soon_threadsafe(self._worker.take, due)

    async def replies(self) -> AsyncGenerator[bytes]:
        """Give what the worker says, until it is closed."""
        replies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._replies = replies
        with self._lock:
            self._here = asyncio.get_running_loop()
            for message in self._early:
                replies.put_nowait(message)
        while True:
            try:
                message = await asyncio.wait_for(replies.get(), self._heartbeat)
            except TimeoutError:
                message = b""
            if message is None:
                return
            yield message

    async def _work(self) -> None:
        self._there = asyncio.get_running_loop()
        self._worker = worker = Worker(self._say)
        self._ready.set()
        await worker.closed.wait()
        self._say(None)

    def _say(self, message: bytes | None) -> None:
        """From any thread: send a message, the last one of which is None."""
        with self._lock:
            if self._here is None or self._replies is None:
                self._early.append(message)
            else:
                self._here.call_soon_threadsafe(self._replies.put_nowait, message)
