"""`Home`: the event loop that a client is open on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self
from weakref import WeakMethod

from spanrun.errors import ConfigurationError


class Home:
    """A client's event loop, in the process where the client was opened.

    The client is closed when the loop is shut down, as `asyncio.run` does at its end,
    so that it can be opened on another one with nothing left behind.

    Args:
        closes: The client's method that closes it; not held, so that a client which
            is forgotten is freed.
    """

    def __init__(self, closes: Callable[[], Awaitable[None]]) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self._pid: Final = os.getpid()
        # Loops close what async generators are left, while they still run.
        self._end: Final = _at_end(WeakMethod(closes))

    @classmethod
    async def of(cls, closes: Callable[[], Awaitable[None]]) -> Self:
        """The loop that runs here."""
        home = cls(closes)
        await anext(home._end)
        return home

    @property
    def here(self) -> bool:
        """Whether this code is on that loop; in a forked child, none is."""
        return self.loop is asyncio.get_running_loop() and self._pid == os.getpid()

    async def forget(self) -> None:
        """The client is closed."""
        with suppress(RuntimeError):  # its end is what closes the client just now
            await anext(self._end, None)

    async def leave(self, who: str) -> asyncio.AbstractEventLoop | None:
        """Let the client be opened on another loop; it is no longer open there.

        Returns:
            The loop, if what is open there can be closed from here.

        Raises:
            ConfigurationError: The loop runs: the client may be in use there.
        """
        parents = self._pid != os.getpid()  # with all that is on it
        if not parents and self.loop.is_running():
            raise ConfigurationError(
                f"{who} is open on another event loop, which runs: close it there, or "
                "make one for each loop"
            )
        await self.forget()
        return None if parents or self.loop.is_closed() else self.loop


def close_on(
    loop: asyncio.AbstractEventLoop, close: Callable[[], Awaitable[Any]]
) -> None:
    """Have ``loop``, which stands still, do that when it runs again or is shut down."""

    async def closing() -> None:
        await close()

    with suppress(RuntimeError):  # it was closed in this moment
        loop.call_soon_threadsafe(lambda: loop.create_task(closing()))


async def _at_end(
    closes: WeakMethod[Callable[[], Awaitable[None]]],
) -> AsyncGenerator[None, None]:
    try:
        yield
    except GeneratorExit:  # the loop is being shut down
        close = closes()
        if close is not None:
            await close()
        raise
