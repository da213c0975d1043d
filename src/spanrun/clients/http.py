"""`HttpClient`: one HTTP request as one call unit, and its answer checked."""

from __future__ import annotations

import datetime
import email.utils
import ipaddress
import json
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx

from spanrun import semconv
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.telemetry import setup
from spanrun.telemetry.redact import HIDDEN, redact
from spanrun.telemetry.unit import CallUnit, attempt_number

MAX_BODY: Final = 64 * 1024 * 1024
_MAX_PORT: Final = 65_535
_HEAD: Final = 300
_SECRET: Final = 7  # characters: a shorter word of a header is no secret
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
        except (ValueError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


class HttpClient:
    """An `httpx.AsyncClient` whose requests are call units.

    It has no retry, limit or timeout of its own: the runner that it is called
    in has. Redirects are not followed, so that credentials go nowhere else.
    Loopback addresses are called directly, whatever ``HTTP_PROXY`` says.

    Args:
        base_url: ``http`` or ``https``, with a host. Its query is kept.
        headers: Sent with each request; never in telemetry or in an error.
        error: Raised for a bad answer.
        transport: For tests.

    Raises:
        ConfigurationError: ``base_url`` or a header can't be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        error: type[ServiceError] = ServiceError,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url: Final = _url(base_url)
        self._headers: Final = dict(headers or {})
        for name, value in self._headers.items():
            # Not left to httpx, whose error would quote the value.
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"the header {name}: must be printable ASCII, without a line break"
                )
        words = (word for value in self._headers.values() for word in value.split())
        self._secrets: Final = [word for word in words if len(word) >= _SECRET]
        self._error: Final = error
        self._transport: Final = transport
        self._client: httpx.AsyncClient | None = None

    def open(self) -> httpx.AsyncClient:
        """Get ready now, not in the first request: that blocks, for 50 ms and more."""
        if self._client is None:
            # The runner's Timeout bounds each attempt as a whole; httpx's own
            # never fire on a server that drips a byte now and then.
            self._client = httpx.AsyncClient(
                timeout=None,  # noqa: S113 -- see above
                transport=self._transport,
                # Plain HTTP needs no certificates, which take the most of that time.
                verify=self.base_url.scheme == "https",
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
                trust_env=not _is_loopback(self.base_url.host),
            )
        return self._client

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` as JSON and give the decoded answer.

        Raises:
            ServiceError: (or the class given as ``error``) for a status that
                isn't 2xx, an answer that isn't JSON or is too large.
            httpx.TransportError: No answer came.
        """
        base = self.base_url
        url = base.copy_with(path=base.path.rstrip("/") + path)
        client = self.open()
        request = client.build_request(
            "POST",
            url,
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self._headers},
        )
        with self._unit(request) as call:
            response = await client.send(request, stream=True)
            try:
                self._describe(call, response)
                text = await self._read(response)
            finally:
                await response.aclose()
            call.set(semconv.HTTP_RESPONSE_BODY_SIZE, len(text))
            if not response.is_success:
                call.fail(str(response.status_code))
        if not response.is_success:
            raise self._refused(response, text)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as why:
            raise self._error(
                f"the answer of {self._where} is no JSON: {why}: {self._head(text)}",
                status=response.status_code,
                body=self._head(text),
            ) from None

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

    @property
    def _where(self) -> str:
        return self.base_url.netloc.decode()

    def _unit(self, request: httpx.Request) -> CallUnit:
        bare = request.url.copy_with(userinfo=b"", query=None)  # keys may be in both
        attributes: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: request.method,
            **self.server,
            semconv.URL_FULL: redact(str(bare)),
            semconv.HTTP_REQUEST_BODY_SIZE: len(request.content),
        }
        if resends := attempt_number() - 1:
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = resends
        return CallUnit(
            setup.recorder_or_off(),
            request.method,
            semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION,
            attributes,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        try:
            async for part in response.aiter_bytes():
                parts += part
                if len(parts) > MAX_BODY:
                    raise self._error(
                        f"the answer of {self._where} is larger than {MAX_BODY} bytes"
                    )
        except httpx.DecodingError as why:
            raise self._error(
                f"the answer of {self._where} can't be decompressed: {why}",
                status=response.status_code,
            ) from why
        return bytes(parts)

    @staticmethod
    def _describe(call: CallUnit, response: httpx.Response) -> None:
        call.set(semconv.HTTP_RESPONSE_STATUS_CODE, response.status_code)
        version = response.http_version.removeprefix("HTTP/")
        call.set(semconv.NETWORK_PROTOCOL_VERSION, "2" if version == "2.0" else version)

    def _refused(self, response: httpx.Response, text: bytes) -> ServiceError:
        status, head = response.status_code, self._head(_reason(text))
        what = f"{self._where} answered {status} {response.reason_phrase}".rstrip()
        if location := response.headers.get("Location"):
            what += f": moved to {self._head(location.encode())}, which isn't followed"
        elif head:
            what += f": {head}"
        return self._error(
            what,
            status=status,
            retry_after=retry_after(response.headers.get("Retry-After")),
            body=head,
        )

    def _head(self, text: bytes) -> str:
        """How the answer begins, without what we sent in confidence."""
        head = text[: 4 * _HEAD].decode("utf-8", "replace")
        for secret in self._secrets:
            head = head.replace(secret, HIDDEN)
        return redact(head)[:_HEAD]


def _reason(text: bytes) -> bytes:
    """What an error's body says, where it says it in one of the usual ways."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        found = fields.get(key, found)
    return found.encode("utf-8", "replace") if isinstance(found, str) else text


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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
