"""`NativeTracer`: starts native spans, by the API's way or by a shorter one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
)
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.util._decorator import (
    _agnosticcontextmanager,  # pyright: ignore[reportPrivateUsage] -- see below
)
from opentelemetry.util.types import Attributes

from spanrun.telemetry.current import CURRENT_SPAN
from spanrun.telemetry.ids import bits_of
from spanrun.telemetry.span.plain import frozen
from spanrun.telemetry.spans.origin import Limits, Origin
from spanrun.telemetry.spans.recorded import Inherited, Recorded, lasting
from spanrun.telemetry.spans.span import NativeSpan, valid_link


class NativeTracer(Tracer):
    """Starts the spans of one instrumentation scope.

    Args:
        origin: What its spans share. Another one, in a forked child.
        sampler: Decides which of them are recorded.
        ids: Draws their ids.

    Attributes:
        bits: Draws ids, as `bits_of` says.
        follow: A span below one of ours need not be asked for, or told to anybody.
        root: What a span without a parent hands down, where that need not be either.
    """

    def __init__(self, origin: Origin, sampler: Sampler, ids: IdGenerator) -> None:
        self.origin = origin
        self._sampler = sampler
        self._draws_random_ids: Final = self._ask_whether_random(ids)
        self.bits: Final = bits_of(ids, origin.failed)
        self._processors: tuple[SpanProcessor, ...] = ()
        self.follow = False
        self.root: Inherited | None = None
        self.process(())

    def _ask_whether_random(self, ids: IdGenerator) -> bool:
        try:
            return ids.is_trace_id_random()
        except Exception as error:  # noqa: BLE001 -- a generator breaks no program
            self.origin.failed(error)
            return False

    def ask(self, sampler: Sampler) -> None:
        """Have ``sampler`` decide from now on."""
        self._sampler = sampler
        self.process(self._processors)

    def process(self, processors: tuple[SpanProcessor, ...]) -> None:
        """Tell ``processors`` of each span that starts from now on."""
        self._processors = processors
        self.follow = not processors and children_follow(self._sampler)
        samples_all = self._sampler is DEFAULT_ON or self._sampler is ALWAYS_ON
        self.root = None
        if samples_all and not processors:
            self.root = self._flags(None, sampled=True), DEFAULT_TRACE_STATE

    def span(
        self,
        name: str,
        kind: SpanKind,
        parent: Context | Span | None,
        start_ns: int,
        attributes: dict[str, Any],
        links: Sequence[Link] = (),
    ) -> Span:
        """Start a span, in the shortest way.

        ``attributes`` is not copied: what the caller writes to it until the span
        ends is on the span. It should be left alone from then on. ``links`` isn't
        copied either, and links with invalid contexts aren't looked for.

        Args:
            name: Its name.
            kind: Its kind.
            parent: The span above, or the context to find it in; None means the
                current context, and `INVALID_SPAN` that this is a root.
            start_ns: When it began, in nanoseconds since the Unix epoch.
            attributes: What is known by now, for the sampler to see.
            links: Other spans that it has to do with.
        """
        if parent is None:
            parent = get_current()
        above = parent.get(CURRENT_SPAN) if type(parent) is Context else parent
        if isinstance(above, Recorded) and self.follow:
            trace, ref, inherited = above.trace, above.own, above.inherited
        elif self.root is not None and (above is None or above is INVALID_SPAN):
            trace = (self.bits(128) or 1).to_bytes(16)
            ref, inherited = None, self.root
        else:
            if not isinstance(parent, Context):
                parent = set_span_in_context(parent)
            return self._ask(name, kind, parent, start_ns, attributes, links)
        return NativeSpan(
            self.origin,
            trace,
            (self.bits(64) or 1).to_bytes(8),
            ref,
            inherited,
            name,
            kind,
            start_ns,
            attributes,
            links,
        )

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 -- the same
    ) -> Span:
        """Start a span below the one in ``context``, without making it current."""
        limits = self.origin.limits
        given, dropped = frozen(attributes, limits.length)
        span = self.span(
            name,
            kind,
            get_current() if context is None else context,
            self.origin.now() if start_time is None else start_time,
            given,
            _valid(links, limits) if links else (),
        )
        if isinstance(span, NativeSpan):
            span.drop_attributes(dropped)
            span.on_exception(record=record_exception, status=set_status_on_exception)
        return span

    # The API's own decorator, as its abstract method has it: what this returns is
    # a context manager, and decorates functions and coroutine functions.
    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 -- the same
        end_on_exit: bool = True,  # noqa: FBT001, FBT002 -- the same
    ) -> Iterator[Span]:
        """Start a span that is the current one inside the ``with`` block."""
        span = self.start_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )
        with use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        ):
            yield span

    def _ask(
        self,
        name: str,
        kind: SpanKind,
        context: Context,
        start_ns: int,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> Span:
        """Start a span if the sampler wants it, and tell the processors."""
        above = self._above(context)
        trace_id = above.trace_id if above else self.bits(128) or 1
        decision, wanted, state = self._decide(
            context,
            above,
            trace_id,
            name=name,
            kind=kind,
            given=attributes,
            links=links,
        )
        flags = self._flags(above, sampled=decision is Decision.RECORD_AND_SAMPLE)
        inherited = flags, state or DEFAULT_TRACE_STATE
        own = (self.bits(64) or 1).to_bytes(8)
        if decision is Decision.DROP:
            span_id = int.from_bytes(own)
            return NonRecordingSpan(SpanContext(trace_id, span_id, False, *inherited))  # noqa: FBT003 -- OpenTelemetry's signature
        if wanted != attributes:
            # The caller may have kept the dict, so it stays the same one.
            attributes.clear()
            attributes.update(frozen(wanted, self.origin.limits.length)[0])
        span = NativeSpan(
            self.origin,
            trace_id.to_bytes(16),
            own,
            above,
            inherited,
            name,
            kind,
            start_ns,
            attributes,
            links,
        )
        self._tell(span, context)
        return span

    def _tell(self, span: NativeSpan, context: Context) -> None:
        for processor in self._processors:
            try:
                processor.on_start(cast("SdkSpan", span), parent_context=context)
            except Exception as error:  # noqa: BLE001 -- a processor breaks no program
                self.origin.failed(error)

    def _above(self, context: Context) -> SpanContext | None:
        """The parent's identity, whosever span it is; None for a root."""
        try:
            found = get_current_span(context).get_span_context()
            if found and found.is_valid:
                return found
        except Exception as error:  # noqa: BLE001 -- a span breaks no program
            self.origin.failed(error)
        return None

    def _decide(
        self,
        context: Context,
        above: SpanContext | None,
        trace_id: int,
        *,
        name: str,
        kind: SpanKind,
        given: dict[str, Any],
        links: Sequence[Link],
    ) -> tuple[Decision, dict[str, Any], TraceState | None]:
        """What the sampler says; where it fails, what the parent says."""
        try:
            result: Any = self._sampler.should_sample(
                context, trace_id, name, kind, given, links
            )
            decision, state = result.decision, result.trace_state
            if not isinstance(decision, Decision):
                raise TypeError(f"a sampler decides {decision!r}")  # noqa: TRY301
            if state is not None and not isinstance(state, TraceState):
                raise TypeError(f"a sampler's tracestate is {state!r}")  # noqa: TRY301
            return decision, dict(result.attributes or {}), state
        except Exception as error:  # noqa: BLE001 -- a sampler breaks no program
            self.origin.failed(error)
            if above is None:
                return Decision.RECORD_AND_SAMPLE, given, None
            sampled = above.trace_flags.sampled
            decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
            return decision, given, above.trace_state

    def _flags(self, above: SpanContext | None, *, sampled: bool) -> TraceFlags:
        """By W3C Trace Context, level 2: children keep the flag ``random``."""
        if above is None:
            is_random = self._draws_random_ids
        else:
            is_random = above.trace_flags.random_trace_id
        return TraceFlags(
            (TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
            | (TraceFlags.RANDOM_TRACE_ID if is_random else TraceFlags.DEFAULT)
        )


def is_plain(sampler: Sampler) -> bool:
    """Whether below a recorded span it wants every span, sampled, as the parent's.

    So do the SDK's own, by their definitions. They record nothing unsampled.
    """
    known = (ALWAYS_ON, DEFAULT_ON, DEFAULT_OFF)
    if any(sampler is each for each in known):
        return True
    return type(sampler) is ParentBasedTraceIdRatio


def children_follow(sampler: Sampler) -> bool:
    """Whether spans below one of ours need not be asked for.

    Any sampler may say so of itself, by an attribute ``children_follow``: a span
    below a recorded one then is recorded, with its parent's flags and tracestate.
    """
    return is_plain(sampler) or getattr(sampler, "children_follow", False) is True


def _valid(links: Sequence[Link], limits: Limits) -> tuple[Link, ...]:
    """The links that say something, with attributes that can't change any more."""
    return tuple(
        lasting(link, limits)
        for link in links
        if link and valid_link(link.context, link.attributes)  # pyright: ignore[reportUnnecessaryComparison] -- users
    )
