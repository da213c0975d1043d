"""`Watch`: a recorder that passes all on, and knows which spans are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from spanrun.semconv import Metric, SpanrunTelemetrySignal
from spanrun.telemetry.metrics.instruments import Gauges, RunnerMetrics
from spanrun.telemetry.open_units import CallKind, OpenCall
from spanrun.telemetry.recorder import Recorder
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.unit import CallUnit, JobKind, OpenJobs, job_units


class Watch:
    """Stands before ``recorder``; both do the same."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Final = recorder
        self.clock = recorder.clock
        self.now: Final = recorder.now
        self.shares: Final = recorder.shares
        self.errors = recorder.errors
        self._open: dict[int, tuple[str, Span]] = {}
        self._sweep_at = 1024

    def unfinished(self) -> dict[int, str]:
        """The spans that have not ended: their ids and names."""
        return {
            key: name for key, (name, span) in self._open.items() if span.is_recording()
        }

    def open(
        self,
        name: str,
        kind: SpanKind,
        outside: Context,
        begun: float,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> Span:
        """Start a span, and remember it."""
        span = self._recorder.open(name, kind, outside, begun, attributes, links)
        self._open[span.get_span_context().span_id] = name, span
        if len(self._open) > self._sweep_at:
            left = self.unfinished()
            self._open = {key: self._open[key] for key in left}
            self._sweep_at = 1024 + 2 * len(left)
        return span

    def close(self, span: Span, ended: float) -> None:
        """End a span."""
        self._recorder.close(span, ended)

    def describe(self, span: Span, columns: Columns, values: tuple[Any, ...]) -> None:
        """Give ``span`` attributes of a known shape."""
        self._recorder.describe(span, columns, values)

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: Span | None = None,
    ) -> None:
        """Record a metric."""
        self._recorder.record(metric, value, attributes, span)

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Count a span or metric that is lost."""
        self._recorder.failed(signal, error)

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """The metrics of one runner."""
        return self._recorder.runner(name, gauges)

    def jobs(self, kind: JobKind) -> OpenJobs:
        """What opens the units of a run's jobs."""
        return job_units(self, kind)

    def call(self, kind: CallKind) -> OpenCall:
        """One call to a service."""
        return CallUnit(self, kind)
