"""`HttpClient`: one HTTP request as one call unit, and its answer checked."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
from collections.abc import Mapping
from typing import Any, Final

import httpx

from spanrun import semconv
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.telemetry import setup
from spanrun.telemetry.redact import redact
from spanrun.telemetry.unit import CallUnit, attempt_number

MAX_BODY: Final = 64 * 1024 * 1024
_BODY_HEAD: Final = 300
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def transient(error: Exception) -> bool:
    """Whether another attempt may help: the network failed, or the service is busy.

    Made for ``Retry(on=transient)``.
    """
    if isinstance(error, ServiceError):
        return error.status in _TRANSIENT
    return isinstance(error, httpx.TransportError | TimeoutError)


def retry_after(value: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


class HttpClient:
    """An `httpx.AsyncClient` whose requests are call units.

    It has no retry, limit or timeout of its own: the runner that it is called
    in has. Redirects are not followed, so that credentials go nowhere else.

    Args:
        base_url: ``http`` or ``https``, with a host.
        headers: Sent with each request; never on a span.
        error: Raised for a bad answer.
        transport: For tests.

    Raises:
        ConfigurationError: ``base_url`` can't be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        error: type[ServiceError] = ServiceError,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            url = httpx.URL(base_url.rstrip("/"))
        except (httpx.InvalidURL, AttributeError, TypeError) as why:
            raise ConfigurationError(f"base_url={base_url!r}: {why}") from why
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError(
                f"base_url={redact(str(base_url))!r}: must be http://host… or "
                "https://host…"
            )
        self.base_url: Final = url
        self._headers: Final = dict(headers or {})
        self._error: Final = error
        self._transport: Final = transport
        self._client: httpx.AsyncClient | None = None

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` as JSON and give the decoded answer.

        Raises:
            ServiceError: (or the class given as ``error``) for a status that
                isn't 2xx, an answer that isn't JSON or is too large.
            httpx.TransportError: No answer came.
        """
        url = f"{self.base_url}{path}"
        content = json.dumps(body).encode()
        with self._unit("POST", url, len(content)) as call:
            request = self._open().build_request(
                "POST",
                url,
                content=content,
                headers={"Content-Type": "application/json", **self._headers},
            )
            response = await self._open().send(request, stream=True)
            try:
                text = await self._read(response)
            finally:
                await asyncio.shield(response.aclose())
            self._describe(call, response, len(text))
            if not response.is_success:
                raise self._refused(response, text)
            try:
                return json.loads(text)
            except ValueError as why:
                raise self._bad(response, text, f"is no JSON: {why}") from why

    async def aclose(self) -> None:
        """Close the connections. A second call does nothing."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def server(self) -> dict[str, Any]:
        """The attributes that name the server."""
        default = 443 if self.base_url.scheme == "https" else 80
        return {
            semconv.SERVER_ADDRESS: self.base_url.host,
            semconv.SERVER_PORT: self.base_url.port or default,
        }

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            # The runner's Timeout bounds each attempt as a whole; httpx's own
            # never fire on a server that drips a byte now and then.
            self._client = httpx.AsyncClient(
                timeout=None,  # noqa: S113 -- see above
                transport=self._transport,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            )
        return self._client

    def _unit(self, method: str, url: str, size: int) -> CallUnit:
        attributes: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: method,
            **self.server,
            semconv.URL_FULL: redact(url),
            semconv.HTTP_REQUEST_BODY_SIZE: size,
        }
        if resends := attempt_number() - 1:
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = resends
        return CallUnit(
            setup.recorder_or_off(),
            method,
            semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION,
            attributes,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        async for part in response.aiter_bytes():
            parts += part
            if len(parts) > MAX_BODY:
                raise self._bad(response, b"", f"is larger than {MAX_BODY} bytes")
        return bytes(parts)

    @staticmethod
    def _describe(call: CallUnit, response: httpx.Response, size: int) -> None:
        call.set(semconv.HTTP_RESPONSE_STATUS_CODE, response.status_code)
        call.set(
            semconv.NETWORK_PROTOCOL_VERSION,
            response.http_version.removeprefix("HTTP/").removesuffix(".0")
            if response.http_version == "HTTP/2.0"
            else response.http_version.removeprefix("HTTP/"),
        )
        call.set(semconv.HTTP_RESPONSE_BODY_SIZE, size)

    def _refused(self, response: httpx.Response, text: bytes) -> ServiceError:
        head = redact(text[:_BODY_HEAD].decode("utf-8", "replace"))
        return self._error(
            f"{self.base_url.host} answered {response.status_code} "
            f"{response.reason_phrase}".rstrip()
            + (f": {head}" if head else ""),
            status=response.status_code,
            retry_after=retry_after(response.headers.get("Retry-After")),
            body=head,
        )

    def _bad(self, response: httpx.Response, text: bytes, why: str) -> ServiceError:
        head = redact(text[:_BODY_HEAD].decode("utf-8", "replace"))
        return self._error(
            f"the answer of {self.base_url.host} {why}",
            status=response.status_code,
            body=head,
        )
