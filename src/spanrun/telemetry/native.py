"""`NativeRecorder`: native spans, and metrics that are aggregated in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.trace import Link, Span, SpanKind

from spanrun.clock import Clock
from spanrun.speed import bind_recorder
from spanrun.telemetry import fast
from spanrun.telemetry.account import Account
from spanrun.telemetry.ids import RandomIds
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.instruments import Instruments, NativeInstruments
from spanrun.telemetry.native_call import NativeCalls
from spanrun.telemetry.native_jobs import NativeJobs
from spanrun.telemetry.open_units import CallKind, OpenCall
from spanrun.telemetry.recorder import OtelRecorder
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.provider import NativeTracerProvider
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.unit import JobKind, OpenJobs


class Snapshot(Protocol):
    """Collects the metrics as they are now, and queues them."""

    def __call__(self, *, keep: bool = False) -> None:
        """Do so; ``keep`` says that a series begins here."""
        ...


class NativeRecorder(OtelRecorder):
    """Records into our own providers, past OpenTelemetry's API.

    Attributes:
        is_bound: Its units are those in C.

    Args:
        tracers: Makes the spans. Its clock is ``clock``.
        meters: Makes the instruments that are read when metrics are collected.
        aggregator: Aggregates all others.
        clock: Times everything.
        account: Counts what becomes of the telemetry.
        snapshot: Collects the metrics as they are now; None where they go nowhere.
    """

    def __init__(
        self,
        tracers: NativeTracerProvider,
        meters: MeterProvider,
        aggregator: Aggregator,
        *,
        clock: Clock,
        account: Account,
        snapshot: Snapshot | None,
    ) -> None:
        self.aggregator: Final = aggregator
        self._take_snapshot: Final = snapshot
        super().__init__(tracers, meters, clock=clock, account=account)
        self.tracer: Final = tracers.tracer(OUR_SCOPE)
        self.zero: Final = clock.wall_ns(0.0)
        self.is_bound: Final = fast.BOUND and type(tracers.id_generator) is RandomIds

    def _make(self, meter: Meter) -> Instruments:
        return NativeInstruments(
            meter, self._account, self.failed, self._collect, self.aggregator
        )

    def _collect(self, *, keep: bool = False) -> None:
        if self._take_snapshot is None:
            return
        try:
            self._take_snapshot(keep=keep)
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("metrics", error)

    @property
    def shares(self) -> bool:
        """Whether a span keeps the very dict that it was given: it does."""
        return True

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
        start_ns = self.zero + int(begun * 1e9)
        return self.tracer.span(name, kind, outside, start_ns, attributes, links)

    def close(self, span: Span, ended: float) -> None:
        """End ``span``. Never raises."""
        span.end(self.zero + int(ended * 1e9))

    def describe(self, span: Span, columns: Columns, values: tuple[Any, ...]) -> None:
        """Give ``span`` attributes of a known shape, once, before it ends."""
        if isinstance(span, Recorded):
            span.row = columns, values
        else:
            super().describe(span, columns, values)

    def jobs(self, kind: JobKind) -> OpenJobs:
        """What opens the units of a run's jobs."""
        jobs = NativeJobs(self, kind)
        return jobs.open_fast if jobs.is_armed else jobs.open

    def call(self, kind: CallKind) -> OpenCall:
        """One call to a service, to be entered."""
        calls = kind.native
        if calls is None or calls.recorder is not self:
            calls = kind.native = NativeCalls(self, kind)
        return calls.open_fast() if self.is_bound else calls.open()


if fast.BOUND:
    bind_recorder(NativeRecorder)
