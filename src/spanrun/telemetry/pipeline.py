"""Build our own providers, and what carries their spans and metrics away."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
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
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.health import Health
from spanrun.telemetry.log import Log
from spanrun.telemetry.metric_pipe import MetricPipe
from spanrun.telemetry.metrics import preferences
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.meters import OurMeterProvider
from spanrun.telemetry.outbox import remaining
from spanrun.telemetry.process import ProcessMetrics
from spanrun.telemetry.queue.accounting import SpoolStatus, counted
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.redact import redact_attributes
from spanrun.telemetry.signals import SIGNALS, Signal
from spanrun.telemetry.span import Buffer, Tail
from spanrun.telemetry.span.head import HeadSampler
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanExit, SpanPipe
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.telemetry.units.otel import SCOPE, OtelRecorder
from spanrun.telemetry.units.recorder import Recorder

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

    def _open(
        self,
        settings: Settings,
        found: otel_trace.ProxyTracerProvider | NativeTracerProvider,
    ) -> Recorder:
        account, clock = self._account, SystemClock()
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
        meter = ours.get_meter(SCOPE, __version__)
        self._health.begin(meter, aggregator, self._spans, self._spooled)
        if self._metrics is not None:
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
        asked = {"traces": settings.traces, "metrics": settings.metrics}
        for signal in SIGNALS:
            if asked[signal].exporter == "console":
                exits[signal] = ConsoleExit(self._account)
        return exits

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
        for part in (self._spans, self._metrics, self._spooled, self.store):
            if part is not None:
                done = part.flush(remaining(deadline)) and done
        return done

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
        done = self._close_part(self._spans, deadline, 0.5)
        if self._metrics is not None and self._spooled is not None:
            # They come last, as they count what became of the spans.
            self._spooled.flush(remaining(deadline) * _SETTLING, patient=False)
        done = self._close_part(self._metrics, deadline, 0.5) and done
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
    try:
        limits = SpanLimits()
    except ValueError as error:
        raise ConfigurationError(
            f"{error}: correct the variable, or unset it"
        ) from None
    tracers = NativeTracerProvider(
        buffer,
        tail=tail,
        sampler=sampler,
        resource=resource,
        span_limits=limits,
        clock=clock,
        failed=partial(Faults(account), "traces"),
    )
    otel_trace.set_tracer_provider(tracers)
    return tracers


def _meters(resource: Resource, settings: Settings) -> OurMeterProvider:
    found = providers.meters()
    if isinstance(found, OurMeterProvider):
        return found
    meters = OurMeterProvider(resource, settings)
    otel_metrics.set_meter_provider(meters)
    return meters


def resource_of(
    service_name: str, failed: Callable[[Exception], object] = lambda _: None
) -> Resource:
    """What describes this process, without secrets: given attributes and a name.

    What a detector of somebody else raises is told to ``failed``.
    """
    try:
        given = Resource.create()
    except Exception as error:  # noqa: BLE001 -- a detector breaks no program
        failed(error)
        given = OTELResourceDetector().detect()
    attributes: dict[str, Any] = {
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        **given.attributes,
    }
    name = str(given.attributes.get(semconv.SERVICE_NAME, ""))
    if service_name:
        attributes[semconv.SERVICE_NAME] = service_name
    elif not name or name.startswith("unknown_service"):
        attributes[semconv.SERVICE_NAME] = Path(sys.argv[0]).stem or "python"
    return Resource(dict(redact_attributes(attributes)), given.schema_url)
