"""`NativeTracer`: OpenTelemetry's tracer, over the spans of one `Scope`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)
from opentelemetry.util._decorator import (
    _AgnosticContextManager,  # pyright: ignore[reportPrivateUsage] -- see below
)
from opentelemetry.util.types import Attributes

from spanrun.telemetry.current import CURRENT_SPAN, inside, open_context
from spanrun.telemetry.span import Scope, random_bits
from spanrun.telemetry.span import Span as NativeSpan
from spanrun.telemetry.span.dropped import DroppedSpan
from spanrun.telemetry.span.head import HeadSampler
from spanrun.text import text_of

_SAMPLED: Final = TraceFlags.SAMPLED
_RANDOM: Final = TraceFlags.RANDOM_TRACE_ID
_KINDS: Final = tuple(SpanKind)


class NativeTracer(Tracer):
    """Starts the spans of one instrumentation scope.

    Args:
        instrumentation: The library that the spans come from.
        resource: The process that they come from.
        make_scope: Makes the `Scope`, for this tracer as its owner.
        failed: Told of what samplers, processors and others' spans raise.

    Attributes:
        scope: Starts the spans, and has what they share.
    """

    def __init__(
        self,
        instrumentation: InstrumentationScope,
        resource: Resource,
        make_scope: Callable[[NativeTracer], Scope],
        failed: Callable[[Exception], object],
    ) -> None:
        self.instrumentation: Final = instrumentation
        self.resource = resource
        self._failed: Final = failed
        self.scope: Final = make_scope(self)
        self.scope.ask = self._ask
        self._sampler: Sampler = DEFAULT_ON
        self._random = _RANDOM

    def sample(self, sampler: Sampler, *, random: bool) -> None:
        """Have ``sampler`` decide which spans are recorded from now on.

        Args:
            sampler: One of ours, or of the SDK's plain ones, isn't asked for each span:
                the scope itself does what they say.
            random: Whether the ids of traces are random.
        """
        self._sampler = sampler
        scope = self.scope
        self._random = flag = _RANDOM if random else 0
        scope.follow = children_follow(sampler)
        scope.threshold = None
        if isinstance(sampler, HeadSampler):
            scope.threshold = sampler.threshold
            scope.root = (
                (_SAMPLED | flag, sampler.drawn),
                (flag, DEFAULT_TRACE_STATE),
            )
        elif sampler is DEFAULT_ON or sampler is ALWAYS_ON:
            scope.threshold = 0
            scope.root = (
                (_SAMPLED | flag, DEFAULT_TRACE_STATE),
                (flag, DEFAULT_TRACE_STATE),
            )

    def process(self, processors: tuple[SpanProcessor, ...]) -> None:
        """Tell ``processors`` of each span that starts or ends from now on."""
        failed = self._failed

        def on_start(span: Any, context: Context | None) -> None:
            for processor in processors:
                try:
                    processor.on_start(span, parent_context=context)
                except Exception as error:  # noqa: BLE001 -- breaks no program
                    failed(error)

        def on_end(view: Any) -> None:
            for processor in processors:
                try:
                    processor.on_end(view)
                except Exception as error:  # noqa: BLE001 -- breaks no program
                    failed(error)

        self.scope.on_start = on_start if processors else None
        self.scope.on_end = on_end if processors else None

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
        span: Any = self.scope.start(
            name,
            getattr(kind, "value", 0),
            get_current() if context is None else context,
            None,
            attributes,
            links or (),
            start_ns=start_time,
        )
        told: Span = span
        if not (record_exception and set_status_on_exception) and isinstance(
            span, NativeSpan
        ):
            span.on_exception(record=record_exception, status=set_status_on_exception)
        return told

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
    ) -> _AgnosticContextManager[Span]:
        """Start a span that is the current one inside the ``with`` block."""

        def start() -> Span:
            return self.start_span(
                name,
                context,
                kind,
                attributes,
                links,
                start_time,
                record_exception,
                set_status_on_exception,
            )

        made = CurrentSpan(
            start,
            ends=end_on_exit,
            record=record_exception,
            status=set_status_on_exception,
        )
        return cast("Any", made)  # type: ignore[no-any-return] # theirs is private

    def _ask(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link],
        *,
        start_ns: int | None,
        anchored: NativeSpan | None,
        role: int,
    ) -> Any:
        """Start a span if the sampler wants it: see `Scope.ask`. Never raises."""
        above = None
        try:
            context = open_context(context)
            parent = context.get(CURRENT_SPAN)
            above = self._identity(parent)
            scope = self.scope
            bits = scope.bits or random_bits
            trace_id = above.trace_id if above else bits(128)
            decision, wanted, state = self._decide(
                context, above, trace_id, (name, _kind(kind), attributes, links)
            )
            is_random = above.trace_flags & _RANDOM if above else self._random
            flags = is_random | (
                _SAMPLED if decision is Decision.RECORD_AND_SAMPLE else 0
            )
            state = state or DEFAULT_TRACE_STATE
            if decision is Decision.DROP:
                identity = SpanContext(
                    trace_id,
                    bits(64),
                    is_remote=False,
                    trace_flags=TraceFlags(flags),
                    trace_state=state,
                )
                return DroppedSpan(identity)
            return scope.make(
                name,
                kind,
                trace_id,
                parent if isinstance(parent, NativeSpan) else above,
                flags,
                state,
                begun,
                wanted,
                links,
                start_ns=start_ns,
                context=context,
                anchored=anchored,
                role=role,
            )
        except Exception as error:  # noqa: BLE001 -- a parent breaks no program
            self._failed(error)
            return DroppedSpan(above or INVALID_SPAN_CONTEXT)

    def _identity(self, parent: Any) -> SpanContext | None:
        """The parent's identity, whosever span it is; None for a root."""
        if parent is None or parent is INVALID_SPAN or not isinstance(parent, Span):
            return None
        try:
            found = parent.get_span_context()
            if found and found.is_valid:
                return found
        except Exception as error:  # noqa: BLE001 -- a span breaks no program
            self._failed(error)
        return None

    def _decide(
        self,
        context: Context,
        above: SpanContext | None,
        trace_id: int,
        given: tuple[str, SpanKind, Mapping[str, Any] | None, Sequence[Link]],
    ) -> tuple[Decision, Mapping[str, Any] | None, TraceState | None]:
        """What the sampler says; where it fails, what the parent says."""
        name, kind, attributes, links = given
        try:
            result: Any = self._sampler.should_sample(
                context, trace_id, name, kind, dict(attributes or {}), links
            )
            decision, state = result.decision, result.trace_state
            if not isinstance(decision, Decision):
                raise TypeError(f"a sampler decides {decision!r}")  # noqa: TRY301
            if state is not None and not isinstance(state, TraceState):
                raise TypeError(f"a sampler's tracestate is {state!r}")  # noqa: TRY301
            return decision, result.attributes, state  # noqa: TRY300 -- may raise
        except Exception as error:  # noqa: BLE001 -- a sampler breaks no program
            self._failed(error)
            if above is None:
                return Decision.RECORD_AND_SAMPLE, attributes, None
            sampled = above.trace_flags.sampled
            decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
            return decision, attributes, above.trace_state


