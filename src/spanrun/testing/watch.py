"""`Watch`: a recorder that passes all on, and knows which spans are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from spanrun.semconv import Metric, SpanrunTelemetrySignal, SpanrunUnitOutcome
from spanrun.telemetry.metrics.instruments import Adds, RunnerMetrics
from spanrun.telemetry.metrics.runners import Gauges
from spanrun.telemetry.units.call import CallKind, CallUnit
from spanrun.telemetry.units.recorder import OpenSpan, Recorder
from spanrun.telemetry.units.user import UserUnit

if TYPE_CHECKING:  # it needs the SDK
    from spanrun.telemetry.span import Slowness


class Watch:
    """Stands before ``recorder``; both do the same."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Final = recorder
        self.clock = recorder.clock
        self.now: Final = recorder.now
        self.errors = recorder.errors
        self._open: dict[int, tuple[str, OpenSpan]] = {}
        self._sweep_at = 1024

    def unfinished(self) -> dict[int, str]:
        """The spans that have not ended: their ids and names."""
        return {
            key: name for key, (name, span) in self._open.items() if span.is_recording()
        }

    @property
    def scope(self) -> None:
        """None: each span is opened here, to be remembered."""

    units = scope

    def open_unit(self, name: str, attributes: Mapping[str, Any] | None, /) -> UserUnit:
        """Open a user's unit."""
        return UserUnit(self, name, attributes)

    def open_call(self, kind: CallKind, /) -> CallUnit:
        """Open the unit of a call."""
        return CallUnit(self, kind)

    def open(self, name: str, *given: Any, **named: Any) -> OpenSpan:
        """Start a span, and remember it."""
        span = self._recorder.open(name, *given, **named)
        self._open[span.get_span_context().span_id] = name, span
        if len(self._open) > self._sweep_at:
            left = self.unfinished()
            self._open = {key: self._open[key] for key in left}
            self._sweep_at = 1024 + 2 * len(left)
        return span

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: OpenSpan | None = None,
    ) -> None:
        """Record a metric."""
        self._recorder.record(metric, value, attributes, span)

    def series(self, metric: Metric, attributes: Mapping[str, Any]) -> Adds:
        """Return what adds to one series."""
        return self._recorder.series(metric, attributes)

    def series_of_unit(
        self, name: str, outcome: SpanrunUnitOutcome = "ok", error_type: str = ""
    ) -> Adds:
        """Return what adds to the durations of a user's units."""
        return self._recorder.series_of_unit(name, outcome, error_type)

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Count a span or metric that is lost."""
        self._recorder.failed(signal, error)

    def slowness(self, runner: str) -> Slowness:
        """What says which jobs of a runner are slow."""
        return self._recorder.slowness(runner)

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """The metrics of one runner."""
        return self._recorder.runner(name, gauges)
