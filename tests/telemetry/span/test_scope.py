"""Where spans begin: below which parent, in which trace, at what time."""

import time
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    set_span_in_context,
)
from tests.telemetry.span.making import (
    LIMITS,
    STATE,
    WALL,
    Box,
    Numbers,
    names,
    remote,
    tail_of,
)

from spanrun.telemetry.current import CURRENT_SPAN, OUTSIDE
from spanrun.telemetry.span.plain import clean
from spanrun.telemetry.span.view import view

HALF = 1 << 55
HOUR = 3_600_000_000_000


def unit(span: Any, outside: Context) -> Context:
    """The context inside a unit, which knows what is outside of it."""
    return Context({**outside, CURRENT_SPAN: span, OUTSIDE: (span, outside)})


def parent_of(span: Any) -> SpanContext | None:
    parent: SpanContext | None = span.snapshot()[8]
    return parent


class TestParents:
    def test_without_one_it_is_a_root_of_a_new_trace(self, box: Box) -> None:
        for context in (Context(), set_span_in_context(INVALID_SPAN, Context())):
            span = box.start("a", context)
            assert parent_of(span) is None
            assert span.is_local_root
            assert span.get_span_context().is_valid
            assert int(span.get_span_context().trace_flags) == 3
        assert not box.asked

    def test_the_parent_hands_down_all_that_it_has(self, box: Box) -> None:
        box.ours.root = ((3, STATE), (2, DEFAULT_TRACE_STATE))
        root = box.start()
        child = box.below(root)
        assert parent_of(child) == root.get_span_context()
        for span in (root, child):
            context = span.get_span_context()
            assert context.trace_id == root.trace_id
            assert context.trace_state == STATE
            span.end()
        assert not child.is_local_root
        for message in box.take():
            assert message.trace_state == "ot=th:8"
            assert message.trace_id == root.trace_id.to_bytes(16, "big")
        assert not box.asked

    def test_a_span_of_another_scope_is_a_parent_like_ours(self, part: Any) -> None:
        one, other = Box(part), Box(part)
        root = one.start()
        child = other.below(root)
        assert parent_of(child) == root.get_span_context()
        child.end()
        assert names(other.take()) == ["child"]
        assert not other.asked

    def test_a_remote_parent_is_asked_for(self, box: Box) -> None:
        parent = remote()
        child = box.below(parent, attributes={"a": 1})
        (asked,) = box.asked
        assert asked[0] == "child"
        assert asked[4] == {"a": 1}
        assert parent_of(child) == parent.get_span_context()
        assert child.is_local_root
        assert not box.below(child).is_local_root
        child.end()
        message = box.one()
        assert message.flags == 0x300
        assert message.parent_span_id == (5).to_bytes(8, "big")

    def test_a_span_of_the_sdk_is_a_parent_in_this_process(self, box: Box) -> None:
        stock = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("a")
        child = box.below(stock)
        assert parent_of(child) == stock.get_span_context()
        assert not child.is_local_root

    def test_whatever_stands_in_the_context_a_span_is_made(self, box: Box) -> None:
        context = Context({CURRENT_SPAN: "no span"})
        assert parent_of(box.start("a", context)) is None

    def test_without_follow_children_are_asked_for(self, box: Box) -> None:
        box.ours.follow = False
        root = box.start()
        child = box.below(root)
        assert [asked[0] for asked in box.asked] == ["child"]
        assert parent_of(child) == root.get_span_context()

    def test_without_a_threshold_roots_are_asked_for(self, box: Box) -> None:
        box.ours.threshold = None
        box.start("root")
        assert [asked[0] for asked in box.asked] == ["root"]

    def test_what_is_asked_may_return_anything(self, box: Box) -> None:
        box.ours.ask = lambda *_, **__: INVALID_SPAN
        assert box.below(remote()) is INVALID_SPAN

    def test_what_is_asked_and_raises_breaks_no_program(self, box: Box) -> None:
        def ask(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a sampler")

        box.ours.ask = ask
        span = box.below(remote())
        span.set_attribute("a", 1)
        span.end()
        assert [str(error) for error in box.failures] == ["a sampler"]

    @pytest.mark.parametrize("low", [0, HALF - 1, HALF, (1 << 56) - 1])
    def test_a_trace_is_drawn_by_the_last_bits_of_its_id(
        self, part: Any, low: int
    ) -> None:
        ids = Numbers()
        ids.randomness = low
        box = Box(part, ids=ids)
        box.ours.threshold = HALF
        box.ours.root = ((3, STATE), (2, DEFAULT_TRACE_STATE))
        context = box.start().get_span_context()
        assert context.trace_flags.sampled is (low >= HALF)
        assert bool(context.trace_state) is (low >= HALF)

    def test_ids_of_zero_are_none(self, box: Box) -> None:
        box.ours.bits = lambda _: 0
        assert box.start().get_span_context().is_valid


class TestEndedParents:
    """A unit that was left, as by a generator that nobody closes, is no parent."""

    def test_the_unit_outside_of_it_is_the_parent(self, box: Box) -> None:
        outer, inner = box.start("outer"), box.start("inner")
        outside = unit(outer, Context())
        inside = unit(inner, outside)
        inner.end()
        assert parent_of(box.start("a", inside)) == outer.get_span_context()

    def test_outside_of_all_it_is_a_root(self, box: Box) -> None:
        first = box.start("first")
        inside = unit(first, Context())
        first.end()
        second = box.start("second", inside)
        assert parent_of(second) is None
        assert second.trace_id != first.trace_id

    def test_several_that_have_ended_are_passed_by(self, box: Box) -> None:
        outside = set_span_in_context(box.start("outer"), Context())
        wanted = outside[CURRENT_SPAN]
        for _ in range(50):
            span = box.start("gone")
            outside = unit(span, outside)
            span.end()
        assert parent_of(box.start("a", outside)) == wanted.get_span_context()

    def test_what_is_outside_may_be_of_another_process(self, box: Box) -> None:
        caller = remote()
        span = box.start("gone")
        inside = unit(span, set_span_in_context(caller, Context()))
        span.end()
        assert parent_of(box.start("a", inside)) == caller.get_span_context()
        assert box.asked[-1][2][CURRENT_SPAN] is caller

    def test_one_that_is_open_is_the_parent(self, box: Box) -> None:
        outer, inner = box.start("outer"), box.start("inner")
        inside = unit(inner, unit(outer, Context()))
        outer.end()
        assert parent_of(box.start("a", inside)) == inner.get_span_context()

    def test_one_that_is_no_unit_stays_a_parent_as_in_opentelemetry(
        self, box: Box
    ) -> None:
        root = box.start()
        root.end()
        assert parent_of(box.below(root)) == root.get_span_context()


class TestTimes:
    def test_a_child_has_the_anchor_of_its_parent(self, box: Box) -> None:
        root = box.start()
        box.wall += HOUR  # a step of the wall clock
        box.now = 1.0
        child = box.below(root)
        assert child.start_time == WALL + 1_000_000_000
        grandchild = box.below(child)
        child.add_event("e")
        box.now = 2.0
        for span in (grandchild, child, root):
            span.end()
        assert {span.end_time for span in (grandchild, child, root)} == {
            WALL + 2_000_000_000
        }

    def test_the_next_local_root_sees_a_step_of_the_wall_clock(self, box: Box) -> None:
        first = box.start()
        box.wall += HOUR
        second, inbound = box.start(), box.below(remote())
        assert second.start_time == inbound.start_time == first.start_time + HOUR

    def test_a_local_root_may_be_anchored_as_another_span(self, box: Box) -> None:
        run = box.start("run")
        box.wall += HOUR
        job = box.start("job", anchored=run)
        asked = box.below(remote(), anchored=run)
        assert job.start_time == asked.start_time == run.start_time
        assert job.wall_ns(1.0) == run.wall_ns(1.0)

    def test_a_child_is_anchored_as_its_parent_whatever_else_is_said(
        self, box: Box
    ) -> None:
        other = box.start()
        box.wall += HOUR
        root = box.start()
        child = box.below(root, anchored=other)
        assert child.start_time == root.start_time

    def test_an_event_is_not_stamped_after_the_end(self, box: Box) -> None:
        span = box.start()
        box.now = 5.0
        span.add_event("stamped")
        span.record_exception(ValueError())
        span.add_event("as given", timestamp=WALL + 6_000_000_000)
        span.finish(4.0)
        message = box.one()
        assert message.end_time_unix_nano == WALL + 4_000_000_000
        assert [event.time_unix_nano - WALL for event in message.events] == [
            4_000_000_000,
            4_000_000_000,
            6_000_000_000,
        ]

    def test_an_event_is_stamped_between_begin_and_end(self, box: Box) -> None:
        span = box.start()
        for number in range(1, 200):
            box.now = number / 7
            span.add_event("e")
        span.finish(box.now)
        message = box.one()
        times = [event.time_unix_nano for event in message.events]
        assert times == sorted(times)
        assert message.start_time_unix_nano <= times[0]
        assert times[-1] == message.end_time_unix_nano

    def test_a_span_that_ends_before_it_begins_has_a_duration_of_zero(
        self, box: Box
    ) -> None:
        span = box.start(start_time=10)
        span.end(5)
        (batch,) = box.buffer.take()
        assert batch.headers[16:24] == bytes(8)


class TestProcessors:
    def test_they_see_the_span_and_its_context_and_what_ended(self, box: Box) -> None:
        started: list[Any] = []
        ended: list[Any] = []
        box.ours.on_start = lambda span, context: started.append((span, context))
        box.ours.on_end = ended.append
        context = set_span_in_context(remote(), Context())
        spans = [box.start("root"), box.start("asked", context)]
        assert [span for span, _ in started] == spans
        assert started[1][1] is context
        for span in spans:
            span.set_attribute("a", 1)
            span.end()
        assert all(isinstance(shown, ReadableSpan) for shown in ended)
        assert [shown.name for shown in ended] == ["root", "asked"]
        assert [dict(shown.attributes) for shown in ended] == [{"a": 1}] * 2
        assert all(shown.end_time is not None for shown in ended)

    def test_on_start_may_write_to_the_span(self, box: Box) -> None:
        box.ours.on_start = lambda span, _: span.set_attribute("added", 1)
        span = box.start(attributes={"a": 1})
        assert span.snapshot()[0] == {"a": 1, "added": 1}

    def test_on_end_is_too_late_to_write_to_the_span(self, box: Box) -> None:
        span = box.start()
        box.ours.on_end = lambda _: span.set_attribute("a", 1)
        span.end()
        assert span.snapshot()[0] == {}
        assert box.late == [("set_attribute", "a")]

    def test_what_they_raise_breaks_no_program_and_loses_no_span(
        self, box: Box
    ) -> None:
        def fails(*_: Any) -> None:
            raise RuntimeError("a processor")

        box.ours.on_start = box.ours.on_end = fails
        box.start().end()
        assert [str(error) for error in box.failures] == ["a processor"] * 2
        assert len(box.take()) == 1

    def test_an_interrupt_in_one_goes_on_and_loses_no_span(self, box: Box) -> None:
        def interrupt(_: Any) -> None:
            raise KeyboardInterrupt

        box.ours.on_end = interrupt
        span = box.start()
        with pytest.raises(KeyboardInterrupt):
            span.end()
        assert len(box.take()) == 1
        assert not box.failures


class TestScopes:
    def test_links_from_the_start_are_those_that_arrive(self, box: Box) -> None:
        to = remote().get_span_context()
        for about in (None, {"a": 1}, None, {"a": 2}):
            span = box.start(links=[Link(to, about)])
            span.end()
            (link,) = box.one().links
            assert link.trace_id == to.trace_id.to_bytes(16, "big")
            assert link.flags == 0x300
            assert len(link.attributes) == bool(about)

    def test_without_a_buffer_spans_go_nowhere(self, box: Box) -> None:
        box.ours.buffer = None
        box.start().end()
        assert box.take() == []
        assert not box.failures

    def test_without_a_tail_what_was_not_drawn_goes_nowhere(self, box: Box) -> None:
        box.ours.threshold = 1 << 56
        box.start().end()
        assert box.take() == []

    def test_spans_of_a_scope_that_is_disowned_end_nowhere(self, box: Box) -> None:
        out: list[Any] = []
        box.ours.tail = tail_of(box.part, lambda *told: out.append(told))
        box.ours.threshold = 1 << 56
        undrawn = box.start()
        undrawn.mark(box.part.RETRIED)
        box.ours.threshold = 0
        drawn = box.start()
        ended: list[Any] = []
        box.ours.on_end = ended.append
        box.ours.disown()
        for span in (undrawn, drawn):
            span.set_attribute("a", 1)
            span.end()
            assert span.has_ended
        assert (box.take(), ended, out, box.failures) == ([], [], [], [])

    def test_its_spans_know_it(self, box: Box) -> None:
        assert box.start().scope is box.ours
        assert box.ours.owner is box

    def test_a_span_that_is_made_is_what_its_maker_decided(self, box: Box) -> None:
        parent = NonRecordingSpan(SpanContext(7, 8, is_remote=False))
        context = parent.get_span_context()
        span = box.ours.make(
            "a", 3, 7, context, 1, STATE, 1.0, {"a": 1}, (), start_ns=5
        )
        assert span.get_span_context()[0] == 7
        assert span.get_span_context().trace_state == STATE
        assert parent_of(span) == context
        assert span.start_time == 5
        assert span.snapshot()[9] == 3
        child = box.ours.make("b", 0, 7, span, 0, STATE, 1.0, None, ())
        above = parent_of(child)
        assert above is not None
        assert above[:2] == span.get_span_context()[:2]
        assert not child.get_span_context().trace_flags.sampled


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_span_begins_by_the_clock_that_was_given(
    part: Any, monkeypatch: pytest.MonkeyPatch, *, is_replaced: bool
) -> None:
    if is_replaced:
        monkeypatch.setattr(time, "perf_counter", lambda: 17.0)
    box = Box(part)
    ours = part.Scope(
        box, time.perf_counter, lambda: 0, LIMITS, clean, view, print, print
    )
    ours.follow, ours.threshold = True, 0
    before = time.perf_counter()
    span = ours.start("a", 0, Context())
    after = time.perf_counter()
    assert int(before * 1e9) <= span.start_time <= int(after * 1e9)
