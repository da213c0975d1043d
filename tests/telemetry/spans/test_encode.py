"""Encoded by hand, spans are what the stock encoder makes of the same spans."""

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from tests.telemetry.spans.tracing import (
    END,
    LENGTH,
    START,
    Box,
    Numbers,
    attributes,
    attributes_of,
    decoded,
    keys,
    maybe,
    native,
    one,
    times,
    values,
)

from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.span import NativeSpan

SCOPES = [("http", "1.2", "https://schema", {"team": "a", "size": 3}), ("sql",)]

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
    | st.tuples(st.just("add_event"), st.text(max_size=5), maybe, times)
    | st.tuples(st.just("add_link"), contexts, maybe)
    | st.tuples(st.just("update_name"), st.text(max_size=5))
    | st.tuples(st.just("set_status"), st.sampled_from(StatusCode), st.none())
    | st.tuples(st.just("set_status"), st.just(StatusCode.ERROR), st.text(max_size=5)),
    max_size=8,
)
starts = st.fixed_dictionaries(
    {
        "name": st.text(max_size=8),
        "kind": st.sampled_from(SpanKind),
        "attributes": maybe,
        "start_time": times,
    }
)
counts = st.sampled_from([SpanLimits.UNSET, 0, 1, 3, 128])
lengths = st.sampled_from([None, LENGTH])
limits = st.builds(
    SpanLimits,
    max_events=counts,
    max_links=counts,
    max_span_attributes=counts,
    max_event_attributes=counts,
    max_link_attributes=counts,
    max_attribute_length=lengths,
)
links = st.lists(st.tuples(contexts, maybe), max_size=3)


class Keep(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def by_sdk(
    make: Callable[[list[Tracer]], object],
    span_limits: SpanLimits | None = None,
    resource: Resource | None = None,
) -> list[ReadableSpan]:
    keep = Keep()
    provider = TracerProvider(
        ALWAYS_ON,
        resource or Resource.get_empty(),
        shutdown_on_exit=False,
        id_generator=Numbers(),
        span_limits=span_limits,
    )
    provider.add_span_processor(keep)
    make([provider.get_tracer(*scope) for scope in SCOPES])
    return keep.ended


def by_us(
    make: Callable[[list[Tracer]], object],
    span_limits: SpanLimits | None = None,
    resource: Resource | None = None,
) -> list[NativeSpan]:
    box = Box(
        sampler=ALWAYS_ON,
        resource=resource or Resource.get_empty(),
        id_generator=Numbers(),
        span_limits=span_limits,
    )
    make([box.get_tracer(*scope) for scope in SCOPES])
    return box.ended


def same(ours: bytes, stock: ExportTraceServiceRequest) -> bool:
    """NaN is not equal to itself, so bytes are compared: of one way to write them."""
    again = decoded(ours).SerializeToString(deterministic=True)
    return again == stock.SerializeToString(deterministic=True)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "opentelemetry.attributes")


@given(starts, steps, limits, links, st.none() | contexts, times)
def test_a_span_is_encoded_as_the_stock_encoder_does(
    start: dict[str, Any],
    then: list[tuple[Any, ...]],
    span_limits: SpanLimits,
    linked: list[tuple[SpanContext, Any]],
    parent: SpanContext | None,
    end: int,
) -> None:
    def make(tracers: list[Tracer]) -> None:
        above = NonRecordingSpan(parent) if parent else INVALID_SPAN
        span = tracers[0].start_span(
            **start,
            context=set_span_in_context(above),
            links=[Link(context, given) for context, given in linked],
        )
        for method, *arguments in then:
            getattr(span, method)(*arguments)
        child = tracers[0].start_span(
            "child", set_span_in_context(span), start_time=START
        )
        child.end(END)
        span.end(end)

    stock = encode_spans(by_sdk(make, span_limits))
    ours, encoder = by_us(make, span_limits), SpanEncoder()
    assert same(encoder.request(ours), stock)
    assert same(encoder.request(ours), stock), "from what the encoder remembers"
    assert encode_spans(ours) == stock or _has_nan(stock), "by what the span shows"
    assert same(encoder.request([span.snapshot() for span in ours]), stock)


def _has_nan(message: Any) -> bool:
    return "nan" in str(message)


