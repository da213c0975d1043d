"""Recorders over spanrun's own provider, and over one of the application's."""

from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.telemetry.units.otel import OtelRecorder
from spanrun.testing import FakeClock

HOUR_NS = 3_600 * 10**9


class SteppedClock(FakeClock):
    """Virtual time, on a wall clock that somebody sets.

    Attributes:
        step_ns: By how much it was set, in nanoseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_ns = 0

    def wall_ns(self, now: float) -> int:
        return super().wall_ns(now) + self.step_ns


class Recording:
    """A recorder, and the spans that came out of its provider.

    Attributes:
        clock: Times everything.
        account: Counts what becomes of the telemetry.
        tracers: The provider.
        recorder: To be put in force.
    """

    def __init__(self, provider: str) -> None:
        self.clock = SteppedClock()
        self.account = Account()
        self._kept = InMemorySpanExporter()
        resource = Resource.get_empty()
        self.tracers: Any
        self.recorder: Any
        if provider == "foreign":
            self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            self.recorder = OtelRecorder(
                self.tracers,
                NoOpMeterProvider(),
                clock=self.clock,
                account=self.account,
            )
        else:
            self.tracers = NativeTracerProvider(resource=resource, clock=self.clock)
            self.recorder = NativeRecorder(
                self.tracers,
                NoOpMeterProvider(),
                Aggregator(lambda: resource),
                clock=self.clock,
                account=self.account,
                snapshot=None,
            )
        self.tracers.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._kept.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def run(self, main: Callable[[], Any]) -> Any:
        return self.clock.run(main())


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def id_of(span: ReadableSpan) -> int:
    return span.context.span_id  # type: ignore[union-attr, no-any-return]
