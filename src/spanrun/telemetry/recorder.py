"""`Recorder`: the one seam between the wrapper and what keeps spans and metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanKind,
    Tracer,
    TracerProvider,
    get_current_span,
)

from spanrun.clock import Clock, SystemClock
from spanrun.outcome import Outcome
from spanrun.semconv import Metric, SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.log import Log
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.instruments import (
    Gauges,
    Instruments,
    RunnerMetrics,
)
from spanrun.telemetry.observe import Observer, RunInfo
from spanrun.telemetry.open_units import CallKind, OpenCall
from spanrun.telemetry.span_events import context_of
from spanrun.telemetry.unit import CallUnit, JobKind, OpenJobs, job_units

if TYPE_CHECKING:
    from spanrun.telemetry.spans.columns import Columns

_log: Final = Log(__name__)

SCOPE: Final = "spanrun"
_VERSION: Final[str] = sys.modules[SCOPE].__version__
"""Read here: a unit may be opened when the interpreter ends, and imports nothing."""


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
    def shares(self) -> bool:
        """Whether a span keeps the very dict that it was given, until it ends."""
        ...

    def open(
        self,
        name: str,
        kind: SpanKind,
        outside: Context,
        begun: float,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> Span:
        """Start a span below the one in ``outside``, which began at ``begun``.

        ``attributes`` becomes the span's own: the caller leaves it alone, or may
        write to it where the recorder `shares` it.
        """
        ...

    def close(self, span: Span, ended: float) -> None:
        """End ``span``. Never raises."""
        ...

    def describe(self, span: Span, columns: Columns, values: tuple[Any, ...]) -> None:
        """Give ``span`` attributes of a known shape, once, before it ends."""
        ...

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: Span | None = None,
    ) -> None:
        """Add ``value`` to ``metric``; ``span`` may become its exemplar.

        Of ``attributes`` those count that the registry gives to the metric.
        """
        ...

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """The metrics of one runner, which tells its state through ``gauges``."""
        ...

    def jobs(self, kind: JobKind) -> OpenJobs:
        """What opens the units of a run's jobs."""
        ...

    def call(self, kind: CallKind) -> OpenCall:
        """One call to a service, to be entered."""
        ...

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """A span or metric is lost by ``error``: count it, and go on."""
        ...


class OtelRecorder:
    """Records through the OpenTelemetry API, into the application's own providers.

    Args:
        tracers: Makes the spans.
        meters: Makes the instruments.
        clock: Times everything.
        account: Counts what becomes of the telemetry.
    """

    def __init__(
        self,
        tracers: TracerProvider,
        meters: MeterProvider,
        *,
        clock: Clock | None = None,
        account: Account | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
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

    def _make(self, meter: Meter) -> Instruments:
        return Instruments(meter, self._account, self.failed)

    @property
    def shares(self) -> bool:
        """Whether a span keeps the very dict that it was given: it doesn't."""
        return False

    def open(
        self,
        name: str,
        kind: SpanKind,
        outside: Context,
        begun: float,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> Span:
        """Start a span below the one in ``outside``, which began at ``begun``."""
        try:
            return self._tracer.start_span(
                name,
                outside,
                kind,
                attributes,
                links,
                self.clock.wall_ns(begun),
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("traces", error)
            return NonRecordingSpan(context_of(self, get_current_span(outside)))

    def close(self, span: Span, ended: float) -> None:
        """End ``span``. Never raises."""
        try:
            span.end(self.clock.wall_ns(ended))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("traces", error)

    def describe(self, span: Span, columns: Columns, values: tuple[Any, ...]) -> None:
        """Give ``span`` attributes of a known shape, once, before it ends."""
        try:
            span.set_attributes(columns.as_dict(values))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("traces", error)

    def jobs(self, kind: JobKind) -> OpenJobs:
        """What opens the units of a run's jobs."""
        return job_units(self, kind)

    def call(self, kind: CallKind) -> OpenCall:
        """One call to a service, to be entered."""
        return CallUnit(self, kind)

    def runner(self, name: str, gauges: Callable[[], Gauges]) -> RunnerMetrics:
        """The metrics of one runner, which tells its state through ``gauges``."""
        return RunnerMetrics(name, self._instruments, gauges)

    def failed(self, signal: SpanrunTelemetrySignal, error: Exception) -> None:
        """A span or metric is lost by ``error``: count it, and go on."""
        self._faults(signal, error)


class Observers:
    """Tells many observers; what one of them raises is logged once and dropped."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._complained = False

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __add__(self, more: Sequence[Observer]) -> Observers:
        return Observers((*self._observers, *more)) if more else self

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        self._tell(lambda observer: observer.run_opened(run))

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """A job has its outcome."""
        for observer in self._observers:
            try:
                observer.job_ended(run, outcome)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def run_closed(self, run: RunInfo) -> None:
        """A run is over."""
        self._tell(lambda observer: observer.run_closed(run))

    def _tell(self, news: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                news(observer)
            except Exception as error:  # noqa: BLE001 -- an observer changes no result
                self._complain(observer, error)

    def _complain(self, observer: Observer, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("observer %s failed and goes on: %s", observer, error)
