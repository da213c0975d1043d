"""`Network`: asyncio's TCP and TLS, as httpcore's connections want to use them.

httpcore's own network goes through anyio, which loses the bytes of a write that is
cancelled (over HTTP/2 that breaks the connection for all) and the socket of a connect
that is cancelled as it ends, and takes half as much CPU again for a request. Here what
is written is sent, whatever happens to the task that wrote it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import httpcore

from spanrun.descriptors import exhausted

_NEXT: Final = 0.25
"""Seconds until the next address is tried as well: RFC 8305, "happy eyeballs"."""
_CLOSED_HERE: Final = "the connection was closed on this side"
_TOGETHER: Final = 64 * 1024
"""Bytes that may wait to be sent until the event loop runs next."""
_NAMES: Final = {"client_addr": "sockname", "server_addr": "peername"}
"""asyncio's names of what httpcore asks for under others."""

_Address: TypeAlias = tuple[int, int, int, str, Any]


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections. Whatever happens, no socket of a failed one is left."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 -- the same
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        """Open a TCP connection.

        Raises:
            httpcore.ConnectError: That isn't possible.
            httpcore.ConnectTimeout: Not in this time.
        """
        loop = asyncio.get_running_loop()
        wire = _Wire(loop)
        try:
            async with asyncio.timeout(timeout):
                made = await dial(host, port)
                for option in socket_options or ():
                    made.setsockopt(*option)
                transport, _ = await loop.create_connection(lambda: wire, sock=made)
        except TimeoutError as why:
            raise httpcore.ConnectTimeout(str(why)) from why
        except OSError as why:
            raise httpcore.ConnectError(str(why)) from why
        return Stream(wire, transport)

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of httpcore's own."""
        await asyncio.sleep(seconds)


class Stream(httpcore.AsyncNetworkStream):
    """Reads and writes one connection until `aclose`."""

    def __init__(self, wire: _Wire, transport: asyncio.Transport) -> None:
        self._wire: Final = wire
        self._transport = transport
        self._unsent: Final = bytearray()
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- httpcore's signature
        """What has come; waits for something to come. Empty at the end."""
        self._flush()
        try:
            if timeout is None:
                data = await self._wire.reader.read(max_bytes)
            else:
                async with asyncio.timeout(timeout):
                    data = await self._wire.reader.read(max_bytes)
        except TimeoutError as why:
            raise httpcore.ReadTimeout(str(why)) from why
        except OSError as why:
            raise httpcore.ReadError(str(why)) from why
        if not data and self._closed:
            raise httpcore.ReadError(_CLOSED_HERE)
        self._wire.unread -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- httpcore's signature
        """Send ``buffer``; waits where the receiver is slow."""
        if not buffer:
            return
        if not self._transport.is_closing():
            if not self._unsent:  # it is sent even if this task is cancelled
                self._wire.loop.call_soon(self._flush)
            self._unsent.extend(buffer)
            if len(self._unsent) > _TOGETHER:
                self._flush()
            if self._wire.writable.is_set():
                return
            try:
                async with asyncio.timeout(timeout):
                    await self._wire.writable.wait()
            except TimeoutError as why:
                raise httpcore.WriteTimeout(str(why)) from why
        if self._transport.is_closing():
            raise httpcore.WriteError(
                _CLOSED_HERE if self._closed else "the server closed the connection"
            )

    def _flush(self) -> None:
        """Hand over what is unsent: a head and its body in one call of the kernel."""
        if self._unsent and not self._transport.is_closing():
            self._transport.write(bytes(self._unsent))
        self._unsent.clear()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
    ) -> Stream:
        """Encrypt from here on; where that fails, the connection is closed.

        Raises:
            httpcore.ConnectError: The certificate is refused, or the handshake fails.
            httpcore.ConnectTimeout: It took longer.
        """
        wire = self._wire
        self._flush()
        try:
            async with asyncio.timeout(timeout):
                made = await wire.loop.start_tls(
                    self._transport, wire, ssl_context, server_hostname=server_hostname
                )
        except BaseException as why:
            await self.aclose()
            if isinstance(why, OSError):  # ssl.SSLError is one
                late = isinstance(why, TimeoutError)
                kind = httpcore.ConnectTimeout if late else httpcore.ConnectError
                raise kind(str(why)) from why
            raise
        if made is None:
            raise httpcore.ConnectError("the connection ended before it was encrypted")
        self._transport = made
        return self

    @property
    def ended(self) -> bool:
        """Whether one of the two sides has closed it."""
        return self._transport.is_closing()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for."""
        if info == "is_readable":  # of an idle connection: its end, most likely
            return self.ended or bool(self._wire.unread)
        return self._transport.get_extra_info(_NAMES.get(info, info))

    def abort(self) -> None:
        """Close at once. The socket is closed when the event loop runs next."""
        self._closed = True
        self._transport.abort()

    async def aclose(self) -> None:
        """Close at once, whoever reads or writes; back when the socket is closed."""
        self.abort()
        await asyncio.sleep(0)


class _Wire(asyncio.StreamReaderProtocol):
    """What asyncio tells of a connection; `reader` has what was received.

    asyncio's own writer doesn't survive the step to TLS where the server ends the
    connection during it, so there is none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self.reader: Final = asyncio.StreamReader(loop=loop)
        self.unread = 0
        self.writable: Final = asyncio.Event()
        self.writable.set()
        super().__init__(self.reader, loop=loop)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.unread += len(data)

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # close the socket as well: nothing more is asked on it

    def pause_writing(self) -> None:
        super().pause_writing()
        self.writable.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.writable.set()


async def dial(host: str, port: int) -> socket.socket:
    """Connect to ``host``. Whatever happens, no other socket is left open.

    asyncio's own way of doing so loses a socket where it is cancelled as that connects.

    Raises:
        OSError: Of the first address, or the one for which no descriptor was left;
            none could be reached.
    """
    loop = asyncio.get_running_loop()
    addresses = await _resolve(loop, host, port)
    if len(addresses) == 1:
        return await _connect(loop, addresses[0])
    tasks: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while addresses or tasks:
            if addresses:
                tasks.add(loop.create_task(_connect(loop, addresses.pop(0))))
            done, _ = await asyncio.wait(
                tasks,
                timeout=_NEXT if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                error = task.exception()
                if error is None:
                    tasks.discard(task)
                    return task.result()
                tasks.discard(task)
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
    finally:
        for task in tasks:
            task.add_done_callback(_close)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    raise next(filter(exhausted, errors), errors[0])


async def _resolve(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[_Address]:
    kind = socket.SOCK_STREAM
    try:  # a number needs no look-up, which would be done in a thread
        return list(
            socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
        )
    except socket.gaierror:
        return list(await loop.getaddrinfo(host, port, type=kind))


async def _connect(loop: asyncio.AbstractEventLoop, address: _Address) -> socket.socket:
    family, kind, protocol, _, place = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)  # noqa: FBT003 -- the standard library's own
        await loop.sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
