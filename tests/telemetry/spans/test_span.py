"""A native span keeps the rules of OpenTelemetry's specification, at any thread."""

import itertools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.trace import (
    INVALID_SPAN,
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
from spanrun.telemetry.spans.provider import NativeTracerProvider
from tests.telemetry.spans.tracing import Box
from tests.waiting import PATIENCE

from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.recorded import Rare
from spanrun.telemetry.spans.span import NativeSpan

OTHER = SpanContext(7, 8, is_remote=True)


@pytest.fixture
def box() -> Box:
    return Box()


def threads(*targets: Callable[[], object]) -> None:
    """Run them at once, with the interpreter switching as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    begin = threading.Barrier(len(targets), timeout=PATIENCE)

    def run(target: Callable[[], object]) -> None:
        begin.wait()
        target()

    running = [threading.Thread(target=run, args=(target,)) for target in targets]
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(before)


def test_it_is_a_span_of_the_api_and_a_readable_one_of_the_sdk(box: Box) -> None:
    span = box.start()
    assert isinstance(span, Span)
    assert isinstance(span, ReadableSpan)
    assert not vars(span)


def test_its_context_is_the_same_whenever_and_wherever_it_is_asked_for(
    box: Box,
) -> None:
    span = box.start()
    context = span.get_span_context()
    assert context.is_valid
    assert not context.is_remote
    assert context.trace_flags.sampled
    with use_span(span):
        assert get_current_span() is span
        assert get_current_span().get_span_context() is context
    span.end()
    assert span.get_span_context() is span.context is context


def test_only_the_first_end_counts(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    span = box.start(start_time=1)
    span.end(5)
    span.end(9)
    assert (span.start_time, span.end_time) == (1, 5)
    assert box.ended == [span]
    assert "end was called on span 'a', which has ended" in caplog.text


def test_an_end_of_zero_is_an_end(box: Box) -> None:
    span = box.start()
    span.end(0)
    assert not span.is_recording()
    span.end(1)
    assert span.end_time == 0


def test_nothing_changes_after_the_end(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    span = box.start()
    span.end()
    before = SpanEncoder().span(span)
    span.set_attribute("a", 1)
    span.set_attributes({"a": 1})
    span.add_event("a")
    span.add_link(OTHER)
    span.update_name("b")
    span.set_status(StatusCode.ERROR)
    span.record_exception(ValueError())
    assert SpanEncoder().span(span) == before
    assert len(caplog.records) == 7


def test_ok_is_final_and_unset_is_ignored(box: Box) -> None:
    span = box.start()
    span.set_status(StatusCode.ERROR, "why")
    span.set_status(StatusCode.UNSET)
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "why",
    )
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "late")
    assert span.status.status_code is StatusCode.OK
    assert span.status.description is None


def test_a_link_that_says_nothing_is_left_out(box: Box) -> None:
    nothing: Any = None
    links = [Link(INVALID_SPAN_CONTEXT), nothing, Link(OTHER)]
    span = box.start(links=links)
    span.add_link(INVALID_SPAN_CONTEXT)
    span.add_link(INVALID_SPAN_CONTEXT, {"said": 1})
    span.add_link(OTHER)
    assert [link.context for link in span.links] == [
        OTHER,
        INVALID_SPAN_CONTEXT,
        OTHER,
    ]


def test_what_changes_after_it_was_set_does_not_change_the_span(box: Box) -> None:
    inner, outer = [1], {"key": [1]}
    link = Link(OTHER, {"list": inner})
    span = box.start(attributes={"start": inner}, links=[link])
    span.set_attribute("set", inner)
    span.set_attributes({"many": outer})
    span.add_event("event", {"list": inner})
    inner.append(2)
    outer["key"].append(2)
    assert dict(span.attributes) == {
        "start": (1,),
        "set": (1,),
        "many": {"key": (1,)},
    }
    assert dict(span.events[0].attributes or {}) == {"list": (1,)}
    assert dict(span.links[0].attributes or {}) == {"list": (1,)}


def test_the_short_way_keeps_the_dict_and_its_writer_may_go_on(box: Box) -> None:
    mine: dict[str, Any] = {"a": 1}
    span = box.native.span("job", SpanKind.INTERNAL, INVALID_SPAN, 5, mine)
    assert isinstance(span, NativeSpan)
    mine["b"] = 0.5
    span.end(9)
    assert span.raw is mine
    assert dict(span.attributes) == {"a": 1, "b": 0.5}
    assert (span.start_time, span.end_time, span.parent) == (5, 9, None)


def test_bad_keys_are_dropped_and_counted(box: Box) -> None:
    bad: Any = 1
    span = box.start(attributes={"": 1, "a": 1})
    span.set_attribute("", 1)
    span.set_attribute(bad, 1)
    span.set_attributes({"": 1, "b": 1})
    span.add_event("event", {"": 1})
    assert dict(span.attributes) == {"a": 1, "b": 1}
    assert span.dropped_attributes == 4
    assert span.events[0].dropped_attributes == 1


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SPAN_ATTRIBUTE_COUNT",
        "SPAN_EVENT_COUNT",
        "SPAN_LINK_COUNT",
        "EVENT_ATTRIBUTE_COUNT",
        "LINK_ATTRIBUTE_COUNT",
        "ATTRIBUTE_VALUE_LENGTH",
    ):
        monkeypatch.setenv(f"OTEL_{name}_LIMIT", "2")
    span = Box().start(attributes={"a": "long", "b": ["long"], "c": 1})
    for _ in range(3):
        span.add_event("e", {"a": "long", "b": 1, "c": 1})
        span.add_link(OTHER, {"a": "long", "b": 1, "c": 1})
    span.end()
    assert dict(span.attributes) == {"b": ("lo",), "c": 1}
    assert (len(span.events), span.dropped_events) == (2, 1)
    assert (len(span.links), span.dropped_links) == (2, 1)
    assert dict(span.events[0].attributes or {}) == {"b": 1, "c": 1}
    assert span.links[0].dropped_attributes == 1


def test_links_at_the_start_are_limited(box: Box) -> None:
    box = Box(span_limits=SpanLimits(max_links=1))
    span = box.start(links=[Link(OTHER), Link(SpanContext(1, 2, is_remote=False))])
    assert [link.context.trace_id for link in span.links] == [1]
    assert span.dropped_links == 1


def test_a_length_that_nobody_limits_is_16_kib(box: Box) -> None:
    span = box.start(attributes={"long": "x" * 100_000})
    assert len(str(span.attributes["long"])) == 16_384


def test_a_higher_limit_of_the_user_is_kept() -> None:
    box = Box(span_limits=SpanLimits(max_attribute_length=50_000))
    span = box.start(attributes={"long": "x" * 100_000})
    span.end()
    assert len(SpanEncoder().span(span)) > 50_000
    assert len(str(span.attributes["long"])) == 50_000


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
    assert isinstance(span, NativeSpan)
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.name == "exception"
    assert type(error).__name__ in str((event.attributes or {})["exception.type"])
    assert box.ended == [span]


@pytest.mark.parametrize(("record", "status"), [(True, False), (False, True)])
def test_what_leaving_by_an_exception_does_can_be_chosen(
    *, record: bool, status: bool, box: Box
) -> None:
    span = box.start(record_exception=record, set_status_on_exception=status)
    with pytest.raises(ValueError), span:
        raise ValueError
    assert bool(span.events) is record
    assert span.status.is_unset is not status


def test_an_exception_is_recorded_as_the_sdk_does(box: Box) -> None:
    error = ValueError("wrong")
    stock = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("a")
    ours = box.start()
    for span in (stock, ours):
        span.record_exception(error, {"more": 1}, timestamp=5, escaped=True)
    assert isinstance(stock, ReadableSpan)
    (wanted,), (got,) = stock.events, ours.events
    assert (got.name, got.timestamp) == (wanted.name, wanted.timestamp)
    assert dict(got.attributes or {}) == dict(wanted.attributes or {})


def test_its_json_is_that_of_the_sdk(box: Box) -> None:
    resource = Resource.get_empty()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    texts: list[str] = []
    for tracer in (provider.get_tracer("test"), box.native):
        span = tracer.start_span("a", attributes={"b": [1]}, start_time=1)
        span.add_event("event", {"c": 1}, 2)
        span.set_status(StatusCode.ERROR, "why")
        span.end(3)
        assert isinstance(span, ReadableSpan)
        context = span.get_span_context()
        assert context is not None
        texts.append(
            span.to_json()
            .replace(f"{context.trace_id:032x}", "trace")
            .replace(f"{context.span_id:016x}", "span")
        )
    assert texts[0] == texts[1]


def test_a_failing_sink_breaks_no_program() -> None:
    failures: list[Exception] = []

    def sink(_: object) -> None:
        raise RuntimeError("full")

    provider = NativeTracerProvider(sink, failed=failures.append)
    provider.get_tracer("x").start_span("a").end()
    assert [str(error) for error in failures] == ["full"]


def test_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def sink(_: object) -> None:
        raise RuntimeError("full")

    tracer = NativeTracerProvider(sink).get_tracer("x")
    for _ in range(3):
        tracer.start_span("a").end()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


class TestThreads:
    def test_a_span_that_two_end_at_once_ends_once(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        span, meet = box.start(), threading.Barrier(2, timeout=PATIENCE)
        monkeypatch.setattr(span.origin, "now", meet.wait)
        threads(span.end, span.end)
        assert box.ended == [span]

    def test_two_that_are_the_first_to_add_an_event_both_do(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        span, meet = box.start(), threading.Barrier(2, timeout=PATIENCE)

        def meet_and_make() -> Rare:
            meet.wait()
            return Rare()

        monkeypatch.setattr("spanrun.telemetry.spans.span.Rare", meet_and_make)
        threads(lambda: span.add_event("a"), lambda: span.add_event("b"))
        assert {event.name for event in span.events} == {"a", "b"}

    def test_events_links_and_attributes_of_many_are_all_there(self) -> None:
        box = Box(
            span_limits=SpanLimits(
                max_events=10, max_links=10_000, max_span_attributes=10_000
            )
        )
        span = box.start()

        def add(who: str) -> None:
            for number in range(500):
                span.add_event(who)
                span.add_link(OTHER)
                span.set_attribute(f"{who}{number}", number)

        threads(*(lambda who=who: add(who) for who in "abc"))  # type: ignore[misc]
        assert len(span.links) == len(span.attributes) == 1_500
        assert len(span.events) + span.dropped_events == 1_500

    def test_a_span_is_encoded_whole_while_others_write_to_it(self, box: Box) -> None:
        spans = [box.start(attributes={"first": 1}) for _ in range(100)]
        encoder, encoded = SpanEncoder(), list[bytes]()
        done = threading.Event()

        def write() -> None:
            for number in itertools.cycle(range(50)):
                if done.is_set():
                    return
                for span in spans[-2:]:
                    span.raw[f"key {number}"] = float(number)
                    span.raw.pop(f"key {number - 20}", None)

        def encode() -> None:
            try:
                for span in spans:
                    span.end()
                    encoded.append(encoder.span(span))
            finally:
                done.set()

        threads(write, write, encode)
        assert all(b"first" in each for each in encoded)
        assert len(encoded) == len(spans)
