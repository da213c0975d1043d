"""`NativeRecorder`: native spans, and metrics that are aggregated in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanKind

from spanrun import __version__
from spanrun.clock import Clock
from spanrun.telemetry.account import Account
from spanrun.telemetry.aggregate import Aggregator
from spanrun.telemetry.metrics import Instruments, NativeInstruments
from spanrun.telemetry.recorder import SCOPE, OtelRecorder
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.provider import NativeTracerProvider
from spanrun.telemetry.spans.span import NativeSpan


class Snapshot(Protocol):
    """Collects the metrics as they are now, and queues them."""

    def __call__(self, *, keep: bool = False) -> None:
        """Do so; ``keep`` says that a series begins here."""
        ...


class NativeRecorder(OtelRecorder):
    """Records into our own providers, past OpenTelemetry's API.

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
        self._aggregator: Final = aggregator
        self._take_snapshot: Final = snapshot
        super().__init__(tracers, meters, clock=clock, account=account)
        self._native: Final = tracers.tracer(InstrumentationScope(SCOPE, __version__))
        self._wall_ns: Final[Callable[[float], int]] = clock.wall_ns

    def _make(self, meter: Meter) -> Instruments:
        return NativeInstruments(meter, self._account, self._collect, self._aggregator)

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
        start_ns = self._wall_ns(begun)
        return self._native.span(name, kind, outside, start_ns, attributes, links)

    def close(self, span: Span, ended: float) -> None:
        """End ``span``. Never raises."""
        span.end(self._wall_ns(ended))

    def describe(self, span: Span, columns: Columns, values: tuple[Any, ...]) -> None:
        """Give ``span`` attributes of a known shape, once, before it ends."""
        if type(span) is NativeSpan:
            span.row = columns, values
        else:
            span.set_attributes(columns.as_dict(values))
