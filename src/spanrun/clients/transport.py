"""`Transport`: each request of an `httpx.AsyncClient` as one call unit."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import httpcore
import httpx

from spanrun import checks
from spanrun.clients._body import (
    ACCEPTED,
    BadCodingError,
    BodyTooLargeError,
    unpacked,
)
from spanrun.clients._connections import (
    FAILURES,
    PROXY_SCHEMES,
    Connections,
    as_httpx,
)
from spanrun.clients._send import Send
from spanrun.clients._shortage import Shortage
from spanrun.errors import ConfigurationError
from spanrun.telemetry.calling import propagate
from spanrun.text import redact

_LIMITS: Final = httpx.Limits(max_keepalive_connections=128, keepalive_expiry=30.0)


class Transport(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient`, and lets you see each send.

    For ``httpx.AsyncClient(transport=Transport())``; all that httpx does above it works
    as before: ``auth=``, hooks, cookies, redirects, timeouts, streams. Each send is a
    span by OpenTelemetry's conventions for HTTP, with the parts of its time, and the
    server is told the trace. A request at 32 at once takes a sixth of the CPU that it
    takes by httpx's own transport.

    Where the process has no file descriptor left, a request waits before a byte of it
    is sent, no longer than httpx's ``pool`` timeout. The connections belong to one
    event loop: when that is shut down they are closed, and used on another one while
    it stands still, they are opened there anew.

    Args:
        http2: Speak HTTP/2 where the server offers it over TLS; without TLS, at once.
        tls: The certificates to trust and to show; else those of the system, or of
            ``SSL_CERT_FILE``. Its ALPN protocols are set.
        proxy: For all requests.
        trust_env: Take a proxy from ``HTTPS_PROXY`` and its like where none is given.
            Loopback addresses are called directly.
        limits: ``max_connections`` is of requests at once, without an end by default;
            128 connections are kept for 30 s.
        total: Seconds for a send, from its beginning to the end of its answer. httpx's
            own timeouts never fire on a server that drips.
        max_bytes: Of an answer, unpacked. The client then gets it unpacked.
        transport: Send by this one instead, such as `httpx.MockTransport`; what is
            above, but for ``total`` and ``max_bytes``, can't be given with it.

    Raises:
        ConfigurationError: At once, for a value that can't work.

    Example:
        >>> import httpx
        >>> from spanrun.clients import Transport
        >>> client = httpx.AsyncClient(transport=Transport(total=30))
    """

    def __init__(
        self,
        *,
        http2: bool = False,
        tls: ssl.SSLContext | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = True,
        limits: httpx.Limits | None = None,
        total: float | None = None,
        max_bytes: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        kind = "Transport"
        checks.flag(kind, "http2", http2)
        checks.flag(kind, "trust_env", trust_env)
        check_tls(kind, tls)
        check_transport(kind, transport)
        example = "httpx.Limits(max_connections=100)"
        checks.optional(checks.instance)(kind, "limits", limits, httpx.Limits, example)
        self._total: Final = checks.optional(checks.above)(kind, "total", total, 0)
        self._max_bytes: Final = checks.optional(checks.whole)(
            kind, "max_bytes", max_bytes, 1
        )
        own = {
            "http2": http2,
            "tls": tls is not None,
            "proxy": proxy is not None,
            "trust_env": not trust_env,
            "limits": limits is not None,
        }
        if transport is not None and (given := [name for name in own if own[name]]):
            raise ConfigurationError(
                f"{kind}(transport=…, {given[0]}=…): nothing is done about "
                f"{given[0]} where another transport sends: give it to that one"
            )
        self._inner: Final = transport or Connections(
            tls=tls,
            http2=http2,
            proxy=_proxy(kind, proxy),
            trust_env=trust_env,
            limits=limits or _LIMITS,
        )
        unsent = httpx.ConnectError if transport else httpcore.ConnectError
        self._shortage: Final = Shortage(unsent)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the response's body is yet to be read, and closed.

        Raises:
            httpx.TransportError: There is no answer, or not in time.
            ConfigurationError: The proxy can't be used; or this is open on another
                event loop, which runs.
        """
        if self._max_bytes is not None:
            request.headers["Accept-Encoding"] = ACCEPTED
        send = Send(request, self._total)
        try:
            propagate(request.headers)
            ask = self._inner.handle_async_request
            connected = self._shortage.connected(ask, request, send.patience)
            try:
                response = await send.in_time(connected)
            except FAILURES as why:
                raise as_httpx(why, request) from why
        except BaseException as error:
            send.end(error)
            raise
        send.answered(response)
        body = _Body(send, response, self._shortage.given_back)
        if response.is_closed:  # it came with all of its body, as from a mock
            send.received = len(response.content)
            send.read()
            await body.aclose()
        elif self._max_bytes is None or request.method == "HEAD":
            response.stream = body
        else:
            response.stream = _Unpacked(body, response, self._max_bytes)
        return response

    async def aclose(self) -> None:
        """Close the connections; requests that run fail. A second call does nothing."""
        await self._inner.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer; with it ends the send."""

    def __init__(
        self, send: Send, response: httpx.Response, given_back: Callable[[], None]
    ) -> None:
        self._send: Final = send
        self._parts: Final = cast("httpx.AsyncByteStream", response.stream)
        self._given_back: Final = given_back
        self._error: BaseException | None = None
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        send = self._send
        try:
            async for part in self._parts if send.until is None else self._in_time():
                send.received += len(part)
                yield part
        except FAILURES as why:
            self._error = as_httpx(why, send.request)
            raise self._error from why
        except Exception as error:
            self._error = error
            raise
        send.read()

    async def _in_time(self) -> AsyncIterator[bytes]:
        parts = aiter(self._parts)
        while (part := await self._send.in_time(anext(parts, None))) is not None:
            yield part

    async def aclose(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            await self._parts.aclose()
        except FAILURES as why:
            raise as_httpx(why, self._send.request) from why
        finally:
            self._send.end(self._error)
            self._given_back()


class _Unpacked(httpx.AsyncByteStream):
    """A body within bounds, without the codings that its head no longer names."""

    def __init__(self, body: _Body, response: httpx.Response, max_bytes: int) -> None:
        self._body: Final = body
        self._max_bytes: Final = max_bytes
        self._codings: Final = response.headers.pop("Content-Encoding", "")
        if self._codings:
            response.headers.pop("Content-Length", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in unpacked(self._body, self._codings, self._max_bytes):
                yield part
        except BodyTooLargeError:
            raise httpx.DecodingError(
                f"the answer is larger than {self._max_bytes} bytes"
            ) from None
        except BadCodingError as why:
            raise httpx.DecodingError(
                f"the answer can't be decompressed: {why}"
            ) from why

    async def aclose(self) -> None:
        await self._body.aclose()


def check_tls(where: str, tls: object) -> None:
    """Refuse a ``tls`` that isn't a context."""
    example = "ssl.create_default_context()"
    checks.optional(checks.instance)(where, "tls", tls, ssl.SSLContext, example)


def check_transport(where: str, transport: object) -> None:
    """Refuse a ``transport`` that isn't one of httpx."""
    check = checks.optional(checks.offers)
    member = "handle_async_request"
    check(where, "transport", transport, member, "a transport of httpx")


def _proxy(where: str, given: object) -> httpx.Proxy | None:
    if given is None or isinstance(given, httpx.Proxy):
        return given
    hint = f"must be a proxy's URL, of {', '.join(PROXY_SCHEMES)}"
    if not isinstance(given, str | httpx.URL):
        raise checks.wrong(where, "proxy", given, hint)
    try:
        proxy = httpx.Proxy(given)
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in PROXY_SCHEMES or not proxy.url.host:
        # Not quoted: there may be a password in it.
        raise ConfigurationError(f"{where}(proxy={redact(str(given))!r}): {hint}")
    return proxy
