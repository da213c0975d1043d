"""From ended spans and collected metrics to requests, on threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol, cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricReader,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from spanrun.semconv import SpanrunTelemetryReason, SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.delivery.spooled import SpooledSender
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.forks import no_fork, notice_fork, tell_after_fork
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.outbox import Outbox, remaining
from spanrun.telemetry.span import Batch
from spanrun.telemetry.span.decode import readable
from spanrun.telemetry.span.request import request_of
from spanrun.telemetry.threads import Worker

_MAX_SNAPSHOTS: Final = 256
_PATIENCE: Final = 1.0  # seconds that one snapshot waits for another's end


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


class OtlpExit:
    """Encodes, and hands over to the spool, which delivers. Never waits."""

    waits = False

    def __init__(self, sender: SpooledSender, account: Account) -> None:
        self._sender: Final = sender
        self._account: Final = account

    def spans(self, batch: Batch) -> None:
        """Hand over. Failed spans are what the spool gives up last."""
        self._account.produce("traces", batch.spans)
        owner = batch.scope.owner
        request = request_of(owner.resource, owner.instrumentation, batch.data)
        self._sender.put("traces", request, batch.spans, keep=batch.failed)

    def metrics(self, snapshot: MetricsData, *, keep: bool) -> None:
        """Encode and hand over. The items are data points."""
        with no_fork():  # 60 ms, on a thread that nobody waits for
            from opentelemetry.exporter.otlp.proto.common.metrics_encoder import (  # noqa: PLC0415
                encode_metrics,
            )

        points = count_points(snapshot)
        self._account.produce("metrics", points)
        try:
            encoded = encode_metrics(snapshot).SerializeToString()
        except Exception:  # noqa: BLE001 -- counted: telemetry breaks no program
            self._account.drop("metrics", "encode_error", points)
            return
        self._sender.put("metrics", encoded, points, keep=keep)


class ConsoleExit:
    """Prints, as OpenTelemetry's console exporters do."""

    waits = True

    def __init__(self, account: Account) -> None:
        self._account: Final = account
        self._spans: Final = ConsoleSpanExporter()
        self._metrics: Final[Any] = ConsoleMetricExporter()

    def spans(self, batch: Batch) -> None:
        """Print each span."""
        self._print("traces", batch.spans, lambda: self._spans.export(readable(batch)))

    def metrics(self, snapshot: MetricsData, *, keep: bool) -> None:  # noqa: ARG002
        """Print the snapshot."""
        points = count_points(snapshot)
        self._print("metrics", points, lambda: self._metrics.export(snapshot))

    def _print(
        self, signal: SpanrunTelemetrySignal, items: int, act: Callable[[], object]
    ) -> None:
        self._account.produce(signal, items)
        try:
            act()
        except (OSError, ValueError):  # a closed pipe or file
            self._account.drop(signal, "export_failed", items)
        else:
            self._account.deliver(signal, items)


class Collector(MetricReader):
    """Collects what the SDK's instruments hold, when asked, and says it."""

    def __init__(
        self,
        temporality: dict[type, AggregationTemporality],
        aggregation: dict[type, Aggregation],
    ) -> None:
        super().__init__(temporality, aggregation)
        self._collected: MetricsData | None = None

    def now(self) -> MetricsData | None:
        """The metrics as they are now; None when there are none."""
        self._collected = None
        self.collect()
        return self._collected

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing: what is to be sent is decided elsewhere."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 -- the SDK's signature
        **_: Any,
    ) -> None:
        self._collected = metrics_data


