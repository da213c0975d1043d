"""`RemoteUnit`: the unit of a job whose spans are another process's."""

from __future__ import annotations

from spanrun.errors import RemoteJobError
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.instruments import RunnerMetrics


class RemoteUnit:
    """Counts a job here, where its outcome arrived, and not where it ran.

    Args:
        metrics: Of its runner.
        errors: Names its error.

    Attributes:
        trace_id: Of its span; 0 as long as that isn't known.
    """

    __slots__ = ("_errors", "_metrics", "trace_id")

    def __init__(self, metrics: RunnerMetrics, errors: ErrorTypes) -> None:
        self._metrics = metrics
        self._errors = errors
        self.trace_id = 0

    def succeed(self, timings: Timings, attempts: int) -> None:  # noqa: ARG002 -- a unit's
        """The job has its value: count it."""
        self._metrics.job(timings.duration, timings.parts(), "ok", None, None)

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
        self._metrics.job(seconds, parts, outcome, error_type, None)
