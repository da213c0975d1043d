"""`ConsoleExit`: spans, metrics and log records printed, for a look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricsData
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun.telemetry.account import Account
from spanrun.telemetry.exits import count_points
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.log_pipe import LogBatch
from spanrun.telemetry.redact import redact
from spanrun.telemetry.signals import Signal
from spanrun.telemetry.span import Batch
from spanrun.telemetry.span.decode import readable
from spanrun.telemetry.span.request import request_of


class ConsoleExit:
    """Prints, as OpenTelemetry's console exporters do; log records as lines of JSON."""

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

    def logs(self, batch: LogBatch) -> None:
        """Print the records: a line of OTLP's JSON."""
        with no_fork():  # 20 ms, and who makes the record doesn't wait for it
            from spanrun.telemetry.otlp_file import line_of_logs  # noqa: PLC0415

        scope = InstrumentationScope(redact(batch.logger))
        request = request_of(batch.resource, scope, batch.data)
        self._print("logs", batch.records, lambda: print(line_of_logs(request), end=""))  # noqa: T201 -- the console

    def _print(self, signal: Signal, items: int, act: Callable[[], object]) -> None:
        self._account.produce(signal, items)
        try:
            act()
        except (OSError, ValueError):  # a closed pipe or file
            self._account.drop(signal, "export_failed", items)
        else:
            self._account.deliver(signal, items)
