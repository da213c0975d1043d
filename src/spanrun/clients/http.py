"""`HttpClient`: one HTTP request as one call unit, and its answer checked."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import ssl
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final, cast

import httpx

from spanrun import checks, semconv
from spanrun.causes import causes
from spanrun.clients._answers import Answers
from spanrun.clients._body import ACCEPTED
from spanrun.clients._connections import Connections
from spanrun.clients._discreet import Discreet, filter_logs
from spanrun.clients._home import close_on
from spanrun.clients._phases import Phases
from spanrun.clients._shortage import Shortage
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.policies.overload import STATUSES, overloaded, status_of
from spanrun.proxies import proxy_for
from spanrun.retry_after import retry_after
from spanrun.telemetry import setup
from spanrun.telemetry.calling import Untold, calling, propagate
from spanrun.telemetry.current import attempt_number
from spanrun.telemetry.units.call import CallKind, CallUnit
from spanrun.text import redact

__all__ = ["MAX_BYTES", "HttpClient", "retry_after", "transient"]

MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_PORT: Final = 65_535
_SOCKS: Final = ("socks5", "socks5h") if find_spec("socksio") else ()
_PROXY_SCHEMES: Final = ("http", "https", *_SOCKS)
_TRANSPORT: Final = "a transport of httpx"
_TRANSIENT: Final = STATUSES | {408, 425, 500}


def transient(error: Exception) -> bool:
    """Whether another attempt may help: the network failed, or the service is busy.

    Made for ``Retry(on=transient)``, also of calls by other clients: a status decides
    where the error has one. A certificate that is refused once is refused again, and a
    quota that is used up stays so.
    """
    if isinstance(error, ServiceError) and error.final:
        return False
    if any(isinstance(why, ssl.SSLCertVerificationError) for why in causes(error)):
        return False
    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT
    return overloaded(error) or isinstance(_reason(error), httpx.TransportError)


def _reason(error: Exception) -> BaseException | None:
    """What happened, where a service gave no answer."""
    return error.__cause__ if isinstance(error, ServiceError) else error


class HttpClient:
    """Sends JSON to one server and gives its answers; each request is a call unit.

    It has no retry, limit or timeout of its own: the runner that it is called
    in has. Redirects are not followed and cookies not kept, so that credentials go
    nowhere else. A proxy is taken from ``HTTPS_PROXY`` and its like, but loopback
    addresses are called directly.

    Args:
        base_url: ``http`` or ``https``, with a host. Its query is kept; a user and
            password are sent as an ``Authorization`` header.
        headers: Sent with each request; never in telemetry or in an error.
        error: Raised for a bad answer.
        max_bytes: Of an answer, unpacked.
        http2: Speak HTTP/2 where the server offers it over TLS; without TLS, at once.
        tls: The certificates to trust and to show; else those of the system, or of
            ``SSL_CERT_FILE``. Its ALPN protocols are set.
        transport: For tests.

    Raises:
        ConfigurationError: ``base_url`` or a header can't be used.

    Attributes:
        base_url: Without a user and password.
        server: The attributes that name the server in telemetry.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        error: type[ServiceError] = ServiceError,
        max_bytes: int = MAX_BYTES,
        http2: bool = False,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = _url(base_url)
        self.base_url: Final = url.copy_with(userinfo=b"")
        max_bytes = checks.whole("HttpClient", "max_bytes", max_bytes, 1)
        http2 = checks.flag("HttpClient", "http2", http2)
        context = "ssl.create_default_context()"
        checks.optional(checks.instance)(
            "HttpClient", "tls", tls, ssl.SSLContext, context
        )
        checks.optional(checks.offers)(
            "HttpClient", "transport", transport, "handle_async_request", _TRANSPORT
        )
        # Not left to httpx, whose error would quote the value.
        sent = {} if headers is None else checks.headers("HttpClient", headers)
        given = {**_authorization(url), **sent}
        self._headers: Final = httpx.Headers(
            {
                "Host": self.base_url.netloc.decode("ascii"),
                "Accept": "application/json",
                "Accept-Encoding": ACCEPTED,
                "Content-Type": "application/json",
                "User-Agent": "spanrun",
                **given,
            }
        )
        default = 443 if url.scheme == "https" else 80
        self.server: Final[Mapping[str, Any]] = {
            semconv.SERVER_ADDRESS: url.host,
            semconv.SERVER_PORT: url.port or default,
        }
        secrets = (*given.values(), url.password, *url.params.values())
        self._answers: Final = Answers(error, max_bytes, secrets)
        self._places: Final[dict[str, tuple[httpx.URL, str]]] = {}
        self._kinds: Final[dict[str, CallKind]] = {}
        self._http2: Final = http2
        self._tls: Final = tls
        self._given: Final = transport
        self._transport: httpx.AsyncBaseTransport | None = None
        self._shortage = self._no_shortage()

    def open(self) -> httpx.AsyncBaseTransport:
        """Get ready now, not in the first request: certificates take 20 ms and more."""
        if self._transport is None:
            filter_logs()
            self._transport = self._given or self._direct_or_by_proxy()
            self._shortage = self._no_shortage()  # yet, and on this loop
        return self._transport

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` as JSON and give the decoded answer.

        Raises:
            ServiceError: (or the class given as ``error``) for a status that
                isn't 2xx, an answer that isn't JSON or is too large.
            httpx.TransportError: No answer came.
        """
        transport = self.open()
        content = json.dumps(body).encode()
        request = httpx.Request(
            "POST",
            self._place(path)[0],
            headers=self._headers,
            stream=httpx.ByteStream(content),
        )
        request.headers["Content-Length"] = str(len(content))
        with self._call(path, len(content)) as call:
            propagate(request.headers)
            with _timed(call, request), Discreet(self._answers.confidential):
                ask = transport.handle_async_request
                response = await self._shortage.connected(ask, request)
                response.request = request
                try:
                    self._describe(call, response)
                    text = await self._answers.read(response, self._where(path))
                finally:
                    await response.aclose()
                    self._shortage.given_back()
            call.set(semconv.HTTP_RESPONSE_BODY_SIZE, len(text))
            if not response.is_success:
                call.fail(str(response.status_code))
        return await self._answers.decoded(response, text, self._where(path))

    def unanswered(self, path: str, error: httpx.TransportError) -> ServiceError:
        """``error``, which `post` raised, as the class given as ``error``."""
        return self._answers.unanswered(error, self._where(path))

    async def aclose(self) -> None:
        """Close the connections; requests that run fail. A second call does nothing."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def leave(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Forget the connections; those on ``loop``, which stands still, are closed.

        A transport that was given is left alone.
        """
        transport, self._transport = self._transport, None
        if loop is None or transport is None or transport is self._given:
            return
        if isinstance(transport, Connections):
            transport.abort()
        else:
            close_on(loop, transport.aclose)

    def _no_shortage(self) -> Shortage:
        return Shortage(self.base_url.netloc.decode(), httpx.ConnectError)

    def _place(self, path: str) -> tuple[httpx.URL, str]:
        """Where ``path`` is, and how a span tells it: keys may be in the query."""
        if path not in self._places:
            base = self.base_url
            url = base.copy_with(path=base.path.rstrip("/") + path)
            self._places[path] = url, redact(str(url.copy_with(query=None)))
        return self._places[path]

    def _where(self, path: str) -> str:
        """The place in errors: a path that is wrong is seen there."""
        return self._place(path)[1].partition("://")[2]

    def _call(self, path: str, size: int) -> CallUnit | Untold:
        kind = self._kinds.get(path)
        if kind is None:
            attributes = {
                semconv.HTTP_REQUEST_METHOD: "POST",
                **self.server,
                semconv.URL_FULL: self._place(path)[1],
            }
            metric = semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION
            kind = self._kinds[path] = CallKind("POST", metric, attributes)
        call = calling(kind)
        call.set(semconv.HTTP_REQUEST_BODY_SIZE, size)
        if resends := attempt_number() - 1:
            call.set(semconv.HTTP_REQUEST_RESEND_COUNT, resends)
        return call

    @staticmethod
    def _describe(call: CallUnit | Untold, response: httpx.Response) -> None:
        call.set(semconv.HTTP_RESPONSE_STATUS_CODE, response.status_code)
        version = response.http_version.removeprefix("HTTP/")
        call.set(semconv.NETWORK_PROTOCOL_VERSION, "2" if version == "2.0" else version)

    def _direct_or_by_proxy(self) -> httpx.AsyncBaseTransport:
        url = self.base_url
        tls = None
        if url.scheme == "https":
            tls = self._tls or _trusted(os.environ.get("SSL_CERT_FILE"), self._http2)
        proxy = _proxy(url)
        if proxy is None:
            return Connections(url, tls=tls, http2=self._http2)
        return httpx.AsyncHTTPTransport(
            verify=tls or False,
            http2=self._http2,
            proxy=proxy,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )


@contextmanager
def _timed(call: CallUnit | Untold, request: httpx.Request) -> Generator[None]:
    """Put on the call's span where the time inside went."""
    recorder = setup.recorder_or_off()
    if isinstance(call, Untold) or not call.told.is_recording():
        yield
        return
    phases = Phases(recorder.clock.now)
    cast("Any", request).extensions["trace"] = phases
    try:
        yield
    finally:
        call.told.set_attributes(phases.spent())


@functools.cache
def _trusted(_: str | None, __: bool) -> ssl.SSLContext:  # noqa: FBT001 -- a key
    """The system's certificates, read once; its ALPN protocols differ by the key."""
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> str | None:
    if urllib.request.proxy_bypass(url.host):
        return None
    found = proxy_for(
        str(url), schemes=_PROXY_SCHEMES, found=urllib.request.getproxies()
    )
    return None if found is None else found.url


def _authorization(url: httpx.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    pair = f"{url.username}:{url.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as why:
        raise ConfigurationError(f"base_url={redact(str(base_url))!r}: {why}") from why
    known = url.scheme in ("http", "https") and 0 < (url.port or 80) <= _MAX_PORT
    if not known or not url.host:
        raise ConfigurationError(
            f"base_url={redact(str(base_url))!r}: must be http://host… or https://host…"
        )
    return url
