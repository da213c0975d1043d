"""`HttpClient`: JSON to one server and back, its answers checked."""

from __future__ import annotations

import json
import ssl
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import httpx

from spanrun import checks, semconv
from spanrun.causes import causes
from spanrun.clients._answers import Answers
from spanrun.clients._body import ACCEPTED
from spanrun.clients._discreet import Discreet, filter_logs
from spanrun.clients.transport import Transport, check_tls, check_transport
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.policies.overload import STATUSES, overloaded, status_of
from spanrun.retry_after import retry_after
from spanrun.telemetry.calling import propagate
from spanrun.text import redact
from spanrun.urls import basic_auth

__all__ = ["MAX_BYTES", "HttpClient", "retry_after", "transient"]

MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_PORT: Final = 65_535
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


class SizedBody(httpx.AsyncByteStream):
    """A body that isn't in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """How many bytes it has."""


class HttpClient:
    """Sends JSON to one server and gives its answers.

    It has no retry, limit or timeout of its own: the runner that it is called in has.
    Without ``http_client``, requests go by a `Transport` alone, so each one is a call
    unit; redirects are not followed and cookies not kept, so that credentials go
    nowhere else.

    Args:
        base_url: ``http`` or ``https``, with a host. Its query is kept; a user and
            password are sent as an ``Authorization`` header.
        headers: Sent with each request; never in telemetry or in an error.
        error: Raised for a bad answer.
        max_bytes: Of an answer, unpacked.
        http2: As for `Transport`.
        tls: As for `Transport`.
        transport: As for `Transport`.
        http_client: Sends the requests instead, and is left open. Its hooks,
            authentication, cookies, redirects and timeouts count.

    Raises:
        ConfigurationError: ``base_url`` or a header can't be used.

    Attributes:
        base_url: Without a user and password.
        server: The attributes that name the server in telemetry.
        confidential: Hides what is sent in confidence.
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
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        kind = "HttpClient"
        url = _url(base_url)
        self.base_url: Final = url.copy_with(userinfo=b"")
        max_bytes = checks.whole(kind, "max_bytes", max_bytes, 1)
        checks.flag(kind, "http2", http2)
        check_tls(kind, tls)
        check_transport(kind, transport)
        _check_client(kind, http_client, http2 or tls or transport)
        # Not left to httpx, whose error would quote the value.
        sent = {} if headers is None else checks.headers(kind, headers)
        given = {**_authorization(url), **sent}
        self._headers: Final = httpx.Headers(
            {
                "Host": url.netloc.decode("ascii"),
                "Accept": "application/json",
                "Accept-Encoding": ACCEPTED,
                "Content-Type": "application/json",
                "User-Agent": "spanrun",
            }
        )
        self._headers.update(given)
        self.server: Final[Mapping[str, Any]] = {
            semconv.SERVER_ADDRESS: url.host,
            semconv.SERVER_PORT: url.port or (443 if url.scheme == "https" else 80),
        }
        secrets = (*given.values(), url.password, *url.params.values())
        self._answers: Final = Answers(error, max_bytes, secrets)
        self.confidential: Final = self._answers.confidential
        self._places: Final[dict[str, tuple[httpx.URL, str]]] = {}
        self._given: Final = http_client
        self._own: Final = Transport(http2=http2, tls=tls, transport=transport)
        filter_logs()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` as JSON and give the decoded answer: see `ask`."""
        url, where = self._place(path)
        return await self.ask("POST", url, where, json.dumps(body).encode())

    async def ask(
        self, method: str, url: httpx.URL, where: str, body: bytes | SizedBody = b""
    ) -> Any:
        """Send ``body``, which is JSON or empty, and give the decoded answer.

        Args:
            method: Of HTTP.
            url: On the server.
            where: How errors tell the URL.
            body: Its size is its length.

        Raises:
            ServiceError: (or the class given as ``error``) for a status that
                isn't 2xx, an answer that isn't JSON or is too large, or none.
        """
        try:
            with Discreet(self.confidential):
                response = await self._sent(method, url, body)
                try:
                    text = await self._answers.read(response, where)
                finally:
                    await response.aclose()
        except httpx.RequestError as why:
            raise self._answers.unanswered(why, where) from why
        return await self._answers.decoded(response, text, where)

    async def _sent(
        self, method: str, url: httpx.URL, body: bytes | SizedBody
    ) -> httpx.Response:
        headers, client = self._headers, self._given
        if client is not None:
            request = client.build_request(method, url, headers=headers, content=body)
            propagate(request.headers)  # its transport may not be one of ours
            return await client.send(request, stream=True)
        # Nothing that a client adds is wanted: neither cookies nor redirects. Without
        # one, a request takes two thirds of the CPU.
        stream = httpx.ByteStream(body) if isinstance(body, bytes) else body
        request = httpx.Request(method, url, headers=headers, stream=stream)
        if body:
            request.headers["Content-Length"] = str(len(body))
        else:
            del request.headers["Content-Type"]
        return await self._own.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections; requests that run fail. A second call does nothing."""
        await self._own.aclose()

    def _place(self, path: str) -> tuple[httpx.URL, str]:
        """Where ``path`` is, and how errors tell it: keys may be in the query."""
        if path not in self._places:
            base = self.base_url
            url = base.copy_with(path=base.path.rstrip("/") + path)
            shown = redact(str(url.copy_with(query=None)))
            self._places[path] = url, shown.partition("://")[2]
        return self._places[path]


def _check_client(where: str, client: object, other: object) -> None:
    """Refuse what isn't a client of httpx, or comes with what is a client's own."""
    example = "httpx.AsyncClient(transport=spanrun.clients.Transport())"
    check = checks.optional(checks.offers)
    check(where, "http_client", client, "build_request send", f"a client, as {example}")
    if isinstance(client, httpx.Client):
        raise checks.wrong(where, "http_client", client, f"must be async, as {example}")
    if client is not None and other:
        raise ConfigurationError(
            f"{where}(http_client=…): http2, tls and transport are that client's own: "
            "give them to its Transport"
        )


def _authorization(url: httpx.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    return {"Authorization": basic_auth(url.username, url.password)}


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
