"""Spans of one implementation for tests, and OTLP as values to compare."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from spanrun.telemetry.span.plain import clean
from spanrun.telemetry.span.view import view

SAMPLED = 1
LIMITS = (128, 128, 128, 128, 128, 16_384, 16_384)
"""The default ones of OpenTelemetry; then two lengths."""
WALL = 1_700_000_000_000_000_000
STATE = TraceState([("ot", "th:8")])
MILLION = 1 << 20


def limits(**given: int | None) -> tuple[Any, ...]:
    """`LIMITS` with some of them replaced."""
    names = ("attributes", "events", "links", "event_attributes", "link_attributes")
    every = dict(zip((*names, "length", "inner_length"), LIMITS, strict=True))
    assert given.keys() <= every.keys()
    return tuple({**every, **given}.values())


PLENTY = 0.0, 1e9
"""A budget that is never used up."""


def tail_of(
    part: Any,
    sampled_out: Any,
    *,
    slow: float | None = None,
    max_spans: int = 20_000,
    reason_key: str = "reason",
    reasons: tuple[float, float] = PLENTY,
    runs: tuple[float, float] = PLENTY,
) -> Any:
    """A tail of one implementation, which tells ``sampled_out`` how many, and why."""
    return part.Tail(slow, sampled_out, max_spans, reason_key, reasons, runs)


class Numbers:
    """Ids that are the same each time; the last bits of trace ids are as wished."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__
        self.randomness = 0

    def bits(self, size: int) -> int:
        if size == 64:
            return self._next() << 40
        return self._next() << 90 | self.randomness


class Box:
    """A scope of one implementation, and what comes out of it.

    Attributes:
        now: The monotonic clock.
        wall: The wall clock at ``now == 0``.
        failures: What was raised inside.
        late: Methods that were called after the end, with the names of the spans.
        begun: How often the buffer said that it isn't empty any more.
        full: How often it said that too much waits.
    """

    def __init__(
        self,
        part: Any,
        *,
        limits: tuple[Any, ...] = LIMITS,
        tail: Any = None,
        ids: Numbers | None = None,
        most: int = MILLION,
        clean: Any = clean,
    ) -> None:
        self.part = part
        self.resource = Resource({"service.name": "test"})
        self.instrumentation = InstrumentationScope("test", "1")
        self.now = 0.0
        self.wall = WALL
        self.failures: list[Exception] = []
        self.late: list[tuple[str, str]] = []
        self.begun = self.full = 0
        self.buffer = part.Buffer(self._begun, self._full, most)
        self.ours = part.Scope(
            self,
            lambda: self.now,
            lambda: self.wall,
            limits,
            clean,
            view,
            self.failures.append,
            lambda method, name: self.late.append((method, name)),
        )
        self.ours.buffer = self.buffer
        self.ours.tail = tail
        self.ours.follow = True
        self.ours.threshold = 0
        self.ours.root = (
            (SAMPLED | 2, DEFAULT_TRACE_STATE),
            (2, DEFAULT_TRACE_STATE),
        )
        self.ours.bits = ids.bits if ids else None
        self.ours.ask = self.ask
        self.asked: list[tuple[Any, ...]] = []
        self.sampled = True  # what `ask` decides for roots
        self.samples_all = False  # also below a parent that isn't sampled

    def _begun(self, buffer: Any) -> None:
        assert buffer is self.buffer
        self.begun += 1

    def _full(self, buffer: Any) -> None:
        assert buffer is self.buffer
        self.full += 1

    def ask(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link],
        *,
        start_ns: int | None,
        anchored: Any,
        role: int,
    ) -> Any:
        """Decide as a sampler that follows the parent does."""
        self.asked.append((name, kind, context, begun, attributes, links))
        parent: SpanContext | None = get_current_span(context).get_span_context()
        state: TraceState | None
        if parent is not None and parent.is_valid:
            trace_id, flags = parent.trace_id, int(parent.trace_flags)
            flags |= SAMPLED if self.samples_all else 0
            state = parent.trace_state
        else:
            parent, state = None, None
            bits = self.ours.bits or self.part.random_bits
            trace_id, flags = bits(128), SAMPLED if self.sampled else 0
        return self.ours.make(
            name,
            kind,
            trace_id,
            parent,
            flags,
            state or DEFAULT_TRACE_STATE,
            begun,
            attributes,
            links,
            start_ns=start_ns,
            context=context,
            anchored=anchored,
            role=role,
        )

    def start(
        self,
        name: Any = "a",
        context: Context | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        start_time: Any = None,
        attributes: Any = None,
        links: Any = (),
        **more: Any,
    ) -> Any:
        """Start a span below the one in ``context``; a root by default."""
        return self.ours.start(
            name,
            kind.value,
            Context() if context is None else context,
            None,
            attributes,
            links,
            start_ns=start_time,
            **more,
        )

    def below(self, parent: Any, name: str = "child", **more: Any) -> Any:
        return self.start(name, set_span_in_context(parent, Context()), **more)

    def take(self) -> list[Any]:
        """The spans that have arrived since the last call, as OTLP."""
        return [span for batch in self.buffer.take() for span in messages(batch)]

    def one(self) -> Any:
        (span,) = self.take()
        return span


def messages(batch: Any) -> list[Any]:
    """The spans of a batch as protobuf messages."""
    return list(ScopeSpans.FromString(batch.data).spans)


def by_failed(batches: list[Any]) -> list[Any]:
    """The batch of fine spans, and that of failed ones."""
    return sorted(batches, key=lambda batch: batch.failed)


def names(spans: list[Any]) -> list[str]:
    return [span.name for span in spans]


def remote(
    trace_id: int = 1 << 100, *, flags: int = 1, state: TraceState | None = STATE
) -> Span:
    """A span of another process."""
    return NonRecordingSpan(
        SpanContext(
            trace_id,
            5,
            is_remote=True,
            trace_flags=TraceFlags(flags),
            trace_state=state,
        )
    )


def attributes_of(message: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "", None)
        for pair in message.attributes
    }
