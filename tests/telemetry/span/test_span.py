"""A span keeps the rules of OpenTelemetry's specification."""

import gc
import weakref
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    use_span,
)
from tests.telemetry.span.making import WALL, Box, attributes_of, limits

import spanrun.telemetry.span as chosen
from spanrun.telemetry.span.view import view

OTHER = SpanContext(7, 8, is_remote=True)


def test_opentelemetry_gives_it_out_as_the_current_span(box: Box) -> None:
    span = box.start()
    assert isinstance(span, Span)
    with use_span(span):
        assert get_current_span() is span


def test_the_chosen_one_is_registered_with_opentelemetry() -> None:
    assert issubclass(chosen.Span, Span)


def test_its_context_is_the_same_whenever_it_is_asked_for(box: Box) -> None:
    span = box.start()
    context = span.get_span_context()
    assert context.is_valid
    assert not context.is_remote
    assert context.trace_flags.sampled
    span.end()
    assert span.get_span_context() is context
    assert span.context == context
    assert (span.trace_id, span.span_id) == context[:2]


def test_one_has_all_its_attributes_from_the_start(box: Box) -> None:
    """In Python, each would else need a dictionary of its own; compiled has none."""
    span = box.start(attributes={"a": 1})
    at_first = set(getattr(span, "__dict__", {}))
    assert span.get_span_context().span_id
    span.end()
    assert set(getattr(span, "__dict__", {})) <= at_first


def test_only_the_first_end_counts(box: Box) -> None:
    span = box.start(start_time=1)
    span.end(5)
    span.end(9)
    span.finish(9)
    assert (span.start_time, span.end_time) == (1, 5)
    message = box.one()
    assert (message.start_time_unix_nano, message.end_time_unix_nano) == (1, 5)
    assert [name for _, name in box.late] == ["a", "a"]
    assert box.late[0] == ("end", "a")


def test_an_end_of_zero_is_an_end(box: Box) -> None:
    span = box.start()
    assert span.is_recording()
    assert not span.has_ended
    assert span.end_time is None
    span.end(0)
    assert not span.is_recording()
    assert span.has_ended
    span.end(1)
    assert span.end_time == 0


def test_nothing_changes_after_the_end(box: Box) -> None:
    span = box.start()
    span.end()
    before = span.snapshot(), span.name
    span.set_attribute("a", 1)
    span.set_attributes({"a": 1})
    span.add_event("a")
    span.add_link(OTHER)
    span.update_name("b")
    span.set_status(StatusCode.ERROR)
    span.record_exception(ValueError())
    assert (span.snapshot(), span.name) == before
    assert box.late == [
        ("set_attribute", "a"),
        ("set_attributes", "a"),
        ("add_event", "a"),
        ("add_link", "a"),
        ("update_name", "a"),
        ("set_status", "a"),
        ("record_exception", "a"),
    ]
    assert len(box.take()) == 1


def test_ok_is_final_and_unset_is_ignored(box: Box) -> None:
    span = box.start()
    span.set_status(StatusCode.ERROR, "why")
    span.set_status(StatusCode.UNSET)
    assert span.snapshot()[6:8] == (2, "why")
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "late")
    assert span.snapshot()[6:8] == (1, None)
    span.end()
    status = box.one().status
    assert (status.code, status.message) == (1, "")


@pytest.mark.parametrize("nonsense", [None, 2, "ERROR", object()])
def test_a_status_that_is_none_harms_nobody(box: Box, nonsense: Any) -> None:
    span = box.start()
    span.set_status(nonsense)
    span.end()
    assert box.one().status.code == 0


def test_a_link_that_says_nothing_is_left_out(box: Box) -> None:
    links = [Link(INVALID_SPAN_CONTEXT), Link(OTHER)]
    span = box.start(links=links)
    span.add_link(INVALID_SPAN_CONTEXT)
    span.add_link(INVALID_SPAN_CONTEXT, {"said": 1})
    span.add_link(OTHER)
    shown = [context for context, _, _ in span.snapshot()[4]]
    assert shown == [OTHER, INVALID_SPAN_CONTEXT, OTHER]


def test_what_changes_after_it_was_set_does_not_change_the_span(box: Box) -> None:
    inner, outer = [1], {"key": [1]}
    given = {"start": inner}
    link = Link(OTHER, {"list": inner})
    span = box.start(attributes=given, links=[link])
    span.set_attribute("set", inner)
    span.set_attributes({"many": outer})
    span.add_event("event", {"list": inner})
    inner.append(2)
    outer["key"].append(2)
    given["more"] = [3]
    attributes, _, events, _, links, *_ = span.snapshot()
    assert attributes == {"start": (1,), "set": (1,), "many": {"key": (1,)}}
    assert events[0][2] == {"list": (1,)}
    assert links[0][1] == {"list": (1,)}


