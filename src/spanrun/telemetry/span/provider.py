"""`NativeTracerProvider`: OpenTelemetry's tracing SDK, over native spans."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

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
from spanrun.telemetry.ids import RandomIds, bits_of
from spanrun.telemetry.log import Log
from spanrun.telemetry.span import Buffer, Scope, Tail
from spanrun.telemetry.span.plain import MAX_LENGTH, clean, cleaned, text_of
from spanrun.telemetry.span.processors import Processors
from spanrun.telemetry.span.tracer import NativeTracer
from spanrun.telemetry.span.view import view
from spanrun.text import excerpt

_log: Final = Log(__name__)

_MAX_TRACERS: Final = 1_000


class NativeTracerProvider(SdkTracerProvider):
    """Makes the tracers of a process, whose spans go into ``buffer`` when they end.

    It offers what the SDK's provider offers, by the specification of the tracing
    API and SDK, and is one, since libraries ask for that class. The SDK's own
    constructor is not run: it would register a shutdown and a fork hook. What a
    sampler or processor raises is told to ``failed`` and goes no further:
    telemetry breaks nobody's program.

    Args:
        buffer: Takes the ended spans of traces that are drawn; None: nobody does.
        tail: Takes those of the others; None: nobody does.
        sampler: Decides which spans are recorded; by default the one that
            ``OTEL_TRACES_SAMPLER`` names.
        resource: Describes the process; by default as the SDK does. A forked
            child has another ``service.instance.id``.
        span_limits: By default those of ``OTEL_*_LIMIT``.
        id_generator: By default `RandomIds`.
        clock: What spans are timed with, where their maker doesn't give a time.
        failed: Told of what went wrong inside.
    """

    of_spanrun: Final = True  # for who hasn't loaded the SDK
    id_generator: IdGenerator  # type: ignore[assignment] # the SDK infers a narrower one

    def __init__(
        self,
        buffer: Buffer | None = None,
        *,
        tail: Tail | None = None,
        sampler: Sampler | None = None,
        resource: Resource | None = None,
        span_limits: SpanLimits | None = None,
        id_generator: IdGenerator | None = None,
        clock: Clock | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._buffer = buffer
        self._tail = tail
        self.sampler = sampler or _sampler_of_environment()
        self._resource = Resource.create() if resource is None else resource
        self._span_limits = span_limits or SpanLimits()
        self.id_generator = id_generator or RandomIds()
        self._clock: Final = clock or SystemClock()
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
                tracer = NativeTracer(scope, self._resource, self._scope, self._failed)
                self._set_up(tracer)
                if len(self._by_scope) < _MAX_TRACERS:
                    self._by_scope[scope] = tracer
            return tracer

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Have ``span_processor`` told of spans, after those that were added before."""
        active: Any = self._active
        active.add_span_processor(span_processor)

    def _processors_changed(self) -> None:
        with self._lock:
            self._set_up_all()

    def redirect(
        self,
        buffer: Buffer | None,
        resource: Resource | None = None,
        sampler: Sampler | None = None,
        tail: Tail | None = None,
    ) -> None:
        """From now on, give what ends to another buffer. See the class for the rest."""
        with self._lock:
            self._buffer = buffer
            self._tail = tail
            self._resource = resource or self._resource
            self.sampler = sampler or _sampler_of_environment()
            self._set_up_all()

    def _update_resource(self, resource: Resource) -> None:
        with self._lock:
            self._resource = self._resource.merge(resource)
            self._set_up_all()

    def _set_up_all(self) -> None:
        for tracer in self._by_scope.values():
            self._set_up(tracer)

    def _set_up(self, tracer: NativeTracer) -> None:
        tracer.resource = self._resource
        tracer.scope.buffer = self._buffer
        tracer.scope.tail = self._tail
        tracer.sample(self.sampler, random=self._draws_random_ids())
        tracer.process(self._processors)

    def _draws_random_ids(self) -> bool:
        try:
            return self.id_generator.is_trace_id_random()
        except Exception as error:  # noqa: BLE001 -- a generator breaks no program
            self._failed(error)
            return False

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
        for tracer in self._by_scope.values():
            tracer.scope.disown()
        self._set_up_all()

    def _scope(self, tracer: NativeTracer) -> Scope:
        now, wall_ns = self._clock.now, self._clock.wall_ns
        limits = self._span_limits
        outer, inner = limits.max_span_attribute_length, limits.max_attribute_length
        scope = Scope(
            tracer,
            now,
            lambda: wall_ns(0.0),
            (
                limits.max_span_attributes,
                limits.max_events,
                limits.max_links,
                limits.max_event_attributes,
                limits.max_link_attributes,
                # One that nobody has set: ten texts of 10 MB would cost the whole
                # request that they travel in.
                MAX_LENGTH if outer is None else outer,
                MAX_LENGTH if inner is None else inner,
            ),
            clean,
            view,
            self._failed,
            _too_late,
        )
        if type(self.id_generator) is not RandomIds:
            scope.bits = bits_of(self.id_generator, self._failed)
        return scope


def _too_late(method: str, name: str) -> None:
    _log.warning("%s was called on span '%s', which has ended", method, excerpt(name))


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
