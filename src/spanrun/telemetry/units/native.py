"""`NativeRecorder`: units whose spans and metrics are spanrun's own."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

from opentelemetry.metrics import Meter, MeterProvider

from spanrun.accelerator import core
from spanrun.clock import Clock
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.instruments import Instruments, NativeInstruments
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.otel import OtelRecorder
from spanrun.telemetry.units.user import UserUnit


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
        self._snapshot: Final = snapshot
        super().__init__(tracers, meters, clock=clock, account=account)
        self.scope = tracers.tracer(OUR_SCOPE).scope
        self.open = self.scope.start
        if core is not None:
            self.open_unit = partial(core.UserUnit.open, self, self.scope, UserUnit)

    def _make(self, meter: Meter) -> Instruments:
        return NativeInstruments(
            meter, self._account, self.failed, self._collect, self._aggregator
        )

    def _collect(self, *, keep: bool = False) -> None:
        if self._snapshot is None:
            return
        try:
            self._snapshot(keep=keep)
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self.failed("metrics", error)
