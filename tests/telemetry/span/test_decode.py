"""`spans_of` reads from a batch what the SDK's class shows of the same spans."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode
from tests.telemetry.span.making import STATE, remote
from tests.telemetry.span.tracing import END, START, Box, Numbers

LIMITS = SpanLimits(
    max_span_attributes=6, max_events=1, max_links=1, max_event_attributes=1
)
VALUES = {
    "text": "a",
    "number": 7,
    "share": 0.5,
    "flag": True,
    "list": [1, "b", [None]],
    "map": {"inner": {"deep": 1}},
}


def full(box: Box, *, parent: Any = None, failed: bool = False) -> Any:
    start = {"kind": SpanKind.CLIENT, "start_time": START, "attributes": VALUES}
    span = box.below(parent) if parent else box.start(**start)
    span.set_attributes(VALUES)
    for number in range(2):
        span.add_event("event", {"a": [1], "b": number}, 5)
        to = SpanContext(7, number + 1, is_remote=bool(number))
        span.add_link(to, {"why": "so"})
    span.set_attribute("one more", 1)
    if failed:
        span.set_status(StatusCode.ERROR, "why")
    return span


def shown(span: Any) -> Any:
    return json.loads(span.to_json())


@pytest.fixture
def box() -> Box:
    resource = Resource({"service.name": "mine"}, "https://schema")
    return Box(span_limits=LIMITS, id_generator=Numbers(), resource=resource)


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("parent", [None, remote()], ids=["root", "remote parent"])
def test_it_is_the_span_that_ended(box: Box, parent: Any, *, failed: bool) -> None:
    span = full(box, parent=parent, failed=failed)
    span.end(END)
    (read,) = box.ended
    assert shown(read) == shown(span)
    for name in (
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "instrumentation_scope",
        "resource",
    ):
        assert getattr(read, name) == getattr(span, name)
    assert (read.dropped_attributes, read.dropped_events, read.dropped_links) == (
        1,
        1,
        1,
    )
    assert read.events[0].dropped_attributes == 1
    (link,) = read.links
    assert link.context == SpanContext(7, 2, is_remote=True)


def test_a_remote_parent_is_one(box: Box) -> None:
    inbound = box.below(remote())
    box.below(inbound, "inner").end()
    inbound.end()
    inner, outer = box.ended
    assert outer.parent is not None
    assert outer.parent.is_remote
    assert inner.parent is not None
    assert not inner.parent.is_remote
    assert inner.parent.span_id == inbound.span_id
    assert inner.parent.trace_state == outer.context.trace_state == STATE  # type: ignore[union-attr]


def test_failed_spans_are_a_batch_of_their_own_and_all_are_there(box: Box) -> None:
    for number in range(4):
        span = box.start(f"{number}", links=[Link(SpanContext(1, 2, is_remote=False))])
        if number % 2:
            span.set_status(StatusCode.ERROR)
        span.end()
    assert [batch.failed for batch in box.box.batches] == [True, False]
    assert sorted(box.names) == ["0", "1", "2", "3"]
