"""`Phases`: where the time inside one HTTP request went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from spanrun import semconv

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
