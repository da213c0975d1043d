"""`Shortage`: requests wait where the process has no file descriptor for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import httpx

from spanrun.clients._pool import make_room
from spanrun.descriptors import AGAIN, available, exhausted
from spanrun.telemetry.log import Log

T = TypeVar("T")

_LACKING: Final = "no file descriptor is left for a request"
_log: Final = Log(__name__)


class Shortage:
    """The requests of one client that wait for a descriptor, in order of arrival.

    Nothing of them was sent, so it is a wait and no failure. It ends when another
    request gives its connection back, when there is a descriptor again, or with
    the job's timeout. Only the first in line tries, since a try may look up a name.

    Args:
        unsent: The library's error where it can't connect. Any other one may come
            when something was sent.
    """

    def __init__(self, unsent: type[Exception]) -> None:
        self._unsent: Final = unsent
        self._said = False
        self._queue = _Queue(None)

    async def connected(
        self,
        send: Callable[[httpx.Request], Awaitable[T]],
        what: httpx.Request,
        patience: float | None = None,
    ) -> T:
        """``await send(what)``, as soon as there is a descriptor for it.

        Args:
            send: Fails with the error that is ``unsent`` if there is none.
            what: Handed to it.
            patience: Seconds after which that error is raised; None for no end.
        """
        lacking: Exception | None = None
        until: float | None = None
        waited = False
        while True:
            if lacking is not None or self._queue.waiting:
                if patience is not None and until is None:
                    until = asyncio.get_running_loop().time() + patience
                limit = asyncio.timeout_at(until)
                try:
                    async with limit:
                        await self._turn(what, failed=lacking is not None)
                except TimeoutError as late:
                    if limit.expired():
                        raise lacking or self._unsent(_LACKING) from late
                    raise
                waited = True
            try:
                result = await send(what)
            except self._unsent as error:
                if not exhausted(error):
                    raise
                lacking = error
            else:
                if waited:
                    self.given_back()  # or so it may be: let the next one try
                return result

    def given_back(self) -> None:
        """A connection is free for the next request, or closed."""
        queue = self._queue
        if queue.waiting:
            queue.returned += 1
            queue.change.set()

    async def _turn(self, what: httpx.Request, *, failed: bool) -> None:
        """Wait until it may be worth a try."""
        loop = asyncio.get_running_loop()
        if self._queue.loop is not loop:
            self._queue = _Queue(loop)
        queue = self._queue
        queue.waiting += 1
        try:
            async with queue.turn:
                if not queue.returned and (failed or not available(1)):
                    self._say(what)
                    if not await make_room():
                        await queue.returns()
                queue.returned = max(0, queue.returned - 1)
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                queue.returned = 0

    def _say(self, what: httpx.Request) -> None:
        if not self._said:
            self._said = True
            _log.warning(
                f"{_LACKING} to %s: it waits until one is free; raise `ulimit -n`, or "
                "lower the runner's limit",
                what.url.netloc.decode("ascii"),
            )


class _Queue:
    """Who waits on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop: Final = loop
        self.turn: Final = asyncio.Lock()
        self.change: Final = asyncio.Event()
        self.waiting = 0
        self.returned = 0  # connections, since somebody waits

    async def returns(self) -> None:
        """Wait for a connection that is given back, but only for a while."""
        self.change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                await self.change.wait()
