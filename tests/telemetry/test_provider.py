"""The native provider is a provider of OpenTelemetry's API, as the SDK's is."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from spanrun.telemetry.ids import RandomIds
from spanrun.telemetry.provider import NativeTracerProvider
from spanrun.telemetry.span import NativeSpan
from spanrun.telemetry.tracer import NativeTracer
from spanrun.testing import FakeClock

STATE = TraceState([("ot", "th:8")])


class Box(NativeTracerProvider):
    """A provider whose sink is a list."""

    def __init__(self, **options: Any) -> None:
        self.ended: list[Any] = []
        super().__init__(
            self.ended.append, **{"resource": Resource.get_empty(), **options}
        )

    def start(
        self, name: str = "a", context: Context | None = None, **more: Any
    ) -> Any:
        return self.get_tracer("test").start_span(name, context, **more)

    def below(self, parent: Span, name: str = "child") -> Any:
        return self.start(name, set_span_in_context(parent))


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(autouse=True)
def _nobody_left_a_span_current() -> Iterator[None]:
    assert get_current_span() is INVALID_SPAN
    yield
    assert get_current_span() is INVALID_SPAN


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


class Noting(SpanProcessor):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # type: ignore[override]
        self.calls.append(f"start {span.name}")  # type: ignore[attr-defined]
        span.set_attribute("by processor", 1)

    def on_end(self, span: ReadableSpan) -> None:
        self.calls.append(f"end {span.name}")
        self.ended.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.calls.append("flush")
        return True

    def shutdown(self) -> None:
        self.calls.append("shutdown")


class Failing(SpanProcessor):
    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        raise RuntimeError("start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("end")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        raise RuntimeError("flush")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")


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
        assert child.parent is parent.get_span_context()
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


class TestTheShortWay:
    def tracer(self, **options: Any) -> NativeTracer:
        tracer = Box(**options).get_tracer("test")
        assert isinstance(tracer, NativeTracer)
        return tracer

    def span(self, tracer: NativeTracer, parent: Context | Span | None) -> Any:
        return tracer.span("a", SpanKind.CLIENT, parent, 5, {"a": 1})

    @pytest.mark.parametrize(
        "sampler", [DEFAULT_ON, ALWAYS_ON, Scripted(Decision.RECORD_AND_SAMPLE)]
    )
    def test_it_finds_the_same_parent_as_the_long_one(self, sampler: Sampler) -> None:
        tracer = self.tracer(sampler=sampler)
        for parent in (tracer.start_span("parent"), remote(state=None)):
            context = set_span_in_context(parent)
            token = attach(context)
            try:
                spans = [self.span(tracer, where) for where in (parent, context, None)]
            finally:
                detach(token)
            wanted = parent.get_span_context()
            assert [span.parent for span in spans] == [wanted] * 3

    @pytest.mark.parametrize("sampler", [DEFAULT_ON, Scripted(Decision.DROP)])
    def test_an_invalid_span_means_a_root(self, sampler: Sampler) -> None:
        tracer = self.tracer(sampler=sampler)
        token = attach(set_span_in_context(tracer.start_span("current")))
        try:
            context = self.span(tracer, INVALID_SPAN).get_span_context()
            current = get_current_span().get_span_context()
        finally:
            detach(token)
        assert context.trace_id not in (0, current.trace_id)

    def test_below_a_span_that_was_dropped_nothing_is_recorded(self) -> None:
        tracer = self.tracer()
        dropped = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
        span = self.span(tracer, dropped)
        assert not span.is_recording()
        assert span.get_span_context().trace_id == 1


class TestSampling:
    @pytest.mark.parametrize(
        ("name", "argument", "sampled"),
        [
            ("always_off", "", False),
            ("always_on", "", True),
            ("traceidratio", "0.0", False),
            ("parentbased_traceidratio", "1.0", True),
            ("unheard of", "", True),
        ],
    )
    def test_the_environment_names_the_sampler(
        self, name: str, argument: str, *, sampled: bool, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
        assert Box().start().is_recording() is sampled

    def test_what_is_not_sampled_is_not_handed_on_but_can_be_a_parent(self) -> None:
        box = Box(sampler=ParentBasedTraceIdRatio(0.0))
        root = box.start()
        child = box.below(root)
        child.end()
        root.end()
        assert root.get_span_context().is_valid
        assert child.get_span_context().trace_id == root.get_span_context().trace_id
        assert not child.get_span_context().trace_flags.sampled
        assert box.ended == []

    @pytest.mark.parametrize(
        ("takes", "handed_on"), [("sampled", []), ("recorded", ["a"])]
    )
    def test_what_is_recorded_but_not_sampled_is_seen_by_processors(
        self, takes: Any, handed_on: list[str]
    ) -> None:
        box, noting = Box(sampler=Scripted(Decision.RECORD_ONLY), takes=takes), Noting()
        box.add_span_processor(noting)
        span = box.start()
        span.end()
        assert noting.calls == ["start a", "end a"]
        assert not span.context.trace_flags.sampled
        assert [span.name for span in box.ended] == handed_on

    def test_the_sampler_says_what_attributes_and_tracestate_there_are(self) -> None:
        sampler = Scripted(
            Decision.RECORD_AND_SAMPLE, attributes={"rate": 0.5}, trace_state=STATE
        )
        span = Box(sampler=sampler).start(attributes={"a": 1})
        assert sampler.asked == [{"name": "a", "attributes": {"a": 1}}]
        assert dict(span.attributes) == {"rate": 0.5}
        assert span.context.trace_state == STATE

    def test_a_dict_that_its_maker_keeps_is_the_same_after_sampling(self) -> None:
        result = {"rate": 0.5}
        sampler = Scripted(Decision.RECORD_AND_SAMPLE, attributes=result)
        tracer: Any = Box(sampler=sampler).get_tracer("x")
        mine: dict[str, Any] = {"a": 1}
        span = tracer.span("a", SpanKind.INTERNAL, None, 5, mine)
        assert span.raw is mine
        assert mine == result

    def test_a_sampler_may_say_that_children_need_no_question(self) -> None:
        sampler: Any = Scripted(Decision.RECORD_ONLY, trace_state=STATE)
        sampler.children_follow = True
        box = Box(sampler=sampler, takes="recorded")
        child = box.below(box.start("root"))
        assert [asked["name"] for asked in sampler.asked] == ["root"]
        assert child.context.trace_state == STATE
        assert not child.context.trace_flags.sampled

    def test_a_failing_sampler_costs_no_span(self) -> None:
        class Broken(Scripted):
            def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
                raise RuntimeError("broken")

        failures: list[Exception] = []
        box = Box(sampler=Broken(Decision.DROP), failed=failures.append)
        assert box.start().is_recording()
        assert box.below(remote()).is_recording()
        assert not box.below(remote(flags=0)).is_recording()
        assert len(failures) == 3


class TestProcessors:
    def test_they_hear_of_spans_in_their_order_before_the_sink(self, box: Box) -> None:
        tracer, noting = box.get_tracer("test"), Noting()
        box.add_span_processor(noting)
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("in"):
            pass
        assert noting.calls == ["start outer", "start in", "end in", "end outer"]
        assert noting.ended == box.ended
        assert dict(noting.ended[0].attributes or {}) == {"by processor": 1}

    def test_those_of_the_sdk_export_our_spans(self, box: Box) -> None:
        exporter = InMemorySpanExporter()
        box.add_span_processor(BatchSpanProcessor(exporter))
        box.start(attributes={"a": 1}).end()
        assert box.force_flush()
        box.shutdown()
        (span,) = exporter.get_finished_spans()
        assert isinstance(span, ReadableSpan)
        assert dict(span.attributes or {}) == {"a": 1}

    def test_a_failing_one_costs_neither_spans_nor_the_others(self) -> None:
        failures: list[Exception] = []
        box, noting = Box(failed=failures.append), Noting()
        box.add_span_processor(Failing())
        box.add_span_processor(noting)
        box.start().end()
        assert not box.force_flush()
        box.shutdown()
        assert noting.calls == ["start a", "end a", "flush", "shutdown"]
        assert len(box.ended) == 1
        assert [str(error) for error in failures] == [
            "start",
            "end",
            "flush",
            "shutdown",
        ]

    def test_flushing_ends_when_the_time_is_over(self, box: Box) -> None:
        noting = Noting()
        box.add_span_processor(noting)
        assert not box.force_flush(0)
        assert noting.calls == []

    def test_shutdown_happens_once_and_ends_the_making_of_tracers(
        self, box: Box
    ) -> None:
        noting = Noting()
        box.add_span_processor(noting)
        box.shutdown()
        box.shutdown()
        assert noting.calls == ["shutdown"]
        assert isinstance(box.get_tracer("late"), NoOpTracer)


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
        assert box.ended == spans
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
        inside, theirs, ours = box.ended
        assert inside.parent == theirs.context
        assert theirs.parent == ours.context
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

    def test_a_second_sink_takes_over_for_tracers_that_are_out(self, box: Box) -> None:
        tracer, later = box.get_tracer("test"), list[Any]()
        tracer.start_span("first").end()
        box.redirect(later.append, Resource({"service.name": "again"}))
        tracer.start_span("second").end()
        assert [span.name for span in box.ended] == ["first"]
        assert [span.name for span in later] == ["second"]
        assert later[0].resource.attributes == {"service.name": "again"}


class TestIds:
    def test_ids_differ_and_are_as_wide_as_they_may_be(self) -> None:
        ids = RandomIds()
        traces = {ids.generate_trace_id() for _ in range(1_000)}
        spans = {ids.generate_span_id() for _ in range(1_000)}
        assert len(traces) == len(spans) == 1_000
        assert 120 < max(traces).bit_length() <= 128
        assert 60 < max(spans).bit_length() <= 64

    def test_another_generator_can_be_used(self) -> None:
        class Fixed(RandomIds):
            def generate_trace_id(self) -> int:
                return 77

            def generate_span_id(self) -> int:
                return 88

        span = Box(id_generator=Fixed()).start()
        assert (span.trace_id, span.span_id) == (77, 88)

    def test_a_forked_child_draws_other_ids_and_is_another_instance(self) -> None:
        script = """
import os, sys
from opentelemetry.sdk.resources import Resource
from spanrun.telemetry.provider import NativeTracerProvider
resource = Resource({"service.instance.id": "parent", "process.pid": os.getpid()})
tracer = NativeTracerProvider(print, resource=resource).get_tracer("x")
tracer.start_span("drawn before")
reader, writer = os.pipe()
child = os.fork()
span = tracer.start_span("a")
told = span.resource.attributes
line = f"{span.trace_id} {told['service.instance.id']} {told['process.pid']}"
if child == 0:
    os.write(writer, line.encode())
    os._exit(0)
os.waitpid(child, 0)
print(line, os.read(reader, 1000).decode(), child)
"""
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        ours, us, _, theirs, them, pid, child = done.stdout.split()
        assert us == "parent"
        assert (ours != theirs, us != them, pid) == (True, True, child)


def test_native_spans_are_what_it_makes(box: Box) -> None:
    assert isinstance(box.start(), NativeSpan)


def test_always_off_records_nothing() -> None:
    box = Box(sampler=ALWAYS_OFF)
    box.start().end()
    assert box.ended == []
