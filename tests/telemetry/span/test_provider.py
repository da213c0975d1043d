"""The native provider is a provider of OpenTelemetry's API, as the SDK's is."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace import Span as SdkSpan
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
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
)
from tests.telemetry.span.making import STATE, remote, tail_of
from tests.telemetry.span.tracing import Box, Scripted

from spanrun.accelerator import core
from spanrun.telemetry import span as part
from spanrun.telemetry.span import Span as NativeSpan


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
        tail = tail_of(part, lambda spans, _: out.append(spans)) if tailed else None
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


class TestLimits:
    def test_they_are_read_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (
            "SPAN_ATTRIBUTE_COUNT",
            "SPAN_EVENT_COUNT",
            "SPAN_LINK_COUNT",
            "EVENT_ATTRIBUTE_COUNT",
            "LINK_ATTRIBUTE_COUNT",
            "ATTRIBUTE_VALUE_LENGTH",
        ):
            monkeypatch.setenv(f"OTEL_{name}_LIMIT", "2")
        other = SpanContext(7, 8, is_remote=True)
        span = Box().start(attributes={"a": "long", "b": ["long"], "c": 1})
        for _ in range(3):
            span.add_event("e", {"a": "long", "b": 1, "c": 1})
            span.add_link(other, {"a": "long", "b": 1, "c": 1})
        span.end()
        assert dict(span.attributes) == {"b": ("lo",), "c": 1}
        assert (len(span.events), span.dropped_events) == (2, 1)
        assert (len(span.links), span.dropped_links) == (2, 1)
        assert dict(span.events[0].attributes or {}) == {"b": 1, "c": 1}
        assert span.links[0].dropped_attributes == 1

    def test_a_length_that_nobody_limits_is_16_kib(self, box: Box) -> None:
        span = box.start(attributes={"long": "x" * 100_000})
        assert len(str(span.attributes["long"])) == 16_384

    @pytest.mark.skipif(core is None, reason="the fallback can't check so long a text")
    def test_a_higher_limit_of_the_user_is_kept(self) -> None:
        box = Box(span_limits=SpanLimits(max_attribute_length=50_000))
        text = "lorem ipsum dolor sit amet " * 4_000
        span = box.start(attributes={"long": text})
        span.end()
        assert len(box.box.batches[0].data) > 50_000
        assert len(str(span.attributes["long"])) == 50_000


class TestWhatLibrariesSee:
    """Some insist on the SDK's classes, and on what those show."""

    def test_a_span_is_one_of_the_api_and_of_the_sdk(self, box: Box) -> None:
        seen: list[Any] = []

        class Insisting(SpanProcessor):
            def on_start(
                self, span: Any, parent_context: Context | None = None
            ) -> None:
                assert isinstance(span, ReadableSpan)
                assert isinstance(span, SdkSpan)
                assert isinstance(span, Span)
                seen.append((span.name, dict(span.attributes or {}), span.parent))
                seen.append((span.kind, span.resource, span.instrumentation_scope))

        box.add_span_processor(Insisting())
        span = box.start(attributes={"a": 1})
        assert seen[0] == ("a", {"a": 1}, None)
        assert seen[1] == (
            SpanKind.INTERNAL,
            box.resource,
            box.native.instrumentation,
        )
        assert type(span) is NativeSpan

    def test_its_json_is_that_of_the_sdk(self, box: Box) -> None:
        provider = TracerProvider(resource=box.resource, shutdown_on_exit=False)
        texts: list[str] = []
        for tracer in (provider.get_tracer("test"), box.native):
            span: Any = tracer.start_span("a", attributes={"b": [1]}, start_time=1)
            span.add_event("event", {"c": 1}, 2)
            span.set_status(StatusCode.ERROR, "why")
            span.end(3)
            context = span.get_span_context()
            texts.append(
                span.to_json()
                .replace(f"{context.trace_id:032x}", "trace")
                .replace(f"{context.span_id:016x}", "span")
            )
        assert texts[0] == texts[1]


@pytest.mark.parametrize("kind", [3, None, "client"])
def test_a_kind_that_is_none_costs_nothing(box: Box, kind: Any) -> None:
    box.start(kind=kind).end()
    assert [span.kind for span in box.ended] == [SpanKind.INTERNAL]


def test_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    box = Box()
    box.add_span_processor(Failing())
    for _ in range(3):
        box.start().end()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_is_called_too_late_is_logged(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    span = box.start()
    span.end()
    span.end()
    assert "end was called on span 'a', which has ended" in caplog.text


class TestDropped:
    """What a sampler dropped is a span all the same, to whom it concerns."""

    def test_units_can_be_told_anything(self) -> None:
        scope = Box(sampler=ALWAYS_OFF).native.scope
        span = scope.start("a", 0, Context())
        assert not span.is_recording()
        assert span.otel is span
        assert span.trace_id == span.get_span_context().trace_id != 0
        below = scope.start("b", 0, span.inside(Context(), 2), anchored=span)
        assert below.trace_id == span.trace_id
        for each in (span, below):
            each.set_attribute("a", 1)
            each.set_attributes({"a": 1})
            each.add_event("e", {}, each.wall_ns(1.0))
            each.set_status(StatusCode.ERROR)
            each.finish(2.0)

    def test_one_that_has_ended_is_no_parent_of_units(self) -> None:
        scope = Box(sampler=ALWAYS_OFF).native.scope
        outer = scope.start("outer", 0, Context())
        around = outer.inside(Context())
        left = scope.start("left", 0, around)
        still_there = left.inside(around)
        left.finish(1.0)
        assert scope.start("next", 0, still_there).trace_id == outer.trace_id
        outer.finish(2.0)
        assert scope.start("next", 0, still_there).trace_id != outer.trace_id

    @pytest.mark.parametrize("sampled", [True, False])
    def test_what_is_sampled_below_it_is_recorded(self, *, sampled: bool) -> None:
        class Below(Scripted):
            def should_sample(self, *given: Any, **named: Any) -> SamplingResult:
                super().should_sample(*given, **named)
                take = sampled and len(self.asked) > 1
                return SamplingResult(
                    Decision.RECORD_AND_SAMPLE if take else Decision.DROP
                )

        box = Box(sampler=Below(Decision.DROP))
        scope = box.native.scope
        span = scope.start("a", 0, Context())
        below = scope.start("b", 0, span.inside(Context()), 1.0, anchored=span)
        below.finish(2.0)
        assert box.names == (["b"] if sampled else [])
        assert below.trace_id == span.trace_id
