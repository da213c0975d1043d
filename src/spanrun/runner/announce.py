"""What is said where a service goes, or comes back: in the log, and on open runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from spanrun.policies.base import Layer, LayerName
from spanrun.policies.breaker import BreakerState, Circuit
from spanrun.policies.outage import Outage
from spanrun.semconv import (
    EVENT_SPANRUN_RUNNER_BREAKER,
    EVENT_SPANRUN_RUNNER_OUTAGE,
    METRIC_SPANRUN_BREAKER_TRANSITIONS,
    SPANRUN_BREAKER_STATE,
    SPANRUN_OUTAGE_STATE,
    Metric,
)
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.observe import EventKind
from spanrun.telemetry.redact import text_of

_log: Final = Log(__name__)

_PAUSE: Final = 60.0
"""Seconds between two lines of a breaker that opens again and again."""


class Tell(Protocol):
    """Adds an event to the spans of a runner's open runs."""

    def __call__(self, event: str, **attributes: str) -> None:
        """Add it."""
        ...


class Note(Protocol):
    """Tells the observers of an event of a runner's open runs."""

    def __call__(self, kind: EventKind, **value: object) -> None:
        """Tell them."""
        ...


Count: TypeAlias = Callable[[Metric, str], object]
"""Counts a decision of a policy."""


def announce(
    layers: Mapping[LayerName, Layer],
    runner: str,
    now: Callable[[], float],
    tell: Tell,
    note: Note,
    count: Count,
) -> None:
    """Have the ``layers`` of a runner say how its service is."""
    outage, circuit = layers.get("outage"), layers.get("breaker")
    if isinstance(outage, Outage):
        _announce_outage(outage, runner, tell, note)
    if isinstance(circuit, Circuit):
        _announce_breaker(circuit, runner, now, tell, note, count)


def _announce_outage(outage: Outage, runner: str, tell: Tell, note: Note) -> None:
    def say(error: Exception | None, seconds: float) -> None:
        if error is None:
            _log.warning("the service of %r is back after %.3g s", runner, seconds)
        else:
            _log.warning(
                "the service of %r is gone (%s): jobs wait for up to %g s, and one at "
                "a time probes it",
                *(runner, _named(error), outage.seconds),
            )
        state = "back" if error is None else "gone"
        tell(EVENT_SPANRUN_RUNNER_OUTAGE, **{SPANRUN_OUTAGE_STATE: state})
        note("outage", state=state, **_of(error))

    outage.on_change = say


def _announce_breaker(
    circuit: Circuit,
    runner: str,
    now: Callable[[], float],
    tell: Tell,
    note: Note,
    count: Count,
) -> None:
    seldom = Seldom(_PAUSE, now)
    opened: float | None = None

    def say(state: BreakerState, error: Exception | None) -> None:
        nonlocal opened
        tell(EVENT_SPANRUN_RUNNER_BREAKER, **{SPANRUN_BREAKER_STATE: state})
        note("breaker", state=state, **_of(error))
        count(METRIC_SPANRUN_BREAKER_TRANSITIONS, state)
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


def _of(error: Exception | None) -> dict[str, str]:
    return {} if error is None else {"error": type(error).__name__}


def _named(error: Exception | None) -> str:
    return f"{type(error).__name__}: {text_of(error)}"
