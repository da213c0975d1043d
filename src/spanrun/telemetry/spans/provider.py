"""`NativeTracerProvider`: OpenTelemetry's tracing SDK, over native spans."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER
from opentelemetry.sdk.resources import PROCESS_PID, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NoOpTracer, Tracer
from opentelemetry.util.types import Attributes

from spanrun.clock import Clock, SystemClock
from spanrun.semconv import SERVICE_INSTANCE_ID
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.ids import RandomIds
from spanrun.telemetry.log import Log
from spanrun.telemetry.spans.origin import Limits, Origin, Wire
from spanrun.telemetry.spans.processors import Processors
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.spans.tracer import NativeTracer, is_plain
from spanrun.telemetry.spans.values import cleaned, text_of

_log: Final = Log(__name__)

_MAX_TRACERS: Final = 1_000

Sink: TypeAlias = Callable[[Recorded], object]
Wires: TypeAlias = Callable[[Origin], Wire | None]


class NativeTracerProvider(SdkTracerProvider):
    """Makes the tracers of a process, and hands on the spans that have ended.

    It offers what the SDK's provider offers, by the specification of the tracing
    API and SDK, and is one, since libraries ask for that class. The SDK's own
    constructor is not run: it would register a shutdown and a fork hook. What a
    sampler, processor or sink raises is told to ``failed`` and goes no further:
    telemetry breaks nobody's program.

    Args:
        sink: Called with each ended span, on the thread that ended it.
        sampler: Decides which spans are recorded; by default the one that
            ``OTEL_TRACES_SAMPLER`` names.
        resource: Describes the process; by default as the SDK does. A forked
            child has another ``service.instance.id``.
        span_limits: By default those of ``OTEL_*_LIMIT``.
        id_generator: By default `RandomIds`.
        clock: What spans are timed with, where their maker doesn't give a time.
        takes: Whether the sink takes the sampled spans, or all that are recorded.
        failed: Told of what went wrong inside.
        wires: Gives what takes encoded spans of an origin, past the sink.
    """

    of_spanrun: Final = True  # for who hasn't loaded the SDK
    id_generator: IdGenerator  # type: ignore[assignment] # the SDK infers a narrower one

    def __init__(
        self,
        sink: Sink,
        *,
        sampler: Sampler | None = None,
        resource: Resource | None = None,
        span_limits: SpanLimits | None = None,
        id_generator: IdGenerator | None = None,
        clock: Clock | None = None,
        takes: Literal["sampled", "recorded"] = "sampled",
        failed: Callable[[Exception], None] | None = None,
        wires: Wires | None = None,
    ) -> None:
        self._sink = sink
        self._wires = wires
        self.sampler = sampler or _sampler_of_environment()
        self._resource = Resource.create() if resource is None else resource
        self._span_limits = span_limits or SpanLimits()
        self.limits: Final = Limits.of(self._span_limits)
        self.id_generator = id_generator or RandomIds()
        self._clock: Final = clock or SystemClock()
        self._takes_all = takes == "recorded"
        self._failed: Final = failed or _Complainer()
        self._by_scope: Final[dict[InstrumentationScope, NativeTracer]] = {}
        self._lock = threading.Lock()
        self._active: SpanProcessor = Processors(self._processors_changed)
        self._over = False
        tell_after_fork(self)

    @property
    def resource(self) -> Resource:
        """What describes the process."""
        return self._resource

    @property
    def _active_span_processor(self) -> Any:
        return self._active

    @_active_span_processor.setter
    def _active_span_processor(self, given: SpanProcessor) -> None:
        self._active = given
        self._processors_changed()

    @property
    def _processors(self) -> tuple[SpanProcessor, ...]:
        active = self._active
        return active.all if isinstance(active, Processors) else (active,)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """The tracer of an instrumentation scope; one that does nothing at the end."""
        if self._over:
            return NoOpTracer()
        return self.tracer(
            InstrumentationScope(
                text_of(instrumenting_module_name or ""),
                text_of(instrumenting_library_version or ""),
                text_of(schema_url or ""),
                cleaned(attributes or {})[0],
            )
        )

    def tracer(self, scope: InstrumentationScope) -> NativeTracer:
        """The tracer of ``scope``, with what only a native one can do."""
        with self._lock:
            tracer = self._by_scope.get(scope)
            if tracer is None:
                tracer = NativeTracer(
                    self._origin(scope), self.sampler, self.id_generator
                )
                tracer.process(self._processors)
                if len(self._by_scope) < _MAX_TRACERS:
                    self._by_scope[scope] = tracer
            return tracer

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Have ``span_processor`` told of spans, after those that were added before."""
        active: Any = self._active
        active.add_span_processor(span_processor)

    def _processors_changed(self) -> None:
        with self._lock:
            ended = self._ended()
            for tracer in self._by_scope.values():
                tracer.origin.ended = ended
                tracer.origin.wire = self._wire(tracer.origin)
                tracer.process(self._processors)

    def redirect(
        self,
        sink: Sink,
        resource: Resource | None = None,
        sampler: Sampler | None = None,
        takes: Literal["sampled", "recorded"] = "sampled",
        wires: Wires | None = None,
    ) -> None:
        """From now on, give what ends to another sink. See the class for the rest."""
        with self._lock:
            self._sink = sink
            self._wires = wires
            self._takes_all = takes == "recorded"
            self._resource = resource or self._resource
            self.sampler = sampler or _sampler_of_environment()
            ended = self._ended()
            for tracer in self._by_scope.values():
                tracer.origin.ended = ended
                tracer.origin.resource = self._resource
                tracer.origin.wire = self._wire(tracer.origin)
                tracer.ask(self.sampler)

    def _update_resource(self, resource: Resource) -> None:
        with self._lock:
            self._resource = self._resource.merge(resource)
            for tracer in self._by_scope.values():
                tracer.origin.resource = self._resource
                tracer.origin.wire = self._wire(tracer.origin)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the processors export what they hold.

        Returns:
            Whether all of them did, within ``timeout_millis`` in all.
        """
        deadline = time.monotonic() + timeout_millis / 1e3
        done = True
        for processor in self._processors:
            left = int((deadline - time.monotonic()) * 1e3)
            if left <= 0:
                return False
            try:
                done = processor.force_flush(left) is not False and done
            except Exception as error:  # noqa: BLE001 -- a processor breaks no program
                self._failed(error)
                done = False
        return done

    def shutdown(self) -> None:
        """Shut the processors down, once. Spans that are open still reach the sink."""
        with self._lock:
            if self._over:
                return
            self._over = True
        for processor in self._processors:
            try:
                processor.shutdown()
            except Exception as error:  # noqa: BLE001 -- a processor breaks no program
                self._failed(error)

    def after_fork(self) -> None:
        """In a child process: be another instance of the service.

        The spans that are open are the parent's, which will end them.
        """
        self._lock = threading.Lock()
        if isinstance(self._active, Processors):
            self._active.after_fork()
        of_child = {SERVICE_INSTANCE_ID: str(uuid.uuid4()), PROCESS_PID: os.getpid()}
        told: dict[str, Any] = dict(self._resource.attributes)
        told.update((key, value) for key, value in of_child.items() if key in told)
        self._resource = Resource(told, self._resource.schema_url)
        for scope, tracer in self._by_scope.items():
            tracer.origin.disown()
            tracer.origin = self._origin(scope)

    def _origin(self, scope: InstrumentationScope) -> Origin:
        ended = self._ended()
        origin = Origin(
            scope, self._resource, self.limits, self._now, ended, self._failed
        )
        origin.wire = self._wire(origin)
        return origin

    def _now(self) -> int:
        return self._clock.wall_ns(self._clock.now())

    def _ended(self) -> Sink:
        """What a span's end calls: the sink itself, where nothing is to be asked."""
        return self._sink if self._asks_nobody() else self._finish

    def _wire(self, origin: Origin) -> Wire | None:
        """What takes encoded spans, where nobody has to see them before."""
        if self._wires is None or not self._asks_nobody():
            return None
        return self._wires(origin)

    def _asks_nobody(self) -> bool:
        takes_each = self._takes_all or is_plain(self.sampler)
        return takes_each and not self._processors

    def _finish(self, span: Recorded) -> None:
        for processor in self._processors:
            try:
                processor.on_end(span)
            except Exception as error:  # noqa: BLE001 -- a processor breaks no program
                self._failed(error)
        if self._takes_all or span.inherited[0].sampled:
            self._sink(span)


class _Complainer:
    """Logs the first failure; the others would say the same, once a span."""

    def __init__(self) -> None:
        self._complained = False

    def __call__(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("tracing failed inside and goes on", error=error)


def _sampler_of_environment() -> Sampler:
    """As the SDK's provider reads ``OTEL_TRACES_SAMPLER`` and its ``_ARG``.

    It complains of an empty one, which by the specification is an unset one.
    """
    if not os.environ.get(OTEL_TRACES_SAMPLER, "").strip():
        return DEFAULT_ON
    return SdkTracerProvider(
        resource=Resource.get_empty(), shutdown_on_exit=False
    ).sampler
