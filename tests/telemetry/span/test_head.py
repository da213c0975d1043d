"""`HeadSampler` draws as OpenTelemetry's consistent probability sampling says."""

import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_parent_threshold,
    composable_traceid_ratio_based,
    composite_sampler,
)
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from tests.telemetry.span.tracing import Box

from spanrun.errors import ConfigurationError
from spanrun.telemetry.span.head import HeadSampler
from spanrun.telemetry.span.provider import NativeTracerProvider

HALF = 1 << 55
NOBODY = Context()

ratios = st.floats(2**-50, 1) | st.sampled_from([1.0, 0.5, 0.25, 0.1, 0.001])
trace_ids = st.integers(1, 2**128 - 1)
states = st.sampled_from(
    [
        None,
        TraceState([("vendor", "x")]),
        TraceState([("ot", "th:8")]),
        TraceState([("ot", "rv:80000000000000")]),
        TraceState([("ot", "th:4;rv:7fffffffffffff;k1:13")]),
        TraceState([("vendor", "x"), ("ot", "k1:13")]),
    ]
)


def below(trace_id: int, state: TraceState | None, *, sampled: bool) -> Context:
    """A context in which the current span is one of another process."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = SpanContext(
        trace_id, 5, is_remote=True, trace_flags=flags, trace_state=state
    )
    return set_span_in_context(NonRecordingSpan(span), Context())


def ask(sampler: Any, context: Context, trace_id: int) -> SamplingResult:
    (span,) = list(context.values()) or [None]
    state = span.get_span_context().trace_state if span else None  # type: ignore[attr-defined]
    return sampler.should_sample(context, trace_id, "a", trace_state=state)  # type: ignore[no-any-return]


def th(result: SamplingResult) -> str:
    return (result.trace_state or {}).get("ot", "")


def members(result: SamplingResult) -> set[str]:
    """The ``ot`` entry and the others', whose order says nothing."""
    state = dict(result.trace_state or {})
    return {*state.pop("ot", "").split(";"), *state} - {""}


@given(ratios, trace_ids)
def test_a_root_is_drawn_as_the_sdk_draws_it(ratio: float, trace_id: int) -> None:
    ours = ask(HeadSampler(ratio), NOBODY, trace_id)
    theirs = ask(
        composite_sampler(composable_traceid_ratio_based(ratio)), NOBODY, trace_id
    )
    assert ours.decision.is_sampled() == theirs.decision.is_sampled()
    assert th(ours) == th(theirs)


@given(ratios, trace_ids, states, st.sampled_from([0, 1]))
def test_a_parent_in_another_process_is_followed(
    ratio: float, trace_id: int, state: TraceState | None, flag: int
) -> None:
    result = ask(
        HeadSampler(ratio), below(trace_id, state, sampled=bool(flag)), trace_id
    )
    assert result.decision.is_sampled() == flag
    assert result.decision.is_recording()


@given(ratios, trace_ids, states)
def test_a_parent_that_is_right_is_followed_as_the_sdk_does(
    ratio: float, trace_id: int, state: TraceState | None
) -> None:
    """Where it contradicts itself the SDK goes by its number, we by its flag."""
    context = below(trace_id, state, sampled=True)
    ours = ask(HeadSampler(ratio), context, trace_id)
    root = composable_traceid_ratio_based(ratio)
    theirs = ask(
        composite_sampler(composable_parent_threshold(root)), context, trace_id
    )
    if theirs.decision.is_sampled():
        assert members(ours) == members(theirs)
    else:
        assert not any(each.startswith("th:") for each in members(ours))


@given(ratios, trace_ids, states, st.sampled_from([0, 1]))
def test_without_following_each_process_draws_as_the_sdk_does(
    ratio: float, trace_id: int, state: TraceState | None, flag: int
) -> None:
    context = below(trace_id, state, sampled=bool(flag))
    ours = ask(HeadSampler(ratio, parent_based=False), context, trace_id)
    theirs = ask(
        composite_sampler(composable_traceid_ratio_based(ratio)), context, trace_id
    )
    assert ours.decision.is_sampled() == theirs.decision.is_sampled()
    if ours.decision.is_sampled():
        assert members(ours) == members(theirs)
    else:
        assert not any(each.startswith("th:") for each in members(ours))


@given(ratios, ratios, trace_ids)
def test_the_lower_ratio_draws_from_what_the_higher_draws(
    one: float, other: float, trace_id: int
) -> None:
    lower, higher = sorted((one, other))
    if ask(HeadSampler(lower), NOBODY, trace_id).decision.is_sampled():
        assert ask(HeadSampler(higher), NOBODY, trace_id).decision.is_sampled()


