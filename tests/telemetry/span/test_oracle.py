"""Random spans are encoded as the SDK's spans are by the stock encoder."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from tests.telemetry.span.making import MILLION, Box, Numbers

from spanrun.secret_forms import SECRET_KEY
from spanrun.telemetry.span.plain import MAX_LENGTH
from spanrun.telemetry.span.view import view

LENGTH = 8
START, END = 1_700_000_000_000_000_000, 1_700_000_001_000_000_000

# Not one such as "pwd", below which a value is hidden.
short = st.text(max_size=4).filter(lambda key: not SECRET_KEY.match(key))
keys = short | st.sampled_from(["a", "b", "spanrun.job.index"])
texts = st.text(max_size=12) | st.text(min_size=6, max_size=200)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 20_000)
    | st.floats()
    | texts
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
states = st.sampled_from([None, TraceState([("ot", "th:8"), ("vendor", "x")])])
contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    states,
)
steps = st.lists(
    st.tuples(st.just("set_attribute"), keys, values)
    | st.tuples(st.just("set_attributes"), attributes)
    | st.tuples(st.just("add_event"), texts, maybe, times)
    | st.tuples(st.just("add_link"), contexts, maybe)
    | st.tuples(st.just("update_name"), texts)
    | st.tuples(st.just("set_status"), st.sampled_from(StatusCode), st.none())
    | st.tuples(st.just("set_status"), st.just(StatusCode.ERROR), texts),
    max_size=8,
)
starts = st.fixed_dictionaries(
    {
        "name": texts,
        "kind": st.sampled_from(SpanKind),
        "attributes": maybe,
        "start_time": times,
    }
)
counts = st.sampled_from([SpanLimits.UNSET, 0, 1, 3, 128])
span_limits = st.builds(
    SpanLimits,
    max_events=counts,
    max_links=counts,
    max_span_attributes=counts,
    max_event_attributes=counts,
    max_link_attributes=counts,
    max_attribute_length=st.sampled_from([None, LENGTH]),
)
links = st.lists(st.tuples(contexts, maybe), max_size=3)


class Ids(IdGenerator):
    """Those of `Numbers`, for the SDK."""

    def __init__(self) -> None:
        self._bits = Numbers().bits

    def generate_span_id(self) -> int:
        return self._bits(64)

    def generate_trace_id(self) -> int:
        return self._bits(128)

    def is_trace_id_random(self) -> bool:
        return True


class Keep(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def by_sdk(make: Callable[[Any], object], span_limits: SpanLimits) -> list[Message]:
    """What the stock encoder makes of the SDK's spans."""
    keep = Keep()
    provider = TracerProvider(
        ALWAYS_ON,
        Resource.get_empty(),
        shutdown_on_exit=False,
        id_generator=Ids(),
        span_limits=span_limits,
    )
    provider.add_span_processor(keep)
    make(provider.get_tracer("test").start_span)
    return encoded(keep.ended)


def encoded(spans: list[Any]) -> list[Message]:
    request = encode_spans(spans)
    return [
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def numbers(given: SpanLimits) -> tuple[Any, ...]:
    inner, outer = given.max_attribute_length, given.max_span_attribute_length
    return (
        given.max_span_attributes,
        given.max_events,
        given.max_links,
        given.max_event_attributes,
        given.max_link_attributes,
        MAX_LENGTH if outer is None else outer,
        MAX_LENGTH if inner is None else inner,
    )


def same(ours: list[Message], stock: list[Message]) -> bool:
    """NaN is not equal to itself, so bytes are compared: of one way to write them."""
    one, other = ScopeSpans(spans=ours), ScopeSpans(spans=stock)
    return one.SerializeToString(deterministic=True) == other.SerializeToString(
        deterministic=True
    )


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "opentelemetry.attributes")
    caplog.set_level(logging.CRITICAL, "opentelemetry.trace.status")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts, steps, span_limits, links, st.none() | contexts, times)
def test_a_span_is_encoded_as_the_stock_encoder_does(
    part: Any,
    start: dict[str, Any],
    then: list[tuple[Any, ...]],
    span_limits: SpanLimits,
    linked: list[tuple[SpanContext, Any]],
    parent: SpanContext | None,
    end: int,
) -> None:
    def make(start_span: Any) -> list[Any]:
        above = NonRecordingSpan(parent) if parent else INVALID_SPAN
        span = start_span(
            **start,
            context=set_span_in_context(above, Context()),
            links=[Link(context, given) for context, given in linked],
        )
        for method, *arguments in then:
            getattr(span, method)(*arguments)
        child = start_span(
            "child", set_span_in_context(span, Context()), start_time=START
        )
        child.end(END)
        span.end(end)
        return [child, span]

    stock = by_sdk(make, span_limits)
    box = Box(part, limits=numbers(span_limits), ids=Numbers(), most=MILLION)
    box.samples_all = True
    ours = make(box.start)
    arrived = {span.span_id: span for span in box.take()}
    assert same([arrived[span.span_id] for span in stock], stock)
    assert same(encoded([view(span) for span in ours]), stock), "by what it shows"
    assert not box.failures


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abc"), texts, values), max_size=20))
def test_what_an_encoder_remembers_changes_nothing(
    part: Any, given: list[tuple[str, str, Any]]
) -> None:
    """The same keys with values of other types, in spans, events and links."""

    def make(start_span: Any) -> None:
        for key, name, value in given:
            span = start_span(name, attributes={key: value}, start_time=START)
            span.add_event(name, {key: value}, START)
            span.add_link(SpanContext(1, 2, is_remote=False), {key: value})
            span.end(END)

    box = Box(part, ids=Numbers())
    make(box.start)
    assert same(box.take(), by_sdk(make, SpanLimits()))
