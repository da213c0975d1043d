"""`Connections`: the open connections to one server, as a transport for httpx.

httpcore's own pool looks at every connection for every request, and tries to import
a library that isn't there: 32 at once, that is 4 ms of CPU a request. Here the last
connection that was given back is taken, whatever their number.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, Final, cast
from weakref import WeakSet

import h11
import httpcore
import httpx

from spanrun.clients._protocols import Answer, Http1, Http2, tell
from spanrun.clients._stream import Stream, connect

_KEPT: Final = 128
"""Connections that may wait for the next request."""
_everywhere: Final[WeakSet[Connections]] = WeakSet()
"""All that are alive, see `make_room`."""


class Connections(httpx.AsyncBaseTransport):
    """Connections to the origin of ``url``, opened when they are needed.

    Closed is closed. The ALPN protocols of ``tls`` are set.

    Over HTTP/2 all requests share one. Where a request on it fails or is cancelled,
    later ones get another: what it left behind would count against its window.

    Args:
        url: Scheme, host and port count.
        tls: For ``https``.
        http2: With ``https`` if the server wants it, too; else without being asked.
    """

    def __init__(
        self, url: httpx.URL, *, tls: ssl.SSLContext | None, http2: bool
    ) -> None:
        self._origin: Final = httpcore.Origin(
            url.raw_scheme, url.raw_host, url.port or (443 if tls else 80)
        )
        if tls is not None:
            tls.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        self._tls: Final = tls
        self._http2: Final = http2
        self._open: Final[set[_Link]] = set()
        self._idle: Final[deque[_Link]] = deque()
        self._shared: _Link | None = None
        self._closed = False
        self._connecting: Final = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        _everywhere.add(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the response's body is yet to be read, and closed.

        Raises:
            httpx.TransportError: There is no answer.
        """
        with _as_httpx(request):
            link, answer = await self._send(request)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(self, link, answer, request),
            extensions=answer.extensions,
        )

    async def _send(self, request: httpx.Request) -> tuple[_Link, Answer]:
        trace = cast("Any", request).extensions.get("trace")
        for last in (False, True):
            link = await self._link(trace)
            try:
                return link, await link.http.ask(request, trace)
            except httpcore.ConnectionNotAvailable:  # HTTP/2: the server wants to go
                await self.done(link, well=False)
                if last:
                    break
            except BaseException:
                await self.done(link, well=False)
                raise
        raise httpcore.RemoteProtocolError("the server takes no more requests")

    async def aclose(self) -> None:
        """Close all; requests that run on them fail."""
        self._closed = True
        self._shared = None
        self._idle.clear()
        while self._open:
            await self._open.pop().stream.aclose()

    def abort(self) -> None:
        """Close all at once, from outside of their event loop, which stands still."""
        self._closed = True
        self._shared = None
        self._idle.clear()
        while self._open:
            self._open.pop().stream.abort()

    async def _link(self, trace: Any) -> _Link:
        """A connection to send on, counted as used."""
        while self._idle:
            link = self._idle.pop()
            if not link.http.expired:
                link.used += 1
                return link
            await self._close(link)
        if not self._http2:
            link = await self._connect(trace)
        else:
            async with self._connecting:
                link = await self._alive() or await self._connect(trace)
                if link.http.shared:
                    self._shared = link
        link.used += 1
        return link

    async def _alive(self) -> _Link | None:
        """The shared connection, if it still takes requests."""
        link = self._shared
        if link is None or (link.http.available and not link.http.expired):
            return link
        self._shared = None
        if not link.used:  # else who uses it last closes it
            await self._close(link)
        return None

    async def _connect(self, trace: Any) -> _Link:
        self._loop = asyncio.get_running_loop()
        host = self._origin.host.decode("ascii")
        await tell(trace, "connection.connect_tcp.started")
        try:
            stream = await connect(host, self._origin.port)
        except httpcore.ConnectError:
            await tell(trace, "connection.connect_tcp.failed")
            raise
        await tell(trace, "connection.connect_tcp.complete")
        speaks_2 = self._http2
        if self._tls is not None:
            await tell(trace, "connection.start_tls.started")
            await stream.start_tls(self._tls, host)
            await tell(trace, "connection.start_tls.complete")
            chosen = stream.get_extra_info("ssl_object").selected_alpn_protocol()
            speaks_2 = chosen == "h2"
        if self._closed:  # while this was connecting
            await stream.aclose()
            raise httpcore.ConnectError("the client was closed")
        link = _Link(stream, (Http2 if speaks_2 else Http1)(stream, self._origin))
        self._open.add(link)
        return link

    async def done(self, link: _Link, *, well: bool) -> None:
        """A request on ``link`` has ended, ``well`` or not."""
        link.used -= 1
        link.spoilt |= not well or not link.http.available
        if link.spoilt and self._shared is link:
            self._shared = None
        if link.used or link is self._shared:
            return
        if link.spoilt or link not in self._open or len(self._idle) >= _KEPT:
            await self._close(link)
            return
        self._idle.append(link)
        if self._idle[0].http.expired:  # the one that has waited longest
            await self._close(self._idle.popleft())

    async def _close(self, link: _Link) -> None:
        self._open.discard(link)
        await link.stream.aclose()

    async def close_idle(self) -> bool:
        """Close the connection that has waited longest for a request, if one does.

        Returns:
            Whether there was one. Those of another event loop aren't looked at.
        """
        if self._loop is not asyncio.get_running_loop() or not self._idle:
            return False
        await self._close(self._idle.popleft())
        return True


async def make_room() -> bool:
    """Close a connection that no request uses, whichever server it is to.

    Returns:
        Whether there was one.
    """
    for each in list(_everywhere):
        if await each.close_idle():
            return True
    return False


class _Link:
    """One connection.

    Attributes:
        stream: Its bytes.
        http: Its protocol.
        used: Requests on it.
        spoilt: It takes no more.
    """

    __slots__ = ("http", "spoilt", "stream", "used")

    def __init__(self, stream: Stream, http: Http1 | Http2) -> None:
        self.stream: Final = stream
        self.http: Final = http
        self.used = 0
        self.spoilt = False


class _Body(httpx.AsyncByteStream):
    """The body of an answer. When it is closed, its connection is free."""

    def __init__(
        self,
        connections: Connections,
        link: _Link,
        answer: Answer,
        request: httpx.Request,
    ) -> None:
        self._connections: Final = connections
        self._link: _Link | None = link
        self._answer: Final = answer
        self._request: Final = request
        self._well = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            async for part in self._answer.parts:
                yield part
        self._well = True

    async def aclose(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        try:
            with _as_httpx(self._request):
                await link.http.close(self._answer)
        finally:
            await self._connections.done(link, well=self._well)


@contextmanager
def _as_httpx(request: httpx.Request) -> Generator[None]:
    """What the libraries raise, as what httpx raises: they have the same names."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.ProtocolError, h11.ProtocolError) as why:
        kind: type[httpx.TransportError] = getattr(httpx, type(why).__name__)
        raise kind(str(why), request=request) from why
