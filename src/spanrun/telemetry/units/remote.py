"""`RemoteUnit`: the unit of a job whose spans are another process's."""

from __future__ import annotations

from typing import cast

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from spanrun.errors import RemoteJobError
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.units.recorder import OpenSpan


class RemoteUnit:
    """Counts a job here, where its outcome arrived, and not where it ran.

    Args:
        metrics: Of its runner.
        errors: Names its error.

    Attributes:
        trace_id: Of its span; 0 as long as that isn't known.
        span_id: The same, where its trace is kept; else 0.
    """

    __slots__ = ("_errors", "_metrics", "span_id", "trace_id")

    def __init__(self, metrics: RunnerMetrics, errors: ErrorTypes) -> None:
        self._metrics = metrics
        self._errors = errors
        self.trace_id = self.span_id = 0

    def pin(self) -> bool:
        """Whether the trace is kept, so that the span may be an exemplar."""
        return self.span_id != 0

    @property
    def otel(self) -> Span:
        """The span, as OpenTelemetry's metrics take an exemplar from it."""
        flags = TraceFlags(TraceFlags.SAMPLED if self.pin() else TraceFlags.DEFAULT)
        context = SpanContext(
            self.trace_id, self.span_id, is_remote=True, trace_flags=flags
        )
        return NonRecordingSpan(context)

    def succeed(self, timings: Timings, attempts: int) -> None:  # noqa: ARG002 -- a unit's
        """The job has its value: count it."""
        seconds, parts = timings.duration, timings.parts()
        self._metrics.job(seconds, parts, "ok", None, cast("OpenSpan", self))

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,  # noqa: ARG002 -- these are told on its span
        error: BaseException | None,
        cancelled_by: CancelledBy | None,  # noqa: ARG002 -- the same
    ) -> None:
        """The job has its outcome: count it."""
        error_type = None
        if isinstance(error, RemoteJobError):
            error_type = self._errors.bounded(error.type_name)
        elif error is not None:
            error_type = self._errors.name(error)
        if outcome == "cancelled":
            error_type = None
        seconds, parts = timings.duration, timings.parts()
        span = cast("OpenSpan", self)
        self._metrics.job(seconds, parts, outcome, error_type, span)
