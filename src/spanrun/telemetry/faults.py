"""`Faults`: what others' code costs the telemetry is counted, and said now and then."""

from __future__ import annotations

from typing import Final

from spanrun.semconv import SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.redact import text_of

_log: Final = Log(__name__)

_PAUSE: Final = 60.0
"""Seconds from one line to the next."""


class Faults:
    """Takes what a provider, sampler, processor or the like of somebody else raises.

    Each is counted. The first is logged, and then one a minute at most: a span
    processor that always fails would else say so for each span.
    """

    def __init__(self, account: Account) -> None:
        self._account: Final = account
        self._seldom: Final = Seldom(_PAUSE)

    def __call__(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Something of ``signal`` is lost by ``error``. Never raises."""
        self._account.fault(signal)
        more = self._seldom()
        if more is not None:
            _log.warning(
                "spanrun: %s could not be recorded, %s: %s; the program goes on%s",
                *(signal, type(error).__name__, text_of(error), more),
            )
