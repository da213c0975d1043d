"""`NativeRecorder`: units whose spans and metrics are spanrun's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter, MeterProvider

from spanrun.accelerator import core
from spanrun.clock import Clock
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.instruments import Adds, Instruments, NativeInstruments
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.call import CallKind, CallUnit, labels_of
from spanrun.telemetry.units.otel import OtelRecorder
from spanrun.telemetry.units.user import UserUnit, fail_unit

MAX_CALLS: Final = 256
"""Series of calls that are remembered, each of one client and one kind of answer."""


class NativeRecorder(OtelRecorder):
    """Records into our own providers, past OpenTelemetry's API.

    Args:
        tracers: Makes the spans. Its clock is ``clock``.
        meters: Makes the instruments that are read when metrics are collected.
        aggregator: Aggregates all others.
        clock: Times everything.
        account: Counts what becomes of the telemetry.
        snapshot: Has the metrics exported soon; None where they go nowhere.
        slow: Seconds from which on a job is slow, whatever the others take.
    """

    def __init__(
        self,
        tracers: NativeTracerProvider,
        meters: MeterProvider,
        aggregator: Aggregator,
        *,
        clock: Clock,
        account: Account,
        snapshot: Callable[[], None] | None,
        slow: float | None = None,
    ) -> None:
        self._aggregator: Final = aggregator
        self._snapshot: Final = snapshot
        super().__init__(tracers, meters, clock=clock, account=account, slow=slow)
        self.scope = tracers.tracer(OUR_SCOPE).scope
        self.open = self.scope.start
        self.call_series: Final[dict[tuple[Any, ...], Adds]] = {}
        tell_after_fork(self)
        if core is not None:
            self.units = units = core.Units(
                self, self.scope, UserUnit, CallUnit, self.unit_series, self.call_series
            )
            self.open_unit, self.open_call = units.open_unit, units.open_call

    def _make(self, meter: Meter) -> Instruments:
        return NativeInstruments(
            meter, self._account, self.failed, self._collect, self._aggregator
        )

    def _collect(self) -> None:
        if self._snapshot is None:
            return
        try:
            self._snapshot()
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("metrics", error)

    def series_of_call(
        self, key: tuple[Any, ...], kind: CallKind, attributes: Mapping[str, Any]
    ) -> Adds:
        """Return what adds to the durations of calls with these attributes.

        ``key`` is the kind, and the labels that it doesn't have itself.
        """
        series = self.series(kind.metric, labels_of(kind.metric, attributes))
        if len(self.call_series) >= MAX_CALLS:
            self.call_series.clear()  # also of clients that are gone
        self.call_series[key] = series
        return series

    def fail_unit(self, unit: UserUnit, name: str, error: BaseException) -> None:
        """End a user's unit that ``error`` left: see `UserUnit.close`."""
        fail_unit(self, unit, name, error)

    def after_fork(self) -> None:
        """In a child process: the series are its parent's."""
        self.unit_series.clear()
        self.call_series.clear()
