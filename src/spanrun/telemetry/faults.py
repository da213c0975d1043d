"""`Faults`: what others' code costs the telemetry is counted, and said now and then."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from spanrun.semconv import SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.redact import redact, text_of

_log: Final = logging.getLogger(__name__)

_PAUSE: Final = 60.0
"""Seconds from one line to the next."""


class Faults:
    """Takes what a provider, sampler, processor or the like of somebody else raises.

    Each is counted. The first is logged, and then one a minute at most: a span
    processor that always fails would else say so for each span.
    """

    def __init__(self, account: Account) -> None:
        self._account: Final = account
        self._quiet_until = float("-inf")

    def __call__(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Something of ``signal`` is lost by ``error``. Never raises."""
        self._account.fault(signal)
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _PAUSE
        log(
            _log,
            logging.WARNING,
            "spanrun: %s could not be recorded, %s: %s; the program goes on",
            signal,
            type(error).__name__,
            redact(text_of(error)),
        )


_logging: Final = threading.local()


def log(logger: logging.Logger, level: int, message: str, *values: Any) -> None:
    """Log a line. What a log handler of the application raises goes no further.

    Amid that nothing is logged: a handler that records spans may be what fails.
    """
    if getattr(_logging, "now", False):
        return
    _logging.now = True
    try:
        logger.log(level, message, *values)
    except Exception:  # noqa: BLE001 -- a handler of somebody else's; and where to say so?
        return
    finally:
        _logging.now = False
