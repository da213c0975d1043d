"""`Shortage`: requests wait where the process has no file descriptor for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from spanrun.clients._connections import make_room
from spanrun.descriptors import AGAIN, available, exhausted
from spanrun.telemetry.log import Log

S = TypeVar("S")
T = TypeVar("T")

_log: Final = Log(__name__)


class Shortage:
    """The requests of one client that wait for a descriptor, in order of arrival.

    Nothing of them was sent, so it is a wait and no failure. It ends when another
    request gives its connection back, when there is a descriptor again, or with
    the job's timeout. Only the first in line tries, since a try may look up a name.

    Args:
        server: Its name in the log.
        unsent: The library's error where it can't connect. Any other one may come
            when something was sent.
    """

    def __init__(self, server: str, unsent: type[Exception]) -> None:
        self._server: Final = server
        self._unsent: Final = unsent
        self._line: Final = asyncio.Lock()
        self._change: Final = asyncio.Event()
        self._waiting = 0
        self._returned = 0  # connections, since somebody waits
        self._said = False

    async def connected(self, send: Callable[[S], Awaitable[T]], what: S) -> T:
        """``await send(what)``, as soon as there is a descriptor for it."""
        failed = waited = False
        while True:
            if failed or self._waiting:
                await self._turn(failed=failed)
                waited = True
            try:
                result = await send(what)
            except self._unsent as error:
                if not exhausted(error):
                    raise
                failed = True
            else:
                if waited:
                    self.given_back()  # or so it may be: let the next one try
                return result

    def given_back(self) -> None:
        """A connection is free for the next request, or closed."""
        if self._waiting:
            self._returned += 1
            self._change.set()

    async def _turn(self, *, failed: bool) -> None:
        """Wait until it may be worth a try."""
        self._waiting += 1
        try:
            async with self._line:
                if not self._returned and (failed or not available(1)):
                    self._say()
                    if not await make_room():
                        await self._returns()
                self._returned = max(0, self._returned - 1)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._returned = 0

    async def _returns(self) -> None:
        """Wait for a connection that is given back, but only for a while."""
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                await self._change.wait()

    def _say(self) -> None:
        if not self._said:
            self._said = True
            _log.warning(
                "no file descriptor is left for a request to %s: it waits until one "
                "is free; raise `ulimit -n`, or lower the runner's limit",
                self._server,
            )