class CurrentSpan:
    """A span that is the current one inside a ``with`` block, or in a function.

    Entering starts it. It decorates functions and coroutine functions, too: each call
    has a span of its own then.

    Args:
        start: Starts the span.
        ends: Whether leaving ends it.
        record: Whether an exception that leaves it becomes an event.
        status: Whether it becomes the span's status.
    """

    def __init__(
        self, start: Callable[[], Any], *, ends: bool, record: bool, status: bool
    ) -> None:
        self._start: Final = start
        self._ends: Final = ends
        self._record: Final = record
        self._status: Final = status
        self._open: Final[list[tuple[Any, Any]]] = []

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` such that each call of it has a span of its own."""
        if iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return awaited

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return called

    def _again(self) -> CurrentSpan:
        return CurrentSpan(
            self._start, ends=self._ends, record=self._record, status=self._status
        )

    def __enter__(self) -> Any:
        span = self._start()
        outside = get_current()
        self._open.append((span, attach(inside(span, outside))))
        return span

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        span, token = self._open.pop()
        detach(token)
        # As OpenTelemetry's `use_span`: what isn't an `Exception` is no error.
        if isinstance(error, Exception) and span.is_recording():
            self._tell(span, error)
        if self._ends:
            span.end()

    def _tell(self, span: Any, error: Exception) -> None:
        if self._record:
            span.record_exception(error)
        if self._status:
            text = f"{type(error).__name__}: {text_of(error)}"
            span.set_status(Status(StatusCode.ERROR, text))


def _kind(kind: int) -> SpanKind:
    return _KINDS[kind] if kind in range(len(_KINDS)) else SpanKind.INTERNAL


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
