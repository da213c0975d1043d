"""Batches become requests as the stock encoder makes them of the same spans."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from tests.telemetry.span.tracing import END, START, Box, Numbers

from spanrun.telemetry.span.request import request_of

SCOPES: Any = [("http", "1.2", "https://schema", {"team": "a", "size": 3}), ("sql",)]

keys = st.text(min_size=1, max_size=4)
scalars = st.booleans() | st.integers(0, 20_000) | st.floats(allow_nan=False)
values = scalars | st.text(max_size=9) | st.lists(scalars, max_size=3)


class Keep(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def by_sdk(resource: Resource, order: list[int]) -> list[ReadableSpan]:
    keep = Keep()
    provider = TracerProvider(
        ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=Numbers()
    )
    provider.add_span_processor(keep)
    for which in order:
        tracer = provider.get_tracer(*SCOPES[which])
        tracer.start_span("a", start_time=START).end(END)
    return keep.ended


def by_us(resource: Resource, order: list[int]) -> bytes:
    box = Box(sampler=ALWAYS_ON, resource=resource, id_generator=Numbers())
    for which in order:
        box.get_tracer(*SCOPES[which]).start_span("a", start_time=START).end(END)
    return b"".join(
        request_of(owner.resource, owner.instrumentation, batch.data)
        for batch in box.box.batches
        for owner in [batch.scope.owner]
    )


def spans(request: ExportTraceServiceRequest) -> list[tuple[bytes, bytes, bytes]]:
    """Each span with its resource and scope, in the order of their ids."""
    found = [
        (
            span.SerializeToString(deterministic=True),
            scope.scope.SerializeToString() + scope.schema_url.encode(),
            resource.resource.SerializeToString() + resource.schema_url.encode(),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return sorted(found)


@given(
    st.dictionaries(keys, values, max_size=5),
    st.lists(st.integers(0, 1), min_size=1, max_size=6),
)
def test_each_span_comes_with_its_resource_and_scope(
    about: dict[str, Any], order: list[int]
) -> None:
    for resource in (Resource(about, "https://schema/1"), Resource({"a": "other"})):
        ours = ExportTraceServiceRequest.FromString(by_us(resource, order))
        assert spans(ours) == spans(encode_spans(by_sdk(resource, order)))


def test_the_requests_of_two_batches_put_together_are_one_request() -> None:
    resource = Resource({"a": 1})
    both = by_us(resource, [0]) + by_us(resource, [1, 1])
    assert len(spans(ExportTraceServiceRequest.FromString(both))) == 3


@pytest.mark.parametrize("about", [{"\udcff": "\udcff"}, {"odd": object()}])
def test_a_resource_that_is_odd_costs_no_span(about: dict[str, Any]) -> None:
    resource = Resource({"a": 1})
    resource._attributes = about
    request = ExportTraceServiceRequest.FromString(by_us(resource, [0]))
    assert len(spans(request)) == 1
