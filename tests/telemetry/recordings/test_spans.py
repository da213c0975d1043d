"""Packed spans come back byte by byte, whichever side packed them."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from spanrun.accelerator import core
from spanrun.telemetry.recordings.columns import blob
from spanrun.telemetry.recordings.spans import (
    Heads,
    Packed,
    pack_spans_in_python,
    spans_of,
)
from spanrun.telemetry.span import ROOT, Batch, Buffer
from spanrun.telemetry.span.decode import headers
from spanrun.telemetry.span.provider import NativeTracerProvider

Pack = Callable[[bytes, bytes], tuple[Any, ...]]
SIDES: dict[str, Pack] = {"python": pack_spans_in_python}
if core is not None:
    SIDES["compiled"] = core.pack_spans


@pytest.fixture(params=SIDES.values(), ids=SIDES)
def side(request: pytest.FixtureRequest) -> Pack:
    return request.param  # type: ignore[no-any-return]


def batch_of(make: Callable[[Any], object]) -> Batch:
    buffer = Buffer(lambda _: None, lambda _: None, 1 << 30)
    make(NativeTracerProvider(buffer).get_tracer("test"))
    (batch,) = buffer.take()
    return batch


def many(tracer: Any) -> None:
    """Traces of three spans, all of one shape but for some, and some wider ones."""
    far = SpanContext(7, 8, is_remote=True, trace_state=TraceState([("a", "b")]))
    remote = set_span_in_context(NonRecordingSpan(far), Context())
    for number in range(700):
        context = remote if number % 7 == 3 else Context()
        with (
            tracer.start_as_current_span(f"job {number % 3}", context) as job,
            tracer.start_as_current_span("attempt", kind=SpanKind.CLIENT) as attempt,
        ):
            tracer.start_span("", attributes={"index": number}).end()
            attempt.set_attribute("text", "x" * (number % 5))
            if number % 10 == 0:
                attempt.add_event("event", {"a": 1})
                job.add_link(far)
    late = tracer.start_span("late", links=[Link(far)])
    tracer.start_span("child", set_span_in_context(late, Context())).end()
    late.end()


def heads_of(packed: Packed) -> Heads:
    return Heads(blob(packed.heads, packed.heads_random), packed.traces)


def bodies_of(packed: Packed) -> bytes:
    return blob(packed.bodies, packed.bodies_random)


def read(packed: Packed) -> tuple[Heads, bytes]:
    heads = heads_of(packed)
    return heads, spans_of(heads, bodies_of(packed), packed.ids)


def test_spans_come_back(side: Pack) -> None:
    batch = batch_of(many)
    heads, data = read(Packed(*side(batch.data, batch.headers)))
    assert data == batch.data
    assert heads.spans == batch.spans
    flags = [header.flags for header in headers(batch)]
    assert list(heads.flags) == flags
    assert heads.trace_ids == [header.trace_id for header in headers(batch)]
    assert list(heads.durations) == [header.duration for header in headers(batch)]


def test_both_sides_pack_the_same() -> None:
    if core is None:
        pytest.skip("without the compiled part there is one side")
    batch = batch_of(many)
    assert core.pack_spans(batch.data, batch.headers) == pack_spans_in_python(
        batch.data, batch.headers
    )


def test_the_roots_are_known_without_the_bodies(side: Pack) -> None:
    batch = batch_of(many)
    packed = Packed(*side(batch.data, batch.headers))
    roots = {trace.id: trace for trace in heads_of(packed).roots()}
    spans = ScopeSpans.FromString(batch.data).spans
    wanted = [
        span
        for span, header in zip(spans, headers(batch), strict=True)
        if header.flags & ROOT
    ]
    assert len(roots) == len({span.trace_id for span in wanted})
    for span in wanted:
        if span.trace_id != (7).to_bytes(16, "big"):  # of which there are several
            root = roots[span.trace_id.hex()]
            assert (root.name, root.start_ns) == (span.name, span.start_time_unix_nano)
            took = span.end_time_unix_nano - span.start_time_unix_nano
            assert root.duration == took / 1e9


def test_it_says_when_and_how_many_failed(side: Pack) -> None:
    def failing(tracer: Any) -> None:
        for _ in range(3):
            span = tracer.start_span("bad")
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    batch = batch_of(failing)
    packed = Packed(*side(batch.data, batch.headers))
    spans = ScopeSpans.FromString(batch.data).spans
    assert packed.start == min(span.start_time_unix_nano for span in spans)
    assert packed.end == max(span.end_time_unix_nano for span in spans)
    assert packed.failed == 3
    assert all(trace.failed for trace in heads_of(packed).roots())


def test_one_trace_is_read_alone(side: Pack) -> None:
    batch = batch_of(many)
    packed = Packed(*side(batch.data, batch.headers))
    heads = heads_of(packed)
    spans = ScopeSpans.FromString(batch.data).spans
    for wanted in {span.trace_id for span in spans}:
        data = spans_of(heads, bodies_of(packed), packed.ids, wanted)
        got = ScopeSpans.FromString(data).spans
        assert list(got) == [span for span in spans if span.trace_id == wanted]


_header = struct.Struct("<16sQIB3x").pack
_any_spans = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=90),
        st.sampled_from([bytes(16), b"t" * 16]),
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=8,
)


def cut_spans() -> Iterator[bytes]:
    """A span of ours, cut off everywhere."""
    batch = batch_of(lambda tracer: tracer.start_span("name").end())
    return (batch.data[:size] for size in range(1, len(batch.data)))


@given(spans=_any_spans)
def test_bytes_that_are_no_span_come_back_as_well(
    spans: list[tuple[bytes, bytes, int, int]],
) -> None:
    data = b"".join(span for span, *_ in spans)
    about = b"".join(
        _header(trace, duration, len(span), flags)
        for span, trace, duration, flags in spans
    )
    packed = {name: side(data, about) for name, side in SIDES.items()}
    for each in packed.values():
        assert read(Packed(*each))[1] == data
        assert tuple(each) == tuple(packed["python"])


def test_a_span_that_is_cut_off_comes_back(side: Pack) -> None:
    for span in cut_spans():
        for trace in (span[4:20].ljust(16, b"\0"), bytes(16)):
            about = _header(trace, 5, len(span), 0)
            assert read(Packed(*side(span, about)))[1] == span


def test_a_span_whose_flags_say_that_it_was_drawn_has_the_same_shape() -> None:
    # With a tracestate it is longer, and has its places elsewhere.
    far = SpanContext(
        7,
        8,
        is_remote=True,
        trace_flags=TraceFlags(1),
        trace_state=TraceState([("ot", "th:8")]),
    )
    remote = set_span_in_context(NonRecordingSpan(far), Context())
    batch = batch_of(lambda tracer: tracer.start_span("name", remote).end())
    packed = Packed(*pack_spans_in_python(batch.data, batch.headers))
    ((_, _, trace, parent, start),) = heads_of(packed).shapes
    assert 0 < trace < parent < start
    assert read(packed)[1] == batch.data


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_heads_that_are_cut_off_are_refused(cut: int) -> None:
    batch = batch_of(many)
    packed = Packed(*pack_spans_in_python(batch.data, batch.headers))
    with pytest.raises(ValueError, match="cut off"):
        Heads(blob(packed.heads[:-cut]), packed.traces)
    with pytest.raises(ValueError, match="cut off"):
        Heads(blob(packed.heads[:10]), packed.traces)


def test_a_name_behind_the_times_is_found_as_well(side: Pack) -> None:
    times = b"\x39" + (5).to_bytes(8, "little") + b"\x41" + (7).to_bytes(8, "little")
    ids = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8
    body = ids + times + b"\x30\x01\x85\x01\x00\x01\x00\x00\x2a\x04name"
    span = b"\x12" + bytes((len(body),)) + body
    packed = Packed(*side(span, _header(b"t" * 16, 2, len(span), ROOT)))
    assert [trace.name for trace in heads_of(packed).roots()] == ["name"]
    assert read(packed)[1] == span
