"""`Stream`: a TCP or TLS connection of asyncio's own, as httpcore wants to use it.

httpcore's stream goes through anyio, which gives up the event loop several times in
each request and may lose bytes of a write that is cancelled: over HTTP/2, that breaks
the connection for all. Here a write is handed to the kernel before anything is awaited.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from typing import Any, Final, cast

import httpcore

from spanrun.clients._dial import dial

_HELD: Final = 256 * 1024
"""Bytes that may wait to be read; beyond them the sender has to wait."""
_TOGETHER: Final = 64 * 1024


async def connect(host: str, port: int) -> Stream:
    """Open a TCP connection.

    Raises:
        httpcore.ConnectError: That isn't possible.
    """
    loop = asyncio.get_running_loop()
    try:
        made = await dial(host, port)
        _, wire = await loop.create_connection(lambda: _Wire(loop), sock=made)
    except OSError as why:
        raise httpcore.ConnectError(str(why)) from why
    return Stream(wire)


class Stream(httpcore.AsyncNetworkStream):
    """Reads and writes until `aclose`. A timeout is the caller's own affair."""

    def __init__(self, wire: _Wire) -> None:
        self._wire: Final = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, ARG002 -- httpcore's signature
        """What has come; waits for something to come. Empty at the end."""
        wire = self._wire
        wire.flush()
        while not wire.received and not wire.over:
            await wire.wait("read")
        if wire.received:
            return wire.take(max_bytes)
        if wire.error is not None or wire.closed:
            raise httpcore.ReadError(wire.why())
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109, ARG002 -- httpcore's signature
        """Send ``buffer``; waits where the receiver is slow."""
        wire = self._wire
        if not buffer:
            return
        wire.send(buffer)
        while wire.full and not wire.over:
            await wire.wait("write")
        if wire.over:
            raise httpcore.WriteError(wire.why())

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 -- httpcore's signature
    ) -> Stream:
        """Encrypt from here on; where that fails, the connection is closed.

        Raises:
            httpcore.ConnectError: The certificate is refused, or the handshake fails.
        """
        wire = self._wire
        try:
            made = await wire.loop.start_tls(
                wire.transport, wire, ssl_context, server_hostname=server_hostname
            )
        except OSError as why:  # ssl.SSLError is one
            await self.aclose()
            raise httpcore.ConnectError(str(why)) from why
        except BaseException:
            await self.aclose()
            raise
        if made is None:
            raise httpcore.ConnectError("the connection ended before it was encrypted")
        wire.transport = made
        return self

    @property
    def ended(self) -> bool:
        """Whether the server has closed it."""
        return self._wire.over

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for."""
        if info == "is_readable":  # of an idle connection: its end, most likely
            return self.ended or bool(self._wire.received)
        return self._wire.transport.get_extra_info(info)

    def abort(self) -> None:
        """Close at once. The socket is closed when the event loop runs next."""
        self._wire.closed = True
        self._wire.transport.abort()

    async def aclose(self) -> None:
        """Close at once, whoever reads or writes; back when the socket is closed."""
        self.abort()
        while not self._wire.lost:
            await self._wire.wait("close")


class _Wire(asyncio.Protocol):
    """What has been received, and who waits for what."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self.transport: asyncio.Transport
        self.received: Final = bytearray()
        self.full = False
        self.over = False
        self.closed = False
        self.lost = False
        self.error: Exception | None = None
        self._held = False
        self._unsent: Final = bytearray()
        self._waiting: Final[dict[str, set[asyncio.Future[None]]]] = defaultdict(set)

    async def wait(self, what: str) -> None:
        """Until something happens to the connection."""
        waiter = self.loop.create_future()
        self._waiting[what].add(waiter)
        try:
            await waiter
        finally:
            self._waiting[what].discard(waiter)

    def send(self, data: bytes) -> None:
        """Send ``data``, together with what else is sent in this turn of the loop."""
        if not self._unsent:
            self.loop.call_soon(self.flush)
        self._unsent.extend(data)
        if len(self._unsent) > _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Hand what is unsent to the kernel: a head and its body in one call."""
        if self._unsent and not self.transport.is_closing():
            self.transport.write(bytes(self._unsent))
        self._unsent.clear()

    def take(self, most: int) -> bytes:
        """The first bytes received."""
        if len(self.received) <= most:
            data = bytes(self.received)
            self.received.clear()
        else:
            data = bytes(self.received[:most])
            del self.received[:most]
        if self._held and not self.over and len(self.received) < _HELD:
            self._held = False
            self.transport.resume_reading()
        return data

    def why(self) -> str:
        """Why there is nothing more."""
        if self.closed:
            return "the connection was closed on this side"
        return str(self.error or "the server has closed the connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received.extend(data)
        if len(self.received) > _HELD and not self._held:
            self._held = True
            self.transport.pause_reading()
        self._wake("read")

    def eof_received(self) -> None:
        self.over = True
        self._wake("read", "write")

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._wake("write")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.over = self.lost = True
        self._wake("read", "write", "close")

    def _wake(self, *whats: str) -> None:
        for what in whats:
            for waiter in self._waiting[what]:
                if not waiter.done():
                    waiter.set_result(None)