class MetricPipe:
    """Takes snapshots on a timer and when asked, and sends each.

    A snapshot is taken on the caller's thread, in memory, and sent from another.
    So the zero point of a runner that opens is in the past of its first job,
    though nobody waited for the network.

    Args:
        leave: Where snapshots leave.
        account: Counts them.
        interval: Seconds between two of them.
        collectors: Of what the SDK's instruments hold.
        aggregator: Of what was aggregated in place.
        exemplars: Whether its exemplars leave.
    """

    def __init__(
        self,
        leave: Exit,
        account: Account,
        interval: float,
        collectors: Sequence[Collector],
        aggregator: Aggregator,
        *,
        exemplars: bool = True,
    ) -> None:
        self._exit: Final = leave
        self._account: Final = account
        self._interval: Final = interval
        self._collectors: Final = collectors
        self._aggregator: Final = aggregator
        self._exemplars: Final = exemplars
        self._fail: Final = partial(Faults(account), "metrics")
        self._closed = threading.Event()
        self._outbox: Final = Outbox[tuple[MetricsData, bool]](
            "metrics",
            self._send,
            self._lost,
            capacity=_MAX_SNAPSHOTS,
            batch=1,
            delay=0.0,
        )
        self._begin()
        tell_after_fork(self)

    def _begin(self) -> None:
        self._collecting = threading.RLock()
        self._busy = False
        self._patience = _PATIENCE
        self._ticker = Worker("ticker", self._tick)

    def snapshot(self, *, keep: bool = False) -> None:
        """Take one now, and queue it.

        Args:
            keep: It says what no later one says: where a series begins.
        """
        notice_fork()
        if not self._collecting.acquire(timeout=self._patience):
            # A callback of the application hangs in another thread.
            self._patience = 0.0
            self._fail(TimeoutError("metrics are being collected, for too long"))
            return
        self._patience = _PATIENCE
        try:
            if self._busy:
                return  # the garbage collector ended a unit in the middle of one
            self._busy = True
            try:
                data = self._aggregator.add_to(self._collected())
            finally:
                self._busy = False
            if data is not None:
                if not self._exemplars:
                    _drop_exemplars(data)
                self._outbox.put((data, keep))
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            self._fail(error)
        finally:
            self._collecting.release()

    def flush(self, timeout: float) -> bool:
        """Take one more, and hand over; whether that took less than ``timeout``."""
        self.snapshot()
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Hand over what is left and end; whether that was all, in time."""
        deadline = time.monotonic() + timeout
        self._closed.set()
        self._ticker.join(timeout)
        return self._outbox.close(remaining(deadline)) and not self._ticker.is_alive

    def after_fork(self) -> None:
        """In the child: a ticker of its own."""
        if not self._closed.is_set():
            self._closed = threading.Event()  # a thread may have held the other's lock
            self._begin()

    def _collected(self) -> MetricsData | None:
        found = [data for each in self._collectors if (data := self._now(each))]
        parts = [part for data in found for part in data.resource_metrics]
        return MetricsData(parts) if parts else None

    def _now(self, collector: Collector) -> MetricsData | None:
        """What it holds. Instruments of other libraries may fail, and not cost ours."""
        try:
            return collector.now()
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            self._fail(error)
            return None

    def _tick(self) -> None:
        while not self._closed.wait(self._interval):
            self.snapshot()
        # What was recorded since the last one. Not on the thread that closes, where
        # a callback of the application that hangs would hold up the program's end.
        self.snapshot(keep=True)

    def _send(self, snapshots: list[tuple[MetricsData, bool]]) -> None:
        for snapshot, keep in snapshots:
            self._exit.metrics(snapshot, keep=keep)

    def _lost(
        self,
        snapshots: list[tuple[MetricsData, bool]],
        reason: SpanrunTelemetryReason,
    ) -> None:
        for snapshot, _ in snapshots:
            count_lost(self._account, "metrics", reason, count_points(snapshot))


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


def _drop_exemplars(snapshot: MetricsData) -> None:
    for point in _points(snapshot):
        kept = getattr(point, "exemplars", None)
        if isinstance(kept, list):
            cast("list[object]", kept).clear()


def _points(snapshot: MetricsData) -> Iterator[object]:
    for resource in snapshot.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from metric.data.data_points


def count_points(snapshot: MetricsData) -> int:
    """The data points in ``snapshot``."""
    return sum(1 for _ in _points(snapshot))
