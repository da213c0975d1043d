"""The native tracer starts spans where OpenTelemetry's API says."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Decision, Sampler
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from tests.telemetry.span.making import STATE, remote
from tests.telemetry.span.tracing import Box, Ended, Scripted, same

from spanrun.telemetry.span import Scope
from spanrun.testing import FakeClock


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(autouse=True)
def _nobody_left_a_span_current() -> Iterator[None]:
    assert get_current_span() is INVALID_SPAN
    yield
    assert get_current_span() is INVALID_SPAN


class TestParents:
    def test_a_span_without_a_parent_is_a_root_with_a_random_trace_id(
        self, box: Box
    ) -> None:
        context = box.start().get_span_context()
        assert context.is_valid
        assert context.trace_flags == TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
        assert not context.trace_state
        assert box.start().parent is None

    def test_the_current_span_is_the_parent(self, box: Box) -> None:
        tracer = box.get_tracer("test")
        with tracer.start_as_current_span("outer") as outer:
            assert get_current_span() is outer
            inner: Any = tracer.start_span("inner")
        assert inner.parent == outer.get_span_context()
        assert inner.context.trace_id == outer.get_span_context().trace_id

    def test_the_context_given_goes_before_the_current_span(self, box: Box) -> None:
        tracer, other = box.get_tracer("test"), box.start("other")
        with tracer.start_as_current_span("outer"):
            inner = box.below(other)
            root = box.start("root", Context())
        assert inner.parent == other.context
        assert root.parent is None

    def test_a_remote_parent_hands_down_flags_and_tracestate(self, box: Box) -> None:
        parent = remote()
        child = box.below(parent)
        grandchild = box.below(child)
        assert child.parent == parent.get_span_context()
        assert child.parent.is_remote
        assert not grandchild.parent.is_remote
        for span in (child, grandchild):
            assert span.context.trace_id == 1 << 100
            assert span.context.trace_state == STATE
            assert span.context.trace_flags == TraceFlags.SAMPLED

    def test_a_local_root_is_what_has_no_parent_in_this_process(self, box: Box) -> None:
        root, inbound = box.start("root"), box.below(remote())
        stock = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("a")
        spans = [root, inbound, box.below(root), box.below(inbound), box.below(stock)]
        assert [span.is_local_root for span in spans] == [True, True, *[False] * 3]

    def test_a_span_of_the_sdk_is_a_parent_like_any_other(self, box: Box) -> None:
        stock = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("a")
        assert box.below(stock).parent == stock.get_span_context()

    def test_no_span_at_all_in_the_context_makes_a_root(self, box: Box) -> None:
        (key,) = set_span_in_context(INVALID_SPAN, Context())
        assert box.start("a", Context({key: "no span"})).parent is None


class TestTheScope:
    def scope(self, **options: Any) -> Scope:
        return Box(**options).native.scope

    def span(self, scope: Scope, parent: Span) -> Any:
        context = set_span_in_context(parent, Context())
        return scope.start("a", SpanKind.CLIENT.value, context, 5.0, {"a": 1})

    @pytest.mark.parametrize(
        "sampler", [DEFAULT_ON, ALWAYS_ON, Scripted(Decision.RECORD_AND_SAMPLE)]
    )
    def test_it_finds_the_parent_whether_or_not_a_sampler_is_asked(
        self, sampler: Sampler
    ) -> None:
        box = Box(sampler=sampler)
        for parent in (box.start("parent"), remote(state=None)):
            span = self.span(box.native.scope, parent)
            assert span.parent == parent.get_span_context()
            assert span.kind is SpanKind.CLIENT
            assert dict(span.attributes or {}) in ({"a": 1}, {})

    @pytest.mark.parametrize("sampler", [DEFAULT_ON, Scripted(Decision.DROP)])
    def test_an_invalid_span_means_a_root(self, sampler: Sampler) -> None:
        box = Box(sampler=sampler)
        token = attach(set_span_in_context(box.start("current")))
        try:
            context = self.span(box.native.scope, INVALID_SPAN).get_span_context()
            current = get_current_span().get_span_context()
        finally:
            detach(token)
        assert context.trace_id not in (0, current.trace_id)

    def test_below_a_span_that_was_dropped_nothing_is_recorded(self) -> None:
        dropped = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
        span = self.span(self.scope(), dropped)
        assert not span.is_recording()
        assert span.get_span_context().trace_id == 1


class TestTracers:
    def test_there_is_one_for_each_scope(self, box: Box) -> None:
        tracer = box.get_tracer("a", "1", "https://schema", {"b": 1})
        assert tracer is box.get_tracer("a", "1", "https://schema", {"b": 1})
        assert tracer is not box.get_tracer("a", "1", "https://schema", {"b": 2})
        span: Any = tracer.start_span("x")
        scope = span.instrumentation_scope
        assert (scope.name, scope.version) == ("a", "1")
        assert scope.schema_url == "https://schema"
        assert dict(scope.attributes) == {"b": 1}

    def test_a_missing_name_is_the_empty_one(self, box: Box) -> None:
        nothing: Any = None
        span: Any = box.get_tracer(nothing).start_span("x")
        assert span.instrumentation_scope.name == ""

    def test_it_decorates_functions_of_both_kinds(self, box: Box) -> None:
        tracer = box.get_tracer("test")

        @tracer.start_as_current_span("plain")
        def plain() -> Span:
            return get_current_span()

        @tracer.start_as_current_span("waiting")
        async def waiting() -> Span:
            await asyncio.sleep(0)
            return get_current_span()

        spans: list[Any] = [plain(), plain(), asyncio.run(waiting())]
        assert [span.name for span in spans] == ["plain", "plain", "waiting"]
        assert all(map(same, box.ended, spans))
        assert len(box.ended) == 3
        assert len({span.context.span_id for span in spans}) == 3

    def test_an_exception_in_its_block_is_recorded_once(self, box: Box) -> None:
        tracer = box.get_tracer("test")
        with pytest.raises(ValueError), tracer.start_as_current_span("a"):
            raise ValueError
        (span,) = box.ended
        assert [event.name for event in span.events] == ["exception"]
        assert span.status.description == "ValueError: "

    def test_a_block_may_leave_its_span_open(self, box: Box) -> None:
        tracer = box.get_tracer("test")
        with tracer.start_as_current_span("a", end_on_exit=False) as span:
            pass
        assert span.is_recording()

    def test_spans_are_timed_by_the_clock(self) -> None:
        clock = FakeClock()
        box = Box(clock=clock)
        span = box.start()
        clock.advance(1.5)
        span.end()
        assert span.end_time - span.start_time == 1_500_000_000


class TestOthers:
    def test_spans_of_a_library_nest_among_ours(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
        library = trace.get_tracer("library")  # before there is a provider

        def work() -> None:
            with library.start_as_current_span("library"):
                box.start("ours, inside").end()

        monkeypatch.setattr(trace, "_TRACER_PROVIDER", box)
        with box.get_tracer("test").start_as_current_span("ours"):
            work()
        spans: dict[str, Any] = {span.name: span for span in box.ended}
        inside, theirs = spans["ours, inside"], spans["library"]
        assert inside.parent == theirs.context
        assert theirs.parent == spans["ours"].context
        assert theirs.instrumentation_scope.name == "library"

    def test_a_trace_and_its_baggage_cross_a_process_boundary(self, box: Box) -> None:
        span = box.below(remote(flags=3))
        carrier: dict[str, str] = {}
        context = set_span_in_context(span, baggage.set_baggage("tenant", "a"))
        propagate.inject(carrier, context)
        ids = f"{span.trace_id:032x}-{span.span_id:016x}"
        assert carrier["traceparent"] == f"00-{ids}-03"
        assert carrier["tracestate"] == "ot=th:8"
        extracted = propagate.extract(carrier)
        child = box.start("other side", extracted)
        assert child.parent.is_remote
        assert (child.parent.trace_id, child.parent.span_id) == span.context[:2]
        assert child.context.trace_state == STATE
        assert baggage.get_baggage("tenant", extracted) == "a"

    def test_a_second_buffer_takes_over_for_tracers_that_are_out(
        self, box: Box
    ) -> None:
        tracer, later = box.get_tracer("test"), Ended()
        tracer.start_span("first").end()
        box.redirect(later.buffer, Resource({"service.name": "again"}))
        tracer.start_span("second").end()
        assert box.names == ["first"]
        assert later.names == ["second"]
        assert later.spans[0].resource.attributes == {"service.name": "again"}