def test_what_is_shown_can_not_change_the_span(box: Box) -> None:
    span = box.start(attributes={"a": 1})
    span.snapshot()[0]["b"] = 2
    shown: Any = view(span)
    with pytest.raises(TypeError):
        shown.attributes["b"] = 2
    assert span.snapshot()[0] == {"a": 1}
    span.set_attribute("c", 3)
    assert dict(shown.attributes) == {"a": 1}


def test_bad_keys_are_dropped_and_counted(box: Box) -> None:
    bad: Any = 1
    span = box.start(attributes={"": 1, "a": 1})
    span.set_attribute("", 1)
    span.set_attribute(bad, 1)
    span.set_attributes({"": 1, "b": 1, bad: 2})
    span.add_event("event", {"": 1})
    attributes, dropped, events, *_ = span.snapshot()
    assert attributes == {"a": 1, "b": 1}
    assert dropped == 5
    assert events[0][3] == 1
    span.end()
    message = box.one()
    assert message.dropped_attributes_count == 5
    assert message.events[0].dropped_attributes_count == 1


@pytest.mark.parametrize("given", [5, "text", [1], object()])
def test_attributes_that_are_no_mapping_harm_nobody(box: Box, given: Any) -> None:
    span = box.start(attributes=given)
    span.set_attributes(given)
    span.add_event("event", given)
    span.end()
    assert attributes_of(box.one()) == {}


def test_a_key_that_is_set_again_is_the_newest(box: Box) -> None:
    span = box.start(attributes={"a": 1, "b": 1, "c": 1})
    span.set_attribute("a", 2)
    span.set_attributes({"b": 2})
    span.end()
    assert list(attributes_of(box.one()).items()) == [("c", 1), ("a", 2), ("b", 2)]


def test_too_many_drop_the_oldest_and_count(part: Any) -> None:
    few = limits(attributes=2, events=2, links=2, event_attributes=2, link_attributes=2)
    box = Box(part, limits=few)
    about = {"a": "long", "b": 1, "c": 1}
    links = [Link(SpanContext(n, 1, is_remote=False)) for n in (1, 2, 3)]
    span = box.start(attributes=about, links=links)
    span.set_attribute("d", 1)
    for number in range(3):
        span.add_event(f"e{number}", about)
    span.add_link(OTHER, about)
    span.end()
    message = box.one()
    assert list(attributes_of(message)) == ["c", "d"]
    assert message.dropped_attributes_count == 2
    assert [event.name for event in message.events] == ["e1", "e2"]
    assert message.dropped_events_count == 1
    assert list(attributes_of(message.events[0])) == ["b", "c"]
    assert message.events[0].dropped_attributes_count == 1
    assert len(message.links) == 2
    assert message.dropped_links_count == 2
    assert message.links[1].dropped_attributes_count == 1


def test_a_limit_of_none_is_no_limit(part: Any) -> None:
    every = limits(attributes=None, events=None, links=None)
    box = Box(part, limits=every)
    span = box.start(attributes={str(n): n for n in range(1_000)})
    for _ in range(1_000):
        span.add_event("e")
        span.add_link(OTHER)
    span.end()
    message = box.one()
    assert len(message.attributes) == len(message.events) == len(message.links) == 1_000


def test_a_limit_of_zero_keeps_nothing(part: Any) -> None:
    box = Box(part, limits=limits(attributes=0, events=0, links=0))
    span = box.start(attributes={"a": 1})
    span.set_attribute("b", 1)
    span.add_event("e")
    span.add_link(OTHER)
    span.end()
    message = box.one()
    assert (message.dropped_attributes_count, len(message.attributes)) == (2, 0)
    assert (message.dropped_events_count, len(message.events)) == (1, 0)
    assert (message.dropped_links_count, len(message.links)) == (1, 0)


