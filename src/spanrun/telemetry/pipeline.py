"""Build our own providers, and what carries their spans and metrics away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits

from spanrun import __version__, semconv
from spanrun.clock import SystemClock
from spanrun.errors import ConfigurationError
from spanrun.semconv import SpanrunTelemetryReason
from spanrun.settings import Settings
from spanrun.telemetry import providers
from spanrun.telemetry.account import Account
from spanrun.telemetry.exits import Exit, OtlpExit
from spanrun.telemetry.export.console import ConsoleExit
from spanrun.telemetry.export.exporters import exporters
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.forks import no_fork, tell_after_fork
from spanrun.telemetry.health import Health
from spanrun.telemetry.log import Log
from spanrun.telemetry.log_pipe import LogExit, LogPipe
from spanrun.telemetry.logs import hook
from spanrun.telemetry.logs.encode import RecordEncoder
from spanrun.telemetry.logs.limits import limits_of
from spanrun.telemetry.metric_pipe import MetricPipe, collected
from spanrun.telemetry.metrics import preferences
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.meters import OurMeterProvider
from spanrun.telemetry.outbox import remaining
from spanrun.telemetry.process import ProcessMetrics
from spanrun.telemetry.queue.accounting import SpoolStatus, counted
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.resource import resource_of
from spanrun.telemetry.signals import SIGNALS, Signal
from spanrun.telemetry.span import Buffer, Tail
from spanrun.telemetry.span.head import HeadSampler
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanExit, SpanPipe
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.telemetry.units.otel import SCOPE, OtelRecorder
from spanrun.telemetry.units.recorder import Recorder

if TYPE_CHECKING:  # only who asks for it pays for it
    from spanrun.telemetry.export.prometheus import Scraped

_log: Final = Log(__name__)

_SETTLING: Final = 0.25
"""The part of the closing time in which spans may hold the last metrics up."""
_MAX_WAITING: Final = 20_000
"""Spans that wait for the end of their trace."""
_BURST: Final = 10
"""Seconds' worth of traces that are kept for a reason at once."""
_RUNS: Final = 10.0, 100.0
"""Runs that are kept whatever happens in them: a second, and at once."""
_WAITING: Final = 0.9
"""The part of it that is for waiting; the rest is for letting go, also on time."""
_SCRAPED: Final[dict[str, Any]] = {
    "temporality": "cumulative",
    "histograms": "explicit_bucket_histogram",
    "exemplars": "always_off",
}
"""All that OpenTelemetry's exporter for Prometheus knows."""


