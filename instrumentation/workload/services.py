"""Services on the loopback that are slow, fail and go away as the workload needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

SLOW: float = 0.05
"""The share of requests that are slow."""
FAILING: float = 0.02
"""The share of those that are answered with 500."""

_REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}


def fate(seed: int, name: str, number: int) -> tuple[bool, bool]:
    """Whether the item of that number is slow, and whether it fails; always alike."""
    drawn = Random(f"{seed} {name} {number}")  # noqa: S311 -- no secret
    return drawn.random() < SLOW, drawn.random() < FAILING


class Services:
    """What is asked for as ``/name/number``, by any client.

    Args:
        seed: Of the fate of each number.
        usual: Seconds that an answer takes.
        slow: Seconds that a slow one takes.

    Attributes:
        seed: As it was given.
        down: Names of services that are gone: each request is answered with 500.
        port: Where they are.
    """

    def __init__(self, seed: int, *, usual: float = 0.02, slow: float = 0.6) -> None:
        self.seed = seed
        self._usual = usual
        self._slow = slow
        self.down: set[str] = set()
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        """Be there, at the URL that this gives."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, self.port = server.sockets[0].getsockname()[:2]
        try:
            yield f"http://{host}:{self.port}"
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass  # headers
                status = await self._status(line.split()[1].decode())
                head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
                writer.write(f"{head}Content-Length: 2\r\n\r\nok".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that is gone, such as the slower one of a hedge
        finally:
            writer.close()

    async def _status(self, path: str) -> int:
        _, name, number = path.split("/")
        if name in self.down:
            return 500
        is_slow, fails = fate(self.seed, name, int(number))
        await asyncio.sleep(self._slow if is_slow else self._usual)
        return 500 if fails else 200