class Silent(Exception):  # noqa: N818 -- named for what it does
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [ValueError("wrong"), Silent(), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_leaving_its_block_by_an_exception_is_recorded(
    error: BaseException, box: Box
) -> None:
    with pytest.raises(type(error)), box.start() as span:
        raise error
    assert span.has_ended
    message = box.one()
    assert message.status.code == 2
    assert message.status.message.startswith(f"{type(error).__name__}: ")
    (event,) = message.events
    assert event.name == "exception"
    assert type(error).__name__ in attributes_of(event)["exception.type"]


@pytest.mark.parametrize(("record", "status"), [(True, False), (False, True)])
def test_what_leaving_by_an_exception_does_can_be_chosen(
    *, record: bool, status: bool, box: Box
) -> None:
    span = box.start()
    span.on_exception(record=record, status=status)
    with pytest.raises(ValueError), span:
        raise ValueError
    message = box.one()
    assert bool(message.events) is record
    assert bool(message.status.code) is status


def test_leaving_its_block_after_its_end_says_so_once(box: Box) -> None:
    with pytest.raises(ValueError), box.start() as span:  # noqa: PT012 -- of its block
        span.end()
        raise ValueError
    assert box.late == [("end", "a")]


def test_an_exception_is_recorded_as_the_sdk_does(box: Box) -> None:
    stock = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("a")
    ours = box.start()
    for error in (ValueError("wrong"), Silent.__new__(Silent, 1), Odd("x")):
        for span in (stock, ours):
            if not isinstance(error, Silent):
                span.record_exception(error, {"more": 1}, timestamp=5, escaped=True)
    assert isinstance(stock, ReadableSpan)
    assert len(stock.events) == 2
    for wanted, got in zip(stock.events, view(ours).events, strict=True):
        assert (got.name, got.timestamp) == (wanted.name, wanted.timestamp)
        assert dict(got.attributes or {}) == dict(wanted.attributes or {})


class Odd(Exception):  # noqa: N818 -- named for what it is
    """Of a module of its own, so that its name has a prefix."""


def test_its_view_is_what_the_sdk_shows_of_the_same_span(box: Box) -> None:
    provider = TracerProvider(resource=box.resource, shutdown_on_exit=False)
    stock = provider.get_tracer("test", "1").start_span(
        "a", kind=SpanKind.CLIENT, attributes={"b": [1]}, start_time=1
    )
    ours = box.start(kind=SpanKind.CLIENT, attributes={"b": [1]}, start_time=1)
    texts: list[str] = []
    for span in (stock, ours):
        span.add_event("event", {"c": 1}, 2)
        span.add_link(OTHER, {"d": 1})
        span.set_status(StatusCode.ERROR, "why")
        span.end(3)
        context = span.get_span_context()
        texts.append(
            span.to_json()
            .replace(f"{context.trace_id:032x}", "trace")
            .replace(f"{context.span_id:016x}", "span")
        )
    assert texts[0] == texts[1]
    shown = view(ours)
    assert shown.instrumentation_scope == box.instrumentation
    assert shown.resource is box.resource


def test_what_it_does_not_have_itself_is_looked_up_on_its_view(box: Box) -> None:
    span = box.start(kind=SpanKind.SERVER, attributes={"a": 1})
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes) == {"a": 1}
    assert span.status.is_unset
    assert span.parent is None
    assert span.resource is box.resource
    with pytest.raises(AttributeError):
        _ = span.there_is_no_such_thing
    with pytest.raises(AttributeError):
        _ = span.__there_is_no_such_thing__


def test_it_can_be_a_key_and_be_weakly_referenced(box: Box) -> None:
    span = box.start()
    assert {span: 1}[span] == 1
    assert span != box.start()
    seen = weakref.ref(span)
    assert seen() is span
    span.end()
    del span
    gc.collect()
    assert seen() is None


def test_its_repr_has_its_name_and_ids(box: Box) -> None:
    span = box.start("job x")
    shown = repr(span)
    assert "'job x'" in shown
    assert f"{span.trace_id:032x}" in shown


def test_its_times_are_on_the_wall_clock(box: Box) -> None:
    box.now = 2.0
    span = box.start()
    assert span.start_time == WALL + 2_000_000_000
    assert span.wall_ns(2.5) == WALL + 2_500_000_000
    box.now = 3.0
    span.add_event("e")
    span.finish(4.0)
    message = box.one()
    assert message.end_time_unix_nano == WALL + 4_000_000_000
    assert message.events[0].time_unix_nano == WALL + 3_000_000_000


def test_it_begins_when_its_maker_says(box: Box) -> None:
    box.now = 9.0
    assert box.ours.start("a", 0, Context(), 1.5).start_time == WALL + 1_500_000_000
    assert box.ours.start("a", 0, Context(), 1.5, start_ns=7).start_time == 7


@pytest.mark.parametrize("time", [1.5e18, "now", -1, 2**70, float("nan"), [1]])
@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "None"), (7, "7"), (b"bytes", "b'bytes'"), (["list"], "('list',)")],
)
def test_a_name_or_time_of_the_wrong_type_costs_nothing(
    box: Box, name: Any, shown: str, time: Any
) -> None:
    span = box.start(name, start_time=time, attributes={"kept": 1})
    span.add_event(name, None, time)
    span.end(time)
    message = box.one()
    assert message.name == message.events[0].name == shown
    assert attributes_of(message) == {"kept": 1}


def test_a_kind_that_is_none_costs_nothing(box: Box) -> None:
    span = box.ours.start("a", 77, Context())
    span.end()
    assert box.one().kind == 0


def test_the_name_that_counts_is_the_last(box: Box) -> None:
    span = box.start("first")
    span.update_name("second")
    assert span.name == "second"
    span.end()
    assert box.one().name == "second"