@given(attributes, st.lists(st.integers(0, 1), min_size=1, max_size=6))
def test_spans_are_grouped_by_resource_and_scope(
    about: dict[str, Any], order: list[int]
) -> None:
    about = {key: value for key, value in about.items() if key}

    def make(tracers: list[Tracer]) -> None:
        for which in order:
            tracers[which].start_span("a", start_time=START).end(END)

    stock: list[Any] = []
    ours: list[Any] = []
    for resource in (
        Resource(about, "https://schema/1"),
        Resource({"service.name": "other"}),
        Resource(about, "https://schema/1"),
    ):
        stock += by_sdk(make, resource=resource)
        ours += by_us(make, resource=resource)
    assert same(SpanEncoder().request(ours), encode_spans(stock))
    assert same(SpanEncoder().request(stock), encode_spans(stock))


def test_the_requests_of_two_batches_put_together_are_one_request() -> None:
    encoder, spans = SpanEncoder(), [native(name=name) for name in "abc"]
    both = encoder.request(spans[:1]) + encoder.request(spans[1:])
    names = [
        span.name
        for resource in decoded(both).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == ["a", "b", "c"]


def test_no_spans_are_an_empty_request() -> None:
    assert SpanEncoder().request([]) == b""


def test_text_that_is_no_unicode_costs_nothing_anywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The SDK logs the text, and pytest-xdist can't hand on what is no Unicode.
    caplog.set_level(logging.CRITICAL)

    def make(tracers: list[Tracer]) -> None:
        tracers[0].start_span("before").end()
        span = tracers[0].start_span("\udcff", attributes={"\udcff": ["\udcff"]})
        span.add_event("\udcff", {"\udcff": "\udcff"})
        span.set_status(StatusCode.ERROR, "\udcff")
        span.end()
        tracers[0].start_span("after").end()

    with pytest.raises(UnicodeEncodeError):
        encode_spans(by_sdk(make))
    request = decoded(SpanEncoder().request(by_us(make)))
    before, odd, after = request.resource_spans[0].scope_spans[0].spans
    assert (before.name, odd.name, after.name) == ("before", "\\udcff", "after")
    assert odd.attributes[0].key == odd.events[0].name == "\\udcff"
    assert odd.status.message == "\\udcff"


@pytest.mark.parametrize("time", [1.5e18, "now", None, -1, 2**70, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "None"), (7, "7"), (b"bytes", "b'bytes'"), (["list"], "('list',)")],
)
def test_a_name_or_time_of_the_wrong_type_costs_nothing(
    name: Any, shown: str, time: Any
) -> None:
    span = one(native({"kept": 1}, name=name, start_time=time))
    assert span.name == shown
    assert attributes_of(span) == {"kept": 1}


def test_a_kind_that_is_none_costs_nothing() -> None:
    assert one(native(kind=3)).kind == 0


def test_a_span_that_can_not_be_encoded_is_told_and_costs_no_other() -> None:
    failures: list[Any] = []
    encoder = SpanEncoder()
    bad = native()
    bad.rare = object()  # type: ignore[assignment]
    spans = [native(name="x"), bad, native(name="y")]
    request = decoded(encoder.request(spans, lambda *lost: failures.append(lost)))
    names = [
        span.name
        for resource in request.resource_spans
        for span in resource.scope_spans[0].spans
    ]
    assert names == ["x", "y"]
    assert failures[0][0] is bad


def test_a_dict_that_grows_while_it_is_encoded_costs_nothing() -> None:
    growing: dict[str, Any] = {"a": 1}

    class Grow(str):
        __slots__ = ()

        def __hash__(self) -> int:
            growing[f"more {len(growing)}"] = 1
            return super().__hash__()

    span = Box().native.span("a", SpanKind.INTERNAL, INVALID_SPAN, START, growing)
    assert isinstance(span, NativeSpan)
    span.end(END)
    encoder = SpanEncoder()
    encoder.span(span)
    growing["b"] = 1
    assert attributes_of(one(span, encoder)) == {"a": 1, "b": 1}


def test_links_to_one_context_are_encoded_alike_whatever_they_say() -> None:
    context = SpanContext(1, 2, is_remote=True)
    given = [None, {"a": 1}, None, {"a": 2}]
    span = native(links=[Link(context, attributes) for attributes in given])
    encoder = SpanEncoder()
    for _ in range(2):
        assert same(encoder.request([span]), encode_spans([span]))


def test_what_the_encoder_remembers_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spanrun.telemetry.spans.encode._MAX_KNOWN", 16)
    encoder = SpanEncoder()
    for number in range(100):
        encoder.span(native({f"k{number}": float(number), "t": str(number), "i": 1}))
    memories = (encoder._names, encoder._texts, encoder._doubles, encoder._ints)
    assert max(map(len, memories)) <= 16
