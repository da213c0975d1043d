"""The native provider is a provider of OpenTelemetry's API, as the SDK's is."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBasedTraceIdRatio,
    SamplingResult,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    NoOpTracer,
    Span,
    get_current_span,
)
from tests.telemetry.span.making import STATE, remote
from tests.telemetry.span.tracing import Box, Scripted

from spanrun.telemetry.span import Span as NativeSpan
from spanrun.telemetry.span import Tail


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(autouse=True)
def _nobody_left_a_span_current() -> Iterator[None]:
    assert get_current_span() is INVALID_SPAN
    yield
    assert get_current_span() is INVALID_SPAN


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

    @pytest.mark.parametrize("tailed", [False, True])
    def test_what_is_recorded_but_not_sampled_is_seen_by_processors(
        self, *, tailed: bool
    ) -> None:
        out: list[int] = []
        tail = Tail(None, out.append, 100, "reason") if tailed else None
        box, noting = Box(sampler=Scripted(Decision.RECORD_ONLY), tail=tail), Noting()
        box.add_span_processor(noting)
        span = box.start()
        span.end()
        assert noting.calls == ["start a", "end a"]
        assert not span.context.trace_flags.sampled
        assert box.ended == []
        assert sum(out) == tailed

    def test_the_sampler_says_what_attributes_and_tracestate_there_are(self) -> None:
        sampler = Scripted(
            Decision.RECORD_AND_SAMPLE, attributes={"rate": 0.5}, trace_state=STATE
        )
        span = Box(sampler=sampler).start(attributes={"a": 1})
        assert sampler.asked == [{"name": "a", "attributes": {"a": 1}}]
        assert dict(span.attributes) == {"rate": 0.5}
        assert span.context.trace_state == STATE

    def test_a_sampler_may_say_that_children_need_no_question(self) -> None:
        sampler: Any = Scripted(Decision.RECORD_ONLY, trace_state=STATE)
        sampler.children_follow = True
        box = Box(sampler=sampler)
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
        assert [span.name for span in noting.ended] == box.names == ["in", "outer"]
        assert all(isinstance(span, ReadableSpan) for span in noting.ended)
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


def test_native_spans_are_what_it_makes(box: Box) -> None:
    assert isinstance(box.start(), NativeSpan)


def test_always_off_records_nothing() -> None:
    box = Box(sampler=ALWAYS_OFF)
    box.start().end()
    assert box.ended == []
