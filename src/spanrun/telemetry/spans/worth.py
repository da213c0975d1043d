"""`Worth`: what there is in a span to keep its trace for."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from opentelemetry.trace import StatusCode

from spanrun import semconv
from spanrun.semconv import SpanrunSamplingReason
from spanrun.telemetry.span.quantile import RunningQuantile
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.recorded import Recorded

_ATTEMPTS: Final = semconv.SPANRUN_JOB_ATTEMPTS
_RESENT: Final = semconv.HTTP_REQUEST_RESEND_COUNT
_MAX_NAMES: Final = 256

Verdict: TypeAlias = SpanrunSamplingReason | None
"""Why a trace is kept; None: it is not."""


class Worth:
    """Judges ended spans, which may hold anything. Not safe against other threads.

    Args:
        slow: Seconds from which a span is slow in any case.
    """

    def __init__(self, slow: float | None) -> None:
        self._slow: Final = slow
        self._durations: Final[dict[str, RunningQuantile]] = {}

    def of(self, span: Recorded) -> Verdict:
        """What can be told from ``span`` alone."""
        rare = span.rare
        if rare is not None:
            if rare.status.status_code is StatusCode.ERROR:
                return "error"
            for event in rare.events:
                name = event.name
                if type(name) is str and name == semconv.EVENT_SPANRUN_JOB_RETRY:
                    return "retried"
        raw = span.raw
        attempts = raw.get(_ATTEMPTS)
        if attempts is None and span.row is not None:
            attempts = _in_row(*span.row)
        if type(attempts) is int and attempts > 1:
            return "retried"
        resent = raw.get(_RESENT)
        return "retried" if type(resent) is int and resent > 0 else None

    def is_slow(self, root: Recorded) -> bool:
        """Whether it took longer than allowed, or than 99 % of those named alike.

        Each is judged by those before it, and then counts itself.
        """
        seconds = _seconds(root)
        name = root.span_name if type(root.span_name) is str else ""
        durations = self._durations.get(name)
        if durations is None:
            if len(self._durations) >= _MAX_NAMES:
                self._durations.clear()  # what comes often is soon back
            durations = self._durations[name] = RunningQuantile(0.99)
        is_slow = seconds > durations.value
        durations.add(seconds)
        return is_slow or (self._slow is not None and seconds >= self._slow)


def _in_row(columns: Columns, values: tuple[Any, ...]) -> Any:
    if _ATTEMPTS not in columns.names:
        return None
    return values[columns.keys.index(_ATTEMPTS)]


def _seconds(span: Recorded) -> float:
    """How long it took; 0 where libraries gave times that are none."""
    try:
        return max(0, int(span.end_ns or 0) - int(span.start_ns)) / 1e9
    except (TypeError, ValueError, OverflowError):
        return 0.0
