"""What is logged where a service goes, or comes back: one line at each end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spanrun.policies.breaker import BreakerState, Circuit
from spanrun.policies.outage import Outage
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.redact import text_of

_log: Final = Log(__name__)

_PAUSE: Final = 60.0
"""Seconds between two lines of a breaker that opens again and again."""


def announce_outage(outage: Outage, runner: str) -> None:
    """Log where ``outage`` begins, and where it ends."""

    def say(error: Exception | None, seconds: float) -> None:
        if error is None:
            _log.warning("the service of %r is back after %.3g s", runner, seconds)
            return
        _log.warning(
            "the service of %r is gone (%s): jobs wait for up to %g s, and one at a "
            "time probes it",
            *(runner, _named(error), outage.seconds),
        )

    outage.on_change = say


def announce_breaker(circuit: Circuit, runner: str, now: Callable[[], float]) -> None:
    """Log where ``circuit`` opens, unless that was just said, and where it closes."""
    seldom = Seldom(_PAUSE, now)
    opened: float | None = None

    def say(state: BreakerState, error: Exception | None) -> None:
        nonlocal opened
        if state == "closed" and opened is not None:
            seconds, opened = now() - opened, None
            _log.warning(
                "the breaker of %r is closed again after %.3g s", runner, seconds
            )
        elif state == "open" and (more := seldom()) is not None:
            opened = now()
            _log.warning(
                "the breaker of %r is open (%s): for %g s no call is made%s",
                *(runner, _named(error), circuit.open_for, more),
            )

    circuit.on_change = say


def _named(error: Exception | None) -> str:
    return f"{type(error).__name__}: {text_of(error)}"
