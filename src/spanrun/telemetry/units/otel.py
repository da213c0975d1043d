"""`OtelRecorder`: units by OpenTelemetry's API, for providers of the application's own.

Spans and metrics leave by its pipeline then. What is put there is redacted here, and
what its provider raises is counted and goes no further.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    Tracer,
    TracerProvider,
    get_current_span,
)

from spanrun.clock import Clock, SystemClock
from spanrun.semconv import (
    ERROR_TYPE,
    METRIC_SPANRUN_UNIT_DURATION,
    SPANRUN_UNIT_NAME,
    SPANRUN_UNIT_OUTCOME,
    SpanrunTelemetrySignal,
    SpanrunUnitOutcome,
)
from spanrun.telemetry.account import Account
from spanrun.telemetry.current import TOLD, inside, open_context
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.instruments import Adds, Instruments, RunnerMetrics
from spanrun.telemetry.metrics.runners import Gauges
from spanrun.telemetry.redact import redact, redact_attributes
from spanrun.telemetry.units.call import CallUnit, OpenCall
from spanrun.telemetry.units.recorder import OpenRecorded, fail
from spanrun.telemetry.units.user import OpenUnit, UserUnit

if TYPE_CHECKING:  # it needs the SDK, which only `configure` loads
    from spanrun.telemetry.span import Scope, Slowness

SCOPE: Final = "spanrun"
_VERSION: Final[str] = sys.modules[SCOPE].__version__
"""Read here: a unit may be opened when the interpreter ends, and imports nothing."""

_KINDS: Final = {kind.value: kind for kind in SpanKind}

MAX_SERIES: Final = 1_000
"""Series that are remembered: by the names of units, and by the attributes of calls."""

Failed = Callable[[SpanrunTelemetrySignal, Exception], None]


class ForeignSpan:
    """A span of another provider, as units write to it.

    Attributes:
        otel: OpenTelemetry's span.
        zero: The clock's zero, in nanoseconds since the Unix epoch.
        has_ended: `finish` was called: it is no parent any more.
    """

    __slots__ = ("_failed", "has_ended", "otel", "zero")

    def __init__(self, span: Span, zero: int, failed: Failed) -> None:
        self.otel: Final = span
        self.zero: Final = zero
        self._failed: Final = failed
        self.has_ended = False

    def inside(self, outside: Context, attempt: int | None = None) -> Context:
        """Return a context in which this is the current span, within ``outside``."""
        return Context({**inside(self.otel, outside, attempt), TOLD: self})

    @property
    def trace_id(self) -> int:
        """The trace that it belongs to; 0 where that can't be had."""
        return self.get_span_context().trace_id

    def get_span_context(self) -> SpanContext:
        """Return its identity; an invalid one where that can't be had."""
        try:
            return self.otel.get_span_context() or INVALID_SPAN_CONTEXT
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)
            return INVALID_SPAN_CONTEXT

    def is_recording(self) -> bool:
        """Return whether it is of use to tell it anything."""
        try:
            return self.otel.is_recording()
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)
            return False

    def wall_ns(self, moment: float) -> int:
        """Return a reading of the clock as nanoseconds since the Unix epoch."""
        return self.zero + int(moment * 1e9)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several."""
        try:
            self.otel.set_attributes(redact_attributes(attributes))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)

    def add_event(
        self, name: str, attributes: Mapping[str, Any], timestamp: int
    ) -> None:
        """Add an event, at ``timestamp`` in nanoseconds since the Unix epoch."""
        try:
            self.otel.add_event(
                redact(name), dict(redact_attributes(attributes)), timestamp
            )
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)

    def set_status(self, status: Status) -> None:
        """Say how it went."""
        try:
            said = status.description
            shown = None if said is None else redact(said)
            self.otel.set_status(Status(status.status_code, shown))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)

    fail = fail

    def finish(self, ended: float) -> None:
        """End it, at a reading of the clock."""
        self.has_ended = True
        try:
            self.otel.end(self.wall_ns(ended))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("traces", error)


class OtelRecorder:
    """Records by OpenTelemetry's API, into the application's own providers.

    Args:
        tracers: Makes the spans.
        meters: Makes the instruments.
        clock: Times everything.
        account: Counts what becomes of the telemetry.
        slow: Seconds from which on a job is slow, whatever the others take.
    """

    def __init__(
        self,
        tracers: TracerProvider,
        meters: MeterProvider,
        *,
        clock: Clock | None = None,
        account: Account | None = None,
        slow: float | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._slow: Final = slow
        self._slowness: Final[dict[str, Slowness]] = {}
        self.now: Final = self.clock.now
        self.errors = ErrorTypes()
        self._account: Final = account or Account()
        self._faults: Final = Faults(self._account)
        self._tracer: Tracer = NoOpTracer()
        meter: Meter = NoOpMeter(SCOPE)
        try:
            self._tracer = tracers.get_tracer(SCOPE, _VERSION)
        except Exception as error:  # noqa: BLE001 -- counted: breaks no program
            self.failed("traces", error)
        try:
            meter = meters.get_meter(SCOPE, _VERSION)
        except Exception as error:  # noqa: BLE001 -- the same
            self.failed("metrics", error)
        self._instruments: Final = self._make(meter)
        self.record = self._instruments.record
        self.series = self._instruments.series
        self.unit_series: Final[dict[str | tuple[str, ...], Adds]] = {}
        self.scope: Scope | None = None
        self.units: object = None
        self.open: OpenRecorded = self._start
        self.open_unit: OpenUnit = partial(UserUnit, self)
        self.open_call: OpenCall = partial(CallUnit, self)

    def slowness(self, runner: str) -> Slowness:
        """Return what says which jobs of a runner are slow; of a metric's label."""
        found = self._slowness.get(runner)
        if found is None:
            with no_fork():
                from spanrun.telemetry.span import Slowness  # noqa: PLC0415 -- as above
            found = self._slowness[runner] = Slowness(self._slow)
        return found

    def _make(self, meter: Meter) -> Instruments:
        return Instruments(meter, self._account, self.failed)

    def _start(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        *,
        anchored: Any = None,
        role: int = 0,  # noqa: ARG002 -- the application's sampler decides
    ) -> ForeignSpan:
        """Start a span below the one in ``context``: see `OpenRecorded`."""
        context = open_context(context)
        above: Any = anchored or context.get(TOLD)
        near = isinstance(above, ForeignSpan)
        zero = above.zero if near else self.clock.wall_ns(0.0)
        start = self.now() if begun is None else begun
        try:
            span = self._tracer.start_span(
                redact(name),
                context,
                _KINDS[kind],
                dict(redact_attributes(attributes or {})),
                links,
                zero + int(start * 1e9),
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("traces", error)
            span = NonRecordingSpan(_identity(context))
        return ForeignSpan(span, zero, self.failed)

    def series_of_unit(
        self, name: str, outcome: SpanrunUnitOutcome = "ok", error_type: str = ""
    ) -> Adds:
        """Return what adds to the durations of the users' units of that name."""
        key = name if outcome == "ok" else (name, outcome, error_type)
        series = self.unit_series.get(key)
        if series is None:
            labels: dict[str, str] = {
                SPANRUN_UNIT_NAME: redact(name),
                SPANRUN_UNIT_OUTCOME: outcome,
            }
            if error_type:
                labels[ERROR_TYPE] = error_type
            series = self.series(METRIC_SPANRUN_UNIT_DURATION, labels)
            if len(self.unit_series) < MAX_SERIES:
                self.unit_series[key] = series
        return series

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """Return the metrics of one runner, whose state ``gauges`` gives."""
        return RunnerMetrics(name, self._instruments, gauges)

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """Count a span or metric that is lost by ``error``, and go on."""
        self._faults(signal, error)


def _identity(context: Context) -> SpanContext:
    try:
        return get_current_span(context).get_span_context() or INVALID_SPAN_CONTEXT
    except Exception:  # noqa: BLE001 -- its provider has failed already, and counts
        return INVALID_SPAN_CONTEXT
