"""`LoopbackServer`: an HTTP server in a thread of its own, gone when it is left."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeAlias

from spanrun.testing._http import Answer, BadRequestError, Request, read_request

Respond: TypeAlias = Callable[[Request], Awaitable[Answer]]
Refuse: TypeAlias = Callable[[int, str], Answer]

_DRIPS, _DRIP = 100, 0.05  # a body in so many parts, so many seconds apart: 5 s
_PATIENCE = 1.0  # seconds for a refused request to end
_BACKLOG = 1024  # connections that may knock at the same time


class LoopbackServer:
    """Serves HTTP/1.1 on a free port of 127.0.0.1, from `start` to `stop`.

    Args:
        respond: Answers a request; runs in the server's own event loop.
        refuse: Makes the answer to what isn't a request: of a status and a message.
    """

    def __init__(self, respond: Respond, refuse: Refuse) -> None:
        self._respond = respond
        self._refuse = refuse
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    def start(self) -> None:
        """Return once connections are accepted. Raises OSError."""
        ready: Future[int] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="spanrun-loopback", daemon=True
        )
        self._thread.start()
        self.port = ready.result()

    def stop(self) -> None:
        """Close every connection, also in the middle of an answer; end the thread."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = None

    def _run(self, ready: Future[int]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # `start` raises it

    async def _serve(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, backlog=_BACKLOG
        )
        ready.set_result(server.sockets[0].getsockname()[1])
        try:
            await self._stopping.wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        # A task of our own: in 3.11 asyncio logs an error when its own is cancelled.
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
            writer.close()
            await writer.wait_closed()  # what was written is sent
        except ConnectionError:
            pass  # the client is gone: nobody is left to be told
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)  # the transport closes its socket

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request. Whether there may be another one."""
        try:
            request = await read_request(reader)
            if request is None:
                return False
            answer = await self._respond(request)
        except BadRequestError as error:
            answer = self._refuse(error.status, str(error))
            writer.write(answer.head(keep_alive=False) + answer.body)
            await _discard(reader)
            return False
        head = answer.head(keep_alive=request.keep_alive)
        half = len(answer.body) // 2
        match answer.delivery:
            case "whole":
                writer.write(head + answer.body)
                await writer.drain()
                return request.keep_alive
            case "drip":
                await _drip(writer, head, answer.body)
                return request.keep_alive
            case "hang":
                await reader.read(1)  # until the client gives up
            case "reset":
                writer.write(head + answer.body[:half])
                _reset_on_close(writer)
            case "truncate":
                writer.write(head + answer.body[:half])
        await writer.drain()
        return False


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read on for a moment: to close on unread data would reset the connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while await reader.read(65536):
                pass


async def _drip(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
    writer.write(head)
    step = max(1, len(body) // _DRIPS)
    for at in range(0, len(body), step):
        writer.write(body[at : at + step])
        await writer.drain()
        await asyncio.sleep(_DRIP)


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Let the connection end with RST, as a crashed process or a firewall does it."""
    connection: socket.socket = writer.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
