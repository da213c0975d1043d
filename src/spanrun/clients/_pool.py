"""`Pool`: the open connections to any number of origins.

httpcore's own pool looks at every connection for every request, and tries to import a
library that isn't there: 32 at once, that is 2.5 ms of CPU a request. Here the last
connection that was given back is taken, whatever their number. The connections, which
speak HTTP/1.1 and HTTP/2, are httpcore's own, by their public names but for a lock.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeAlias, cast
from weakref import WeakSet, WeakValueDictionary

import httpcore
import httpx

from spanrun.clients._network import Network, Stream

_Origin: TypeAlias = tuple[bytes, bytes, int | None]
_Http: TypeAlias = httpcore.AsyncHTTP11Connection | httpcore.AsyncHTTP2Connection
_everywhere: Final[WeakSet[Pool]] = WeakSet()
"""All that are alive, see `make_room`."""
_LATE: Final = (
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "encodings.idna",
)
"""What httpcore and asyncio load in their first request, when no file descriptor may be
left to read a module by."""


class Pool:
    """Connections that are opened when they are needed, on one event loop.

    Closed is closed. Over HTTP/2 all requests to an origin share one. Where a request
    on it fails or is cancelled, later ones get another: what it left behind would
    count against its window.

    Args:
        tls: The context for ``https``, with its ALPN protocols set; called when the
            first is needed.
        http2: With ``https`` if the server wants it, too; else without being asked.
        limits: Of requests at once, and of connections that wait for the next.
    """

    def __init__(
        self, tls: Callable[[], ssl.SSLContext], *, http2: bool, limits: httpx.Limits
    ) -> None:
        with suppress(OSError):  # there is none left already: as late as else
            for name in _LATE:
                import_module(name)
        self._tls: Final = tls
        self._http2: Final = http2
        most = limits.max_connections
        self._most: Final = most
        self._places: Final = None if most is None else asyncio.Semaphore(most)
        self._kept: Final = limits.max_keepalive_connections
        self._expiry: Final = limits.keepalive_expiry
        self._network: Final = Network()
        self._loop: Final = asyncio.get_running_loop()
        self._open: Final[set[_Link]] = set()
        self._idle: Final[dict[_Link, None]] = {}  # the one that waited longest first
        self._last: Final[dict[_Origin, deque[_Link]]] = {}  # the same, by origin
        self._shared: Final[dict[_Origin, _Link]] = {}
        self._connecting: Final = WeakValueDictionary[_Origin, asyncio.Lock]()
        self._closed = False
        _everywhere.add(self)

    async def handle_async_request(
        self, request: httpcore.Request
    ) -> httpcore.Response:
        """Send ``request``; the answer's stream is yet to be read, and closed.

        Raises:
            httpcore.PoolTimeout: Too many others run.
            httpcore.NetworkError: There is no answer; or another error of httpcore's.
        """
        await self._place(request)
        try:
            return await self._send(request)
        except BaseException:
            self._leave()
            raise

    async def _send(self, request: httpcore.Request) -> httpcore.Response:
        for _ in range(2):
            link = await self._link(request)
            try:
                answer = await link.http.handle_async_request(request)
            except httpcore.ConnectionNotAvailable:  # HTTP/2: the server wants to go
                await self._done(link, well=False)
            except BaseException:
                await self._done(link, well=False)
                raise
            else:
                answer.stream = _Body(self, link, answer.stream)
                return answer
        raise httpcore.RemoteProtocolError("the server takes no more requests")

    async def aclose(self) -> None:
        """Close all; requests that run on them fail."""
        self._forget()
        while self._open:
            await self._open.pop().stream.aclose()

    def abort(self) -> None:
        """Close all at once, from outside of their event loop, which stands still."""
        self._forget()
        while self._open:
            self._open.pop().stream.abort()

    def _forget(self) -> None:
        self._closed = True
        for links in (self._shared, self._idle, self._last):
            links.clear()

    async def _place(self, request: httpcore.Request) -> None:
        """Wait while there are as many requests as there may be."""
        if self._places is None:
            return
        try:
            async with asyncio.timeout(_seconds(request, "pool")):
                await self._places.acquire()
        except TimeoutError as why:
            raise httpcore.PoolTimeout(f"{self._most} other requests run") from why

    def _leave(self) -> None:
        if self._places is not None:
            self._places.release()

    async def _link(self, request: httpcore.Request) -> _Link:
        """A connection to send ``request`` on, counted as used."""
        url = request.url
        place = (url.scheme, url.host, url.port)
        while links := self._last.get(place):
            link = links[-1]
            self._take(link)
            if not link.expired:
                link.used += 1
                return link
            await self._close(link)
        if not self._http2:
            link = await self._connect(place, request)
        else:
            lock = self._connecting.setdefault(place, asyncio.Lock())
            async with lock:
                link = await self._alive(place) or await self._connect(place, request)
                if link.shares:
                    self._shared[place] = link
        link.used += 1
        return link

    async def _alive(self, place: _Origin) -> _Link | None:
        """The shared connection, if it still takes requests."""
        link = self._shared.get(place)
        if link is None or (link.http.is_available() and not link.expired):
            return link
        del self._shared[place]
        if not link.used:  # else who uses it last closes it
            await self._close(link)
        return None

    async def _connect(self, place: _Origin, request: httpcore.Request) -> _Link:
        origin, extensions = request.url.origin, _extensions(request)
        trace, seconds = extensions.get("trace"), _seconds(request, "connect")
        host = origin.host.decode("ascii")
        if self._most is not None and len(self._open) >= self._most:
            await self.close_idle()
        await _tell(trace, "connect_tcp.started")
        try:
            stream = await self._network.connect_tcp(host, origin.port, seconds)
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            await _tell(trace, "connect_tcp.failed")
            raise
        try:
            await _tell(trace, "connect_tcp.complete")
            speaks_2 = self._http2
            if origin.scheme == b"https":
                await _tell(trace, "start_tls.started")
                name = extensions.get("sni_hostname") or host
                await stream.start_tls(self._tls(), name, seconds)
                await _tell(trace, "start_tls.complete")
                chosen = stream.get_extra_info("ssl_object").selected_alpn_protocol()
                speaks_2 = chosen == "h2"
        except BaseException:
            stream.abort()
            raise
        if self._closed:  # while this was connecting
            stream.abort()
            raise httpcore.ConnectError("the client was closed")
        http: _Http
        if speaks_2:
            http = httpcore.AsyncHTTP2Connection(origin, stream, self._expiry)
        else:
            http = httpcore.AsyncHTTP11Connection(origin, stream, self._expiry)
            # Private to httpcore, and nothing but faster: its lock, which is anyio's,
            # ends the task's step each time that it is taken, twice a request. Here
            # a connection has one request at a time, so there is nothing to lock.
            vars(http)["_state_lock"] = nullcontext()
        link = _Link(place, stream, http, shares=speaks_2)
        self._open.add(link)
        return link

    async def _done(self, link: _Link, *, well: bool) -> None:
        """A request on ``link`` has ended, ``well`` or not."""
        link.used -= 1
        link.spoilt |= not well or not link.http.is_available()
        shared = self._shared.get(link.place) is link
        if link.spoilt and shared:
            del self._shared[link.place]
            shared = False
        if link.used or shared:
            return
        if link.spoilt or link not in self._open:
            await self._close(link)
            return
        self._idle[link] = None
        self._last.setdefault(link.place, deque()).append(link)
        longest = next(iter(self._idle))
        if longest.expired or (self._kept is not None and len(self._idle) > self._kept):
            self._take(longest)
            await self._close(longest)

    def _take(self, link: _Link) -> None:
        """Let ``link``, which waits for a request, wait no longer."""
        del self._idle[link]
        links = self._last[link.place]
        if links[-1] is link:
            links.pop()
        else:
            links.remove(link)
        if not links:
            del self._last[link.place]

    async def _close(self, link: _Link) -> None:
        self._open.discard(link)
        await link.stream.aclose()

    async def given_back(self, link: _Link, *, well: bool) -> None:
        """The answer on ``link`` is closed; all of it was read if ``well``."""
        self._leave()
        await self._done(link, well=well)

    async def close_idle(self) -> bool:
        """Close the connection that has waited longest for a request, if one does.

        Returns:
            Whether there was one. Those of another event loop aren't looked at.
        """
        if self._loop is not asyncio.get_running_loop() or not self._idle:
            return False
        link = next(iter(self._idle))
        self._take(link)
        await self._close(link)
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


@dataclass(slots=True, eq=False)
class _Link:
    """One connection.

    Attributes:
        place: Whom it is to.
        stream: Its bytes.
        http: Its protocol.
        shares: Whether many requests use it at once.
        used: Requests on it.
        spoilt: It takes no more.
    """

    place: _Origin
    stream: Stream
    http: _Http
    shares: bool
    used: int = 0
    spoilt: bool = False

    @property
    def expired(self) -> bool:
        """Whether it has waited too long, or the server has ended it."""
        return self.stream.ended or self.http.has_expired()


class _Body:
    """The body of an answer. When it is closed, its connection is free."""

    def __init__(self, pool: Pool, link: _Link, parts: Any) -> None:
        self._pool: Final = pool
        self._link: _Link | None = link
        self._parts: Final = parts
        self._reading: Any = None  # httpcore's generator, once somebody reads
        # Over HTTP/1.1 the connection itself knows whether all was read.
        self._well = not link.shares

    def __aiter__(self) -> AsyncIterator[bytes]:
        reading: AsyncIterator[bytes] = aiter(self._parts)
        self._reading = reading
        return reading if self._well else self._all(reading)

    async def _all(self, reading: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in reading:
            yield part
        self._well = True

    async def aclose(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        try:
            if self._reading is not None:  # else it would end later, in a task
                with suppress(RuntimeError):  # it runs: another task reads
                    await self._reading.aclose()
            await self._parts.aclose()
            if not link.http.is_available():  # one inside of httpcore's does so
                await asyncio.sleep(0)
        finally:
            await self._pool.given_back(link, well=self._well)


def _extensions(request: httpcore.Request) -> Mapping[str, Any]:
    return cast("Any", request).extensions  # type: ignore[no-any-return]


def _seconds(request: httpcore.Request, what: str) -> float | None:
    """The time that httpx's timeouts give for it."""
    given: Mapping[str, float | None] = _extensions(request).get("timeout", {})
    return given.get(what)


async def _tell(trace: Any, event: str) -> None:
    """Say to httpcore's ``trace`` extension, if there is one, what happens."""
    if trace is not None:
        await trace(f"connection.{event}", {})
