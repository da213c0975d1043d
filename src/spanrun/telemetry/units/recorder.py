"""`Recorder`: the one seam between units and what keeps their spans and metrics.

`spanrun.telemetry.units.native` records into spanrun's own providers, and
`spanrun.telemetry.units.otel` into those that the application has set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode

from spanrun.clock import Clock
from spanrun.semconv import (
    ERROR_TYPE,
    EVENT_EXCEPTION,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
    Metric,
    SpanrunTelemetrySignal,
    SpanrunUnitOutcome,
)
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.instruments import Adds, RunnerMetrics
from spanrun.telemetry.metrics.runners import Gauges

if TYPE_CHECKING:  # it needs the SDK, which only `configure` loads
    from spanrun.telemetry.span import Scope, Slowness
    from spanrun.telemetry.units.call import OpenCall
    from spanrun.telemetry.units.user import OpenUnit


RUN: Final = 1
"""The role of a run's span: its jobs are decided on one by one by a sampler."""
JOB: Final = 2
"""The role of the span of a job, or of a batch of them."""


class OpenSpan(Protocol):
    """A span, as far as units write to it. What is set is redacted; nothing raises."""

    @property
    def otel(self) -> Span:
        """OpenTelemetry's span, which a context has as the current one."""
        ...

    def inside(self, outside: Context, attempt: int | None = None) -> Context:
        """Return a context in which it is the current span, within ``outside``.

        With ``attempt`` that also has the number of a job's attempt.
        """
        ...

    @property
    def trace_id(self) -> int:
        """The trace that it belongs to."""
        ...

    def get_span_context(self) -> SpanContext:
        """Return its identity."""
        ...

    def is_recording(self) -> bool:
        """Return whether it is of use to tell it anything."""
        ...

    def wall_ns(self, moment: float) -> int:
        """Return a reading of the clock as nanoseconds since the Unix epoch."""
        ...

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute."""
        ...

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several."""
        ...

    def add_event(
        self, name: str, attributes: Mapping[str, Any], timestamp: int
    ) -> None:
        """Add an event, at ``timestamp`` in nanoseconds since the Unix epoch."""
        ...

    def set_status(self, status: Status) -> None:
        """Say how it went."""
        ...

    def fail(self, kind: str, text: str, stack: str | None, ended: float) -> None:
        """Say that an error ended it, at a reading of the clock.

        Args:
            kind: The value of ``error.type``.
            text: The error's own.
            stack: Its traceback; None leaves out the event of the exception.
            ended: When.
        """
        ...

    def finish(self, ended: float) -> None:
        """End it, at a reading of the clock."""
        ...


def fail(span: OpenSpan, kind: str, text: str, stack: str | None, ended: float) -> None:
    """What `OpenSpan.fail` does, by its other methods."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {text}"))
    if stack is not None:
        told = {
            EXCEPTION_TYPE: kind,
            EXCEPTION_MESSAGE: text,
            EXCEPTION_STACKTRACE: stack,
        }
        span.add_event(EVENT_EXCEPTION, told, span.wall_ns(ended))


class Recorder(Protocol):
    """Where units put their spans and metrics.

    ``clock`` gives the times that go in.
    """

    clock: Clock
    errors: ErrorTypes

    @property
    def now(self) -> Callable[[], float]:
        """The clock's."""
        ...

    @property
    def open(self) -> OpenRecorded:
        """Starts a span. Never raises."""
        ...

    @property
    def open_unit(self) -> OpenUnit:
        """Opens a user's unit, and makes its span the current one."""
        ...

    @property
    def open_call(self) -> OpenCall:
        """Opens the unit of a call to a service."""
        ...

    @property
    def units(self) -> object:
        """The `spanrun._core.Units` whose methods these two are; None without any."""
        ...

    @property
    def scope(self) -> Scope | None:
        """Where `open` is the start of a span of ours, whose it is."""
        ...

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: OpenSpan | None = None,
    ) -> None:
        """Add ``value`` to ``metric``; ``span`` may become its exemplar.

        Of ``attributes`` those count that the registry gives to the metric.
        """
        ...

    def series(self, metric: Metric, attributes: Mapping[str, Any]) -> Adds:
        """Return what adds to the one series that `record` would add to."""
        ...

    def series_of_unit(
        self, name: str, outcome: SpanrunUnitOutcome = "ok", error_type: str = ""
    ) -> Adds:
        """Return what adds to the durations of the users' units of that name."""
        ...

    def slowness(self, runner: str) -> Slowness:
        """Return what says which jobs of a runner are slow; of a metric's label."""
        ...

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """Return the metrics of one runner, whose state ``gauges`` gives."""
        ...

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Count a span or metric that is lost by ``error``, and go on."""
        ...


class OpenRecorded(Protocol):
    """`Scope.start`, and what does the same by another provider."""

    def __call__(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        *,
        anchored: Any = None,
        role: int = 0,
    ) -> OpenSpan:
        """Start a span below the one in ``context``, which began at ``begun``.

        ``kind`` is ``SpanKind.value``. The span's place on the calendar is that of
        ``anchored``, a run, where there is nothing above it in this process.
        ``role`` is `RUN` or `JOB`, for a sampler.
        """
        ...