@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.5, 0.9])
def test_about_the_ratio_is_drawn(ratio: float) -> None:
    sampler, ids = HeadSampler(ratio), random.Random(7)
    n = 20_000
    drawn = sum(
        ask(sampler, NOBODY, ids.getrandbits(128)).decision.is_sampled()
        for _ in range(n)
    )
    assert abs(drawn / n - ratio) < 5 * (ratio * (1 - ratio) / n) ** 0.5


@given(trace_ids)
def test_a_ratio_of_0_draws_nothing_and_1_all(trace_id: int) -> None:
    assert ask(HeadSampler(0), NOBODY, trace_id).decision is Decision.RECORD_ONLY
    everything = ask(HeadSampler(1), NOBODY, trace_id)
    assert everything.decision.is_sampled()
    assert th(everything) == "th:0"


@pytest.mark.parametrize(
    ("ratio", "threshold"),
    [(1, "0"), (0.5, "8"), (0.25, "c"), (0.01, "fd70a3d70a3d71"), (2**-56, "f" * 14)],
)
def test_the_threshold_is_written_as_the_specification_has_it(
    ratio: float, threshold: str
) -> None:
    assert f"th={threshold}," in HeadSampler(ratio).get_description()
    assert th(ask(HeadSampler(ratio), NOBODY, 2**56 - 1)) == f"th:{threshold}"


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_ratio_must_be_one(ratio: float) -> None:
    with pytest.raises(ConfigurationError, match=r"ratio=.*: must be between 0 and 1"):
        HeadSampler(ratio)


def test_a_threshold_that_cannot_be_right_is_erased() -> None:
    for wrong in ("th:zz", "th:", "th:123456789abcdef", "th:9"):
        state = TraceState([("ot", f"{wrong};k1:13"), ("vendor", "x")])
        result = ask(HeadSampler(0.5), below(HALF, state, sampled=True), HALF)
        assert result.decision.is_sampled()
        assert dict(result.trace_state or {}) == {"ot": "k1:13", "vendor": "x"}


def test_a_tracestate_is_left_alone_when_there_is_no_room_for_the_threshold() -> None:
    full = TraceState([("ot", "k1:" + "x" * 252)])
    sampler = HeadSampler(0.5, parent_based=False)
    result = ask(sampler, below(HALF, full, sampled=False), HALF)
    assert result.decision.is_sampled()
    assert result.trace_state == full


def test_the_spans_of_a_trace_have_its_decision_and_threshold() -> None:
    sampler = HeadSampler(0.5)
    for processors in (0, 1):
        box = Box(sampler=sampler)
        for _ in range(processors):
            box.add_span_processor(_Nothing())  # then each span is asked for
        for _ in range(20):
            root = box.start(context=Context())
            child = box.below(root)
            grandchild = box.below(child)
            contexts = [each.get_span_context() for each in (root, child, grandchild)]
            drawn = contexts[0].trace_id & (2 * HALF - 1) >= HALF
            for context in contexts:
                assert context.trace_flags.sampled == drawn
                assert dict(context.trace_state) == ({"ot": "th:8"} if drawn else {})


class _Nothing:
    def on_start(self, *_: Any, **__: Any) -> None: ...
    def on_end(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    "name",
    ["", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off"],
)
def test_a_sampler_that_draws_nothing_is_left_to_the_sdk(name: str) -> None:
    assert HeadSampler.of({"OTEL_TRACES_SAMPLER": name}) is None
    assert HeadSampler.of({}) is None


@pytest.mark.parametrize(
    ("name", "parent_based"),
    [
        ("traceidratio", False),
        ("parentbased_traceidratio", True),
        (" TraceIdRatio ", False),
    ],
)
def test_a_ratio_comes_from_the_environment(name: str, *, parent_based: bool) -> None:
    environ = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": " 0.25 "}
    sampler = HeadSampler.of(environ)
    assert sampler is not None
    assert sampler.ratio == 0.25
    unsampled = ask(sampler, below(3 * HALF, None, sampled=False), 2 * HALF - 1)
    assert unsampled.decision.is_sampled() is not parent_based


def test_without_a_ratio_all_traces_are_drawn(caplog: pytest.LogCaptureFixture) -> None:
    sampler = HeadSampler.of({"OTEL_TRACES_SAMPLER": "traceidratio"})
    assert sampler is not None
    assert sampler.ratio == 1
    assert not caplog.records


@pytest.mark.parametrize("said", ["often", "2", "-1", "nan"])
def test_a_ratio_that_is_none_is_told(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": said}
    sampler = HeadSampler.of(environ)
    assert sampler is not None
    assert sampler.ratio == 1
    assert f"OTEL_TRACES_SAMPLER_ARG='{said}'" in caplog.text


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The API warns of a tracestate that it takes and gives back unchanged."""
    with caplog.at_level(logging.WARNING):
        yield


def test_the_provider_takes_it() -> None:
    provider = NativeTracerProvider(sampler=HeadSampler(0.5))
    assert provider.sampler.get_description().startswith("HeadSampler{")
