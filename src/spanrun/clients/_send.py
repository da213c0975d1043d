"""`Send`: one send of a request, its span, the parts of its time and its deadline."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import httpx

from spanrun import semconv
from spanrun.telemetry import setup
from spanrun.telemetry.calling import UNTOLD, Untold
from spanrun.telemetry.current import attempt_number, current, leave
from spanrun.telemetry.units.call import CallKind
from spanrun.text import redact

T = TypeVar("T")

_SENDS: Final = "spanrun_sends"
"""Under which a request's extensions count its sends: a redirect copies them."""
_FAILED: Final = 400
_PORTS: Final = {"http": 80, "https": 443}
_POOL: Final = semconv.SPANRUN_HTTP_TIME_POOL
_BEGINS: Final = {
    "connection.connect_tcp.started": semconv.SPANRUN_HTTP_TIME_CONNECT,
    "connection.connect_tcp.complete": _POOL,
    "connection.connect_tcp.failed": _POOL,  # another try follows, or nothing
    "connection.start_tls.started": semconv.SPANRUN_HTTP_TIME_TLS,
    "connection.start_tls.complete": _POOL,
    **{
        f"{protocol}.{event}": phase
        for protocol in ("http11", "http2")
        for event, phase in (
            ("send_request_headers.started", semconv.SPANRUN_HTTP_TIME_SEND),
            ("receive_response_headers.started", semconv.SPANRUN_HTTP_TIME_WAIT),
            ("receive_response_headers.complete", semconv.SPANRUN_HTTP_TIME_RECEIVE),
        )
    },
}
"""Which phase begins with which event of httpcore's ``trace`` extension."""


class Send:
    """One send: its span is current until there is an answer, and ends with `end`.

    Args:
        request: What is sent.
        total: Seconds until the end of its answer.

    Attributes:
        request: As it was given.
        received: Bytes of the answer's body.
        until: Its deadline, on the event loop's clock.
    """

    __slots__ = (
        "_call",
        "_contexts",
        "_extensions",
        "_phases",
        "_total",
        "received",
        "request",
        "until",
    )

    def __init__(self, request: httpx.Request, total: float | None) -> None:
        self.request: Final = request
        self._total: Final = total
        self.until: Final = None if total is None else _now() + total
        self.received = 0
        extensions: dict[str, Any] = cast("Any", request).extensions
        self._extensions: Final = extensions
        sends = extensions.setdefault(_SENDS, [0])
        sends[0] += 1
        recorder = setup.recorder()
        call = recorder.open_call(_kind_of(request)) if recorder else UNTOLD
        self._call: Final = call
        self._phases: Phases | None = None
        if not isinstance(call, Untold):
            length = request.headers.get("Content-Length", "")
            if length.isdecimal():
                call.set(semconv.HTTP_REQUEST_BODY_SIZE, int(length))
            if resends := attempt_number() + sends[0] - 2:
                call.set(semconv.HTTP_REQUEST_RESEND_COUNT, resends)
            if call.told.is_recording():
                now = setup.recorder_or_off().clock.now
                self._phases = Phases(now, extensions.get("trace"))
                # A copy: a redirect takes over what the request has.
                cast("Any", request).extensions = {**extensions, "trace": self._phases}
        outside = current()
        call.__enter__()
        self._contexts: Final = current(), outside

    @property
    def patience(self) -> float | None:
        """Seconds that it may wait until it can be sent."""
        seconds: float | None = self._extensions.get("timeout", {}).get("pool")
        return seconds

    async def in_time(self, what: Awaitable[T]) -> T:
        """``await what``, no longer than until the deadline.

        Raises:
            httpx.ReadTimeout: It took longer.
        """
        if self.until is None:
            return await what
        limit = asyncio.timeout_at(self.until)
        try:
            async with limit:
                return await what
        except TimeoutError as late:
            if not limit.expired():
                raise
            raise httpx.ReadTimeout(
                f"no whole answer within {self._total:g} s", request=self.request
            ) from late

    def answered(self, response: httpx.Response) -> None:
        """The head of its answer is there; the body comes outside of its span."""
        call = self._call
        cast("Any", self.request).extensions = self._extensions
        if isinstance(call, Untold):
            return
        status = response.status_code
        call.set(semconv.HTTP_RESPONSE_STATUS_CODE, status)
        version = response.http_version.removeprefix("HTTP/")
        call.set(semconv.NETWORK_PROTOCOL_VERSION, "2" if version == "2.0" else version)
        if status >= _FAILED:
            call.fail(str(status))
        leave(*self._contexts)

    def end(self, error: BaseException | None) -> None:
        """It has ended, by ``error`` if there is one."""
        call = self._call
        cast("Any", self.request).extensions = self._extensions
        if self._phases is not None and not isinstance(call, Untold):
            call.told.set_attributes(self._phases.spent())
        trace = None if error is None else error.__traceback__
        call.__exit__(None if error is None else type(error), error, trace)

    def read(self) -> None:
        """All of the answer's body is there."""
        self._call.set(semconv.HTTP_RESPONSE_BODY_SIZE, self.received)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _kind_of(request: httpx.Request) -> CallKind:
    url = request.url
    path = url.raw_path.partition(b"?")[0]
    return _kind(request.method, url.raw_scheme, url.netloc, path)


@functools.lru_cache(maxsize=1_024)
def _kind(method: str, scheme: bytes, place: bytes, path: bytes) -> CallKind:
    """What sends to one place have in common. A query may have keys: it isn't told."""
    url = httpx.URL(b"".join((scheme, b"://", place, path)).decode("ascii"))
    name = method if method in semconv.HTTP_REQUEST_METHOD_VALUES else "_OTHER"
    return CallKind(
        "HTTP" if name == "_OTHER" else name,
        semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION,
        {
            semconv.HTTP_REQUEST_METHOD: name,
            semconv.SERVER_ADDRESS: url.host,
            semconv.SERVER_PORT: url.port or _PORTS.get(url.scheme, 0),
            semconv.URL_FULL: redact(str(url)),
        },
    )


class Phases:
    """The ``trace`` extension of one request, as httpcore calls it.

    Each moment belongs to one phase, so together they are the time from the making
    of this until `spent`, also where the request failed or was cancelled.

    Args:
        now: The recorder's clock.
        others: The ``trace`` extension that the request had, which is told as well.
    """

    __slots__ = ("_now", "_others", "_phase", "_since", "_spent", "_told")

    def __init__(
        self, now: Callable[[], float], others: Callable[..., Any] | None = None
    ) -> None:
        self._now = now
        self._others = others
        self._since = now()
        self._phase = _POOL
        self._spent: dict[str, float] = {}
        self._told = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Something has happened to the request."""
        phase = _BEGINS.get(event)
        if phase is not None:
            self._told = True
            self._enter(phase)
        if self._others is not None:
            await self._others(event, info)

    def spent(self) -> dict[str, float]:
        """Seconds by attribute; nothing where the transport tells nothing."""
        self._enter(_POOL)
        return self._spent if self._told else {}

    def _enter(self, phase: str) -> None:
        now = self._now()
        self._spent[self._phase] = self._spent.get(self._phase, 0.0) + now - self._since
        self._since, self._phase = now, phase