class Pipeline:
    """From the recorder to the exits.

    Providers that the application has set are used and never replaced: spans and
    metrics then leave by its pipeline, and only runs and jobs go to the store.

    Args:
        settings: Say where telemetry goes.
        account: Counts what becomes of it.

    Attributes:
        recorder: Where units put their spans and metrics.
        store: The local store, if there is one.

    Raises:
        ConfigurationError: A setting can't work.
    """

    def __init__(self, settings: Settings, account: Account) -> None:
        self._account: Final = account
        self._health: Final = Health(account)
        tell_after_fork(account)
        tell_after_fork(self._health)
        self.store: Final = (
            None if settings.store is None else LocalStore(settings.store)
        )
        if self.store is not None:
            tell_after_fork(self.store.account)
        self._spooled: QueuedExporter | None = None
        self._spans: SpanPipe | None = None
        self._metrics: MetricPipe | None = None
        self._logs: LogPipe | None = None
        self._scraped: Scraped | None = None
        self._tail: Tail | None = None
        self._meters: OurMeterProvider | None = None
        self._process: ProcessMetrics | None = None
        found = providers.tracers()
        if isinstance(found, otel_trace.ProxyTracerProvider | NativeTracerProvider):
            self.recorder: Recorder = self._open(settings, found)
        else:
            self.recorder = OtelRecorder(
                found, providers.meters(), account=account, slow=settings.slow
            )
            self._take_logs(settings, None, Resource.get_empty)

    def _open(
        self,
        settings: Settings,
        found: otel_trace.ProxyTracerProvider | NativeTracerProvider,
    ) -> Recorder:
        account, clock = self._account, SystemClock()
        if settings.metrics.exporter == "prometheus":
            settings = replace(settings, **_SCRAPED)
        exits = self._exits(settings)
        leaving: list[SpanExit] = [exits["traces"]] if "traces" in exits else []
        if self.store is not None:
            leaving.append(self.store)
        self._spans = SpanPipe(leaving, account)
        resource = resource_of(
            settings.service_name, partial(Faults(account), "traces")
        )
        sampler = HeadSampler.of(os.environ)
        if sampler is not None:
            self._tail = self._tail_of(settings)
        buffer = self._spans.buffer
        tracers = _tracers(found, buffer, self._tail, sampler, resource, clock, account)
        theirs, ours = _meters(resource, settings), OurMeterProvider(resource, settings)
        self._meters = ours  # who else holds it? And it is told of forks
        aggregator = Aggregator(
            lambda: tracers.resource,
            delta=preferences.delta(settings.temporality),
            exponential=preferences.is_exponential(settings.histograms),
            exemplars="metrics" in exits and settings.exemplars != "always_off",
        )
        if "metrics" in exits:
            leave = exits["metrics"]
            # What has deltas is sent once more, not anew, when it is found again.
            saves = settings.temporality == "cumulative"
            self._metrics = MetricPipe(
                leave,
                account,
                settings.metric_interval,
                (theirs.collector, ours.collector),
                aggregator,
                save=leave.save if saves and isinstance(leave, OtlpExit) else None,
            )
        if settings.metrics.exporter == "prometheus":
            self._scraped = _scraped(settings, account, (theirs, ours), aggregator)
        self._take_logs(settings, exits.get("logs"), lambda: tracers.resource)
        meter = ours.get_meter(SCOPE, __version__)
        self._health.begin(meter, aggregator, self._spans, self._spooled)
        if self._metrics is not None or self._scraped is not None:
            self._process = ProcessMetrics(meter, aggregator)
        return NativeRecorder(
            tracers,
            ours,
            aggregator,
            clock=clock,
            account=account,
            snapshot=self._metrics.snapshot if self._metrics else None,
            slow=settings.slow,
        )

    def _exits(self, settings: Settings) -> dict[Signal, Exit]:
        exits: dict[Signal, Exit] = {}
        reached = exporters(settings, os.environ)
        if reached:
            self._spooled = QueuedExporter(
                settings.spool,
                reached,
                self._account,
                max_bytes=settings.spool_bytes,
                cumulative=settings.temporality == "cumulative",
                watch=self._health.requested,
            )
            leave = OtlpExit(self._spooled, self._account)
            exits.update(dict.fromkeys(reached, leave))
        for signal in SIGNALS:
            if settings.signal(signal).exporter == "console":
                exits[signal] = ConsoleExit(self._account)
        return exits

    def _take_logs(
        self, settings: Settings, leave: Exit | None, resource: Callable[[], Resource]
    ) -> None:
        if settings.logs is None:
            return
        leaving: list[LogExit] = [] if leave is None else [leave]
        if self.store is not None:
            leaving.append(self.store)
        self._logs = LogPipe(
            leaving,
            self._account,
            resource,
            RecordEncoder(*limits_of(os.environ)),
            delay=settings.log_delay,
            batch=settings.log_batch,
            capacity=settings.log_queue,
        )
        hook.attach(settings.logs, self._logs.take)

    def _tail_of(self, settings: Settings) -> Tail:
        account = self._account

        def left_out(spans: int, reason: SpanrunTelemetryReason) -> None:
            account.produce("traces", spans)
            account.leave_out("traces", spans, reason)

        rate = settings.keep_rate
        tail = Tail(
            settings.slow,
            left_out,
            _MAX_WAITING,
            semconv.SPANRUN_SAMPLING_REASON,
            (rate, rate * _BURST),
            _RUNS,
        )
        tell_after_fork(tail)
        return tail

    def status(self) -> SpoolStatus | None:
        """How delivery stands; None where nothing goes over OTLP."""
        return self._spooled.status() if self._spooled else None

    def flush(self, timeout: float) -> bool:
        """Send all that is there; whether that took less than ``timeout``."""
        deadline = time.monotonic() + timeout
        done = True
        parts = self._spans, self._logs, self._metrics, self._spooled, self.store
        for part in parts:
            if part is not None:
                done = part.flush(remaining(deadline)) and done
        return done

    def keep(self, timeout: float) -> None:
        """Put the spans that have ended where no kill reaches them, if that can be.

        That is where they are delivered, or on disk.
        """
        deadline = time.monotonic() + timeout
        for part in (self._spans, self.store):
            if part is not None:
                part.flush(remaining(deadline))
        if self._spooled is not None:
            self._spooled.keep(remaining(deadline))

    def close(self, timeout: float) -> bool:
        """Send what is left and stop, within ``timeout``.

        What could not be delivered is on disk then, where a spool is in use. One line
        of log says what is, and what is lost.

        Returns:
            Whether everything was delivered, since the beginning.
        """
        deadline = time.monotonic() + timeout * _WAITING
        if self._tail is not None:
            _guarded(self._tail.close)
        if self._logs is not None:
            hook.detach(self._logs.take)
        done = self._close_part(self._spans, deadline, 0.5)
        done = self._close_part(self._logs, deadline, 0.5) and done
        if self._metrics is not None and self._spooled is not None:
            # They come last, as they count what became of the spans.
            self._spooled.flush(remaining(deadline) * _SETTLING, patient=False)
        done = self._close_part(self._metrics, deadline, 0.5) and done
        self._close_part(self._scraped, deadline, 0.5)
        done = self._close_part(self.store, deadline, 0.5) and done
        done = self._close_part(self._spooled, deadline, 1.0) and done
        if self._process is not None:
            self._process.close()
        if self._spooled is not None:
            self._account.settle(self._spooled.status())
        return not self._say_what_is_left() and done

    def _close_part(self, part: _Part | None, deadline: float, share: float) -> bool:
        if part is None:
            return True
        return _guarded(lambda: part.close(remaining(deadline) * share))

    def _say_what_is_left(self) -> bool:
        """Log what was not delivered; whether something is lost."""
        lost = self._account.lost
        kept: dict[Signal, int] = {s: n for s, n in self._account.spooled.items() if n}
        if not lost and not kept:
            return False
        said: list[str] = []
        if lost:
            said.append(f"lost: {lost}")
        if kept and self._spooled is not None:
            where = self._spooled.folder
            said.append(f"kept in {where} for the next process: {counted(kept)}")
        if self._spooled is not None:
            said.extend(self._spooled.status().troubles())
        _log.warning("not all telemetry was delivered: %s", "; ".join(said))
        return bool(lost)


