"""What is decoded from a batch is what the span showed before it was bytes."""

from typing import Any

import pytest
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode
from tests.telemetry.span.making import STATE, Box, limits, remote

from spanrun.telemetry.span.decode import headers, readable
from spanrun.telemetry.span.view import view

OTHER = SpanContext(7, 8, is_remote=True)
ATTRIBUTES: dict[str, Any] = {
    "text": "é",
    "int": -5,
    "float": 0.5,
    "bool": True,
    "bytes": b"\xff",
    "none": None,
    "list": [1, ["a", None]],
    "map": {"a": {"b": [1.5]}},
    "empty": [],
}


def shown(span: Any) -> dict[str, Any]:
    """All that a decoded span says, but for trace flags."""
    contexts = span.context, span.parent
    return {
        "ids": [each and (*each[:3], dict(each.trace_state)) for each in contexts],
        "attributes": dict(span.attributes),
        "events": [
            (each.name, each.timestamp, dict(each.attributes), each.dropped_attributes)
            for each in span.events
        ],
        "links": [
            (each.context[:3], dict(each.attributes), each.dropped_attributes)
            for each in span.links
        ],
        "status": (span.status.status_code, span.status.description),
        **{
            name: getattr(span, name)
            for name in (
                "name",
                "kind",
                "start_time",
                "end_time",
                "resource",
                "instrumentation_scope",
                "dropped_attributes",
                "dropped_events",
                "dropped_links",
                "is_local_root",
            )
        },
    }


@pytest.mark.parametrize("kind", SpanKind)
def test_a_span_is_decoded_as_it_was(part: Any, kind: SpanKind) -> None:
    few = limits(attributes=9, events=2, links=2, event_attributes=9)
    box = Box(part, limits=few)
    box.ours.root = ((1, STATE), (0, STATE))
    root = box.start("root", attributes=ATTRIBUTES, kind=kind)
    spans = [root, box.below(root), box.below(remote())]
    for span in spans:
        for number in range(3):
            span.add_event(f"e{number}", {"": 1, **ATTRIBUTES})
            span.add_link(OTHER, {"a": number})
        span.set_attribute("last", 1)
    spans[1].set_status(StatusCode.ERROR, "why")
    for span in spans:
        span.end()
    decoded = {
        each.context.span_id: each
        for batch in box.buffer.take()
        for each in readable(batch)
    }
    for span in spans:
        assert shown(decoded[span.span_id]) == shown(view(span))


def test_a_batch_is_decoded_in_order_with_its_headers(box: Box) -> None:
    for number in range(10):
        box.start(str(number), links=[Link(OTHER)], start_time=5).end(5 + number)
    (batch,) = box.buffer.take()
    assert [span.name for span in readable(batch)] == list("0123456789")
    about = list(headers(batch))
    assert [each.duration for each in about] == list(range(10))
    assert sum(each.size for each in about) == len(batch.data)
