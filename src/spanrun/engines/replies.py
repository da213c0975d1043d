"""`Replies`: a worker's outcomes on their way back, a few at a time."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from spanrun.runner.engine import Done, Report

GROUP: Final = 0.02
"""Seconds for which outcomes wait for others, while the worker has work."""
_MAX_BYTES: Final = 1024 * 1024
"""Of outcomes, from which on none waits."""


class Replies:
    """Sends outcomes in groups, after their spans were put where no kill reaches them.

    One without company would cost a message and a commit each. But an error goes at
    once, as it may end the run, and so does all when nothing else runs.

    Args:
        loop: The worker's.
        send: Sends a message, from any thread; it may wait.
        keep: Makes what was recorded safe; it may wait.
        limit: How many jobs the worker may run at once, now.

    Attributes:
        retried: Attempts that another one follows, by the type of their error.
        busy: Whether there are jobs that have not ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[bytes], None],
        keep: Callable[[], object] | None,
        limit: Callable[[], int],
    ) -> None:
        self._loop: Final = loop
        self._send: Final = send
        self._keep: Final = keep
        self._limit: Final = limit
        self._thread: Final = ThreadPoolExecutor(1, "spanrun-replies")
        self._rows: dict[int, list[Done]] = {}
        self._bytes = 0
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.retried: Counter[str] = Counter()
        self.busy: Callable[[], bool] = lambda: False

    def add(self, chunk: int, done: Done) -> None:
        """Send an outcome of ``chunk``, soon or at once."""
        self._rows.setdefault(chunk, []).append(done)
        self._bytes += len(done.payload)
        if done.ended != "ok" or self._bytes >= _MAX_BYTES or not self.busy():
            self._urgent = True
        self._plan()

    async def close(self) -> None:
        """Send what is left."""
        while self._rows or self._sending is not None:
            self._begin()
            assert self._sending is not None  # noqa: S101 -- it has just begun
            await self._sending
        self._thread.shutdown()

    def _plan(self) -> None:
        """Send what there is at once, or when some more has come."""
        if self._urgent:
            self._begin()
        elif self._rows and self._timer is None and self._sending is None:
            self._timer = self._loop.call_later(GROUP, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None:
            self._sending = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            # One round of the loop for what ends in the same moment.
            await asyncio.sleep(0)
            rows, self._rows, self._bytes, self._urgent = self._rows, {}, 0, False
            retried, self.retried = self.retried, Counter()
            await self._loop.run_in_executor(
                self._thread, self._deliver, rows, retried, self._limit()
            )
        finally:
            self._sending = None
            self._plan()

    def _deliver(
        self, rows: dict[int, list[Done]], retried: Counter[str], limit: int
    ) -> None:
        """In the thread: the spans first, then the outcomes."""
        if self._keep is not None:
            self._keep()
        reports: list[Report] = []
        for chunk, done in rows.items():
            more = {} if reports else dict(retried)
            reports.append(Report(chunk, done, more, limit))
        self._send(message("reports", *reports))


def message(*said: Any) -> bytes:
    """What is said, as it goes over a link."""
    return pickle.dumps(said, 5)