class _Part(Protocol):
    def close(self, timeout: float) -> bool: ...


def _guarded(close: Callable[[], bool | None]) -> bool:
    """Close one part; what goes wrong there keeps no other from being closed."""
    try:
        return close() is not False
    except Exception as error:  # noqa: BLE001 -- it is said, and the others go on
        _log.error("a part of telemetry could not be closed", error=error)
        return False


def _tracers(
    found: otel_trace.ProxyTracerProvider | NativeTracerProvider,
    buffer: Buffer,
    tail: Tail | None,
    sampler: HeadSampler | None,
    resource: Resource,
    clock: SystemClock,
    account: Account,
) -> NativeTracerProvider:
    """OpenTelemetry's provider from now on, or since an earlier `configure`."""
    if isinstance(found, NativeTracerProvider):
        found.redirect(buffer, resource, sampler, tail)
        return found
    tracers = NativeTracerProvider(
        buffer,
        tail=tail,
        sampler=sampler,
        resource=resource,
        span_limits=_limits(),
        clock=clock,
        failed=partial(Faults(account), "traces"),
    )
    otel_trace.set_tracer_provider(tracers)
    return tracers


def _scraped(
    settings: Settings,
    account: Account,
    meters: tuple[OurMeterProvider, OurMeterProvider],
    aggregator: Aggregator,
) -> Scraped:
    with no_fork():  # 60 ms
        from spanrun.telemetry.export.prometheus import Scraped  # noqa: PLC0415

    collectors = [each.collector for each in meters]
    fail = partial(Faults(account), "metrics")
    return Scraped(
        settings.prometheus_host,
        settings.prometheus_port,
        lambda: aggregator.add_to(collected(collectors, fail)),
    )


def _limits() -> SpanLimits:
    """The SDK's limits, which it reads from its variables."""
    try:
        return SpanLimits()
    except ValueError as error:
        raise ConfigurationError(
            f"{error}: correct the variable, or unset it"
        ) from None


def _meters(resource: Resource, settings: Settings) -> OurMeterProvider:
    found = providers.meters()
    if isinstance(found, OurMeterProvider):
        return found
    meters = OurMeterProvider(resource, settings)
    otel_metrics.set_meter_provider(meters)
    return meters
