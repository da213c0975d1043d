"""`Connections`: from a request to the pool of its origin or its proxy, and back.

`Pool` is for what is called directly, and httpcore's own pools are for what goes by a
proxy, all over one `Network`.
"""

from __future__ import annotations

import functools
import os
import ssl
import urllib.request
from importlib.util import find_spec
from typing import Any, Final, Protocol, cast

import httpcore
import httpx

from spanrun.clients._home import Home, close_on
from spanrun.clients._network import Network
from spanrun.clients._pool import Pool
from spanrun.proxies import proxy_for

_SOCKS: Final = ("socks5", "socks5h") if find_spec("socksio") else ()
PROXY_SCHEMES: Final = ("http", "https", *_SOCKS)
FAILURES: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
"""What httpcore raises. httpx's errors have the same names."""
_MOST_ORIGINS: Final = 1_024
"""Of which it is remembered whether they have a proxy."""


class _Sends(Protocol):
    async def handle_async_request(
        self, request: httpcore.Request, /
    ) -> httpcore.Response: ...

    async def aclose(self) -> None: ...


class Connections:
    """Connections to all origins; see `Transport`.

    They belong to one event loop and one process. When that loop is shut down they are
    closed; used on another one while it stands still, they are opened there anew.

    Args:
        tls: For ``https``; else the system's certificates.
        http2: As in `Pool`.
        proxy: For everything; else ``HTTPS_PROXY`` and its like say it.
        trust_env: Whether they do.
        limits: As in `Pool`.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None,
        http2: bool,
        proxy: httpx.Proxy | None,
        trust_env: bool,
        limits: httpx.Limits,
    ) -> None:
        self._given: Final = tls
        self._http2: Final = http2
        self._proxy: Final = proxy
        self._trust_env: Final = trust_env
        self._limits: Final = limits
        self._home: Home | None = None
        self._direct: Pool | None = None
        self._proxies: Final[dict[object, _Sends]] = {}
        self._ways: Final[dict[tuple[bytes, bytes], _Sends]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the response's body is yet to be read, and closed.

        Raises:
            httpcore.NetworkError: There is no answer; or another of `FAILURES`, also
                while the body is read.
            ConfigurationError: The proxy can't be used; or this is open on another
                event loop, which runs.
        """
        direct = self._direct
        if direct is None or self._home is None or not self._home.here:
            direct = await self._open()
        url = request.url
        way = self._ways.get((url.raw_scheme, url.netloc)) or self._way(request, direct)
        asked = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme,
                host=url.raw_host,
                port=url.port,
                target=url.raw_path,
            ),
            content=request.stream,
            extensions=cast("Any", request).extensions,
        )
        asked.headers = request.headers.raw  # as an argument each one is looked at
        answer: Any = await way.handle_async_request(asked)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=answer.stream,
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close all; requests that run on them fail. A second call does nothing."""
        await self._leave()
        home, self._home = self._home, None
        if home is not None:
            await home.forget()
            for each in self._forgotten():
                await each.aclose()

    async def _open(self) -> Pool:
        await self._leave()
        self._home = await Home.of(self.aclose)
        self._direct = Pool(self._tls, http2=self._http2, limits=self._limits)
        return self._direct

    async def _leave(self) -> None:
        """Give up what is open on another loop.

        Raises:
            ConfigurationError: That loop runs.
        """
        home = self._home
        if home is None or home.here:
            return
        loop = await home.leave("the transport")
        self._home = None
        pools = self._forgotten()
        if loop is None:  # it is closed, or the parent's
            return
        for each in pools:
            if isinstance(each, Pool):
                each.abort()
            else:
                close_on(loop, each.aclose)

    def _forgotten(self) -> list[_Sends]:
        """All pools, which are no longer this one's."""
        direct, self._direct = self._direct, None
        pools = [*([direct] if direct else ()), *self._proxies.values()]
        self._proxies.clear()
        self._ways.clear()
        return pools

    def _way(self, request: httpx.Request, direct: Pool) -> _Sends:
        """The pool for ``request``, which is remembered for its origin."""
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(
                f"{url.scheme!r} isn't http or https", request=request
            )
        way: _Sends = direct
        proxy = self._proxy or (_proxy(url) if self._trust_env else None)
        if proxy is not None:
            encrypted = url.scheme == "https"
            key = (str(proxy.url), proxy.auth, encrypted)
            if key not in self._proxies:
                self._proxies[key] = self._by_proxy(proxy, encrypted=encrypted)
            way = self._proxies[key]
        if len(self._ways) >= _MOST_ORIGINS:
            self._ways.clear()
        self._ways[url.raw_scheme, url.netloc] = way
        return way

    def _by_proxy(self, proxy: httpx.Proxy, *, encrypted: bool) -> _Sends:
        url = proxy.url
        limits = self._limits
        settings: dict[str, Any] = {
            "proxy_url": httpcore.URL(
                scheme=url.raw_scheme,
                host=url.raw_host,
                port=url.port,
                target=url.raw_path,
            ),
            "proxy_auth": proxy.raw_auth,
            "ssl_context": self._tls() if encrypted else None,
            "http2": self._http2,
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "network_backend": Network(),
        }
        if url.scheme in _SOCKS:
            return httpcore.AsyncSOCKSProxy(**settings)
        return httpcore.AsyncHTTPProxy(
            proxy_headers=proxy.headers.raw,
            proxy_ssl_context=proxy.ssl_context,
            **settings,
        )

    def _tls(self) -> ssl.SSLContext:
        context = self._given
        if context is None:
            context = _trusted(os.environ.get("SSL_CERT_FILE"), self._http2)
        context.set_alpn_protocols(["h2", "http/1.1"] if self._http2 else ["http/1.1"])
        return context


def as_httpx(why: Exception, request: httpx.Request) -> httpx.TransportError:
    """One of `FAILURES`, as httpx raises it: under the same name."""
    kind: type[httpx.TransportError] = getattr(httpx, type(why).__name__)
    return kind(str(why), request=request)


@functools.cache
def _trusted(_: str | None, __: bool) -> ssl.SSLContext:  # noqa: FBT001 -- a key
    """The system's certificates, read once; its ALPN protocols differ by the key."""
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> httpx.Proxy | None:
    if urllib.request.proxy_bypass(url.host):
        return None
    found = proxy_for(
        str(url), schemes=PROXY_SCHEMES, found=urllib.request.getproxies()
    )
    return None if found is None else httpx.Proxy(found.url)
