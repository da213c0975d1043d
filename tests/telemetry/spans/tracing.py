"""Native spans for tests, and OTLP as values to compare."""

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from spanrun.telemetry.spans.provider import NativeTracerProvider

from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.span import NativeSpan
from spanrun.telemetry.spans.tracer import NativeTracer

LENGTH = 8
START, END = 1_700_000_000_000_000_000, 1_700_000_001_000_000_000
STATE = TraceState([("ot", "th:8")])


keys = st.text(max_size=4) | st.sampled_from(["a", "b", "spanrun.job.index"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 20_000)
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=LENGTH)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=6,
)
attributes = st.dictionaries(keys, values, max_size=5)
maybe = st.none() | attributes
times = st.integers(0, 2**64 - 1)


class Numbers(IdGenerator):
    """The same ids for the SDK's spans as for ours."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__

    def generate_span_id(self) -> int:
        return self._next() << 40

    def generate_trace_id(self) -> int:
        return self._next() << 90

    def is_trace_id_random(self) -> bool:
        return True


class Box(NativeTracerProvider):
    """A provider whose sink is a list."""

    def __init__(self, **options: Any) -> None:
        self.ended: list[Any] = []
        super().__init__(
            self.ended.append, **{"resource": Resource.get_empty(), **options}
        )

    @property
    def native(self) -> NativeTracer:
        tracer = self.get_tracer("test")
        assert isinstance(tracer, NativeTracer)
        return tracer

    def start(
        self, name: str = "a", context: Context | None = None, **more: Any
    ) -> Any:
        """A span that was started by the API: native, or none when not recording."""
        return self.native.start_span(name, context, **more)

    def below(self, parent: Span, name: str = "child") -> Any:
        return self.start(name, set_span_in_context(parent))


def remote(*, flags: int = 1, state: TraceState | None = STATE) -> Span:
    return NonRecordingSpan(
        SpanContext(
            1 << 100,
            5,
            is_remote=True,
            trace_flags=TraceFlags(flags),
            trace_state=state,
        )
    )


class Scripted(Sampler):
    """Decides as it is told, and notes what it was asked."""

    def __init__(self, decision: Decision, **result: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._result = SamplingResult(decision, **result)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.asked.append({"name": name, "attributes": dict(attributes or {})})
        return self._result

    def get_description(self) -> str:
        return "scripted"


def decoded(message: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(message)


def one(span: ReadableSpan, encoder: SpanEncoder | None = None) -> Any:
    request = decoded((encoder or SpanEncoder()).request([span]))
    return request.resource_spans[0].scope_spans[0].spans[0]


def native(attributes: dict[Any, Any] | None = None, **started: Any) -> NativeSpan:
    """A span that has ended. Its ids are always the same."""
    box = Box(id_generator=Numbers())
    start = {"name": "a", "start_time": START, "attributes": attributes, **started}
    span = box.start(**start)
    span.end(END)
    assert isinstance(span, NativeSpan)
    return span


def attributes_of(message: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "", None)
        for pair in message.attributes
    }
