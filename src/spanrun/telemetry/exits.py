"""`Exit`: where telemetry leaves the process, and the one over OTLP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun.semconv import SpanrunTelemetryReason, SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.redact import redact
from spanrun.telemetry.span import Batch
from spanrun.telemetry.span.request import request_of

if TYPE_CHECKING:  # it imports this module
    from spanrun.telemetry.log_pipe import LogBatch


class Exit(Protocol):
    """Where telemetry leaves the process. It counts what it takes, and its fate.

    Attributes:
        waits: Whether its methods may take long.
    """

    waits: bool

    def spans(self, batch: Batch) -> None:
        """Take ended spans."""
        ...

    def metrics(self, snapshot: MetricsData, *, keep: bool) -> None:
        """Take a snapshot, which with ``keep`` says what no later one says."""
        ...

    def logs(self, batch: LogBatch) -> None:
        """Take log records."""
        ...


class OtlpExit:
    """Encodes, and puts into the queue, which delivers. Never waits."""

    waits = False

    def __init__(self, queued: QueuedExporter, account: Account) -> None:
        self._queued: Final = queued
        self._account: Final = account
        self._encoded: tuple[MetricsData | None, bytes | None] = None, None

    def spans(self, batch: Batch) -> None:
        """Hand over. Failed spans are what the spool gives up last."""
        self._account.produce("traces", batch.spans)
        owner = batch.scope.owner
        request = request_of(owner.resource, owner.instrumentation, batch.data)
        self._queued.put("traces", request, batch.spans, keep=batch.failed)

    def metrics(self, snapshot: MetricsData, *, keep: bool) -> None:
        """Encode and hand over. The items are data points."""
        points = count_points(snapshot)
        self._account.produce("metrics", points)
        encoded = self._encode(snapshot)
        self._encoded = None, None
        if encoded is None:
            self._account.drop("metrics", "encode_error", points)
            return
        self._queued.put("metrics", encoded, points, keep=keep)

    def logs(self, batch: LogBatch) -> None:
        """Hand over. Errors are what the spool gives up last."""
        self._account.produce("logs", batch.records)
        scope = InstrumentationScope(redact(batch.logger))
        request = request_of(batch.resource, scope, batch.data)
        self._queued.put("logs", request, batch.records, keep=batch.failed)

    def save(self, snapshot: MetricsData) -> None:
        """Have it on disk in place of the last one, to be sent if we are killed."""
        encoded = self._encode(snapshot)
        if encoded is not None:
            self._queued.save(encoded, count_points(snapshot))

    def _encode(self, snapshot: MetricsData) -> bytes | None:
        """As a request; None if that can't be. What is saved is often sent as well."""
        with no_fork():  # 60 ms, on a thread that nobody waits for
            from opentelemetry.exporter.otlp.proto.common.metrics_encoder import (  # noqa: PLC0415
                encode_metrics,
            )

        known, encoded = self._encoded
        if known is not snapshot:
            try:
                encoded = encode_metrics(snapshot).SerializeToString()
            except Exception:  # noqa: BLE001 -- counted: telemetry breaks no program
                encoded = None
            self._encoded = snapshot, encoded
        return encoded


def count_lost(
    account: Account,
    signal: SpanrunTelemetrySignal,
    reason: SpanrunTelemetryReason,
    items: int,
) -> None:
    """Count what an outbox could not hand over."""
    if reason == "export_failed":  # an exit had them, and should not have raised
        reason = "internal_error"
    else:
        account.produce(signal, items)
    account.drop(signal, reason, items)


def _points(snapshot: MetricsData) -> Iterator[object]:
    for resource in snapshot.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from metric.data.data_points


def count_points(snapshot: MetricsData) -> int:
    """The data points in ``snapshot``."""
    return sum(1 for _ in _points(snapshot))
