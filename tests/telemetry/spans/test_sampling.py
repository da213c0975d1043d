"""Tail sampling keeps what is worth it, all of it, and not a span more."""

import gc
import itertools
import random
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from tests.cost import rounds
from tests.forking import forking, needs_fork
from tests.telemetry.spans.tracing import Numbers, one

from spanrun import semconv
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.head import HeadSampler
from spanrun.telemetry.spans.provider import NativeTracerProvider
from spanrun.telemetry.spans.quantile import FEWEST, RunningQuantile
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.spans.sampling import TailSampling

DRAWN, UNDRAWN = (1 << 56) - 1, 0  # the last 56 bits of a trace id, at any ratio
SECOND = 1_000_000_000


class Ids(Numbers):
    """Trace ids whose last 56 bits are as wished."""

    def __init__(self) -> None:
        super().__init__()
        self.randomness = itertools.repeat(UNDRAWN)

    def generate_trace_id(self) -> int:
        return self._next() << 56 | next(self.randomness)


class Stage:
    """A provider, the stage behind it, and what comes out."""

    def __init__(self, ratio: float = 0.5, **options: Any) -> None:
        self.kept: list[Recorded] = []
        self.out = 0
        self.ids = Ids()
        self.tail = TailSampling(self.kept.append, sampled_out=self._count, **options)
        self.provider = NativeTracerProvider(
            self.tail,
            sampler=HeadSampler(ratio, opened=self.tail.opened),
            resource=Resource.get_empty(),
            id_generator=self.ids,
            takes="recorded",
        )
        self.tracer = self.provider.get_tracer("test")

    def _count(self, spans: int) -> None:
        self.out += spans

    def root(self, name: str = "root", *, drawn: bool = False, **more: Any) -> Any:
        self.ids.randomness = itertools.repeat(DRAWN if drawn else UNDRAWN)
        return self.tracer.start_span(name, Context(), start_time=0, **more)

    def below(self, parent: Span, name: str = "child", **more: Any) -> Any:
        return self.tracer.start_span(
            name, set_span_in_context(parent, Context()), start_time=0, **more
        )

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.kept]

    def reasons(self) -> dict[str, Any]:
        return {
            span.name: span.attributes.get(semconv.SPANRUN_SAMPLING_REASON)
            for span in self.kept
        }


def caller(trace_id: int = 1 << 100, *, sampled: bool = False) -> Span:
    """A span of another process."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(trace_id, 5, is_remote=True, trace_flags=flags))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def fail(span: Span) -> None:
    span.set_status(StatusCode.ERROR)


def retry(span: Span) -> None:
    span.add_event(semconv.EVENT_SPANRUN_JOB_RETRY)


def attempts(span: Span) -> None:
    span.set_attribute(semconv.SPANRUN_JOB_ATTEMPTS, 2)


def attempts_in_row(span: Any) -> None:
    columns = Columns(few=("a",), ints=(semconv.SPANRUN_JOB_ATTEMPTS,))
    span.row = columns, ("x", 3)


def resend(span: Span) -> None:
    span.set_attribute(semconv.HTTP_REQUEST_RESEND_COUNT, 1)


REASONS = {
    fail: "error",
    retry: "retried",
    attempts: "retried",
    attempts_in_row: "retried",
    resend: "retried",
}


# What is kept


@pytest.mark.parametrize(("happen", "reason"), REASONS.items())
@pytest.mark.parametrize("place", ["root", "child", "grandchild"])
def test_a_trace_in_which_something_happened_is_kept_whole(
    stage: Stage, happen: Any, reason: str, place: str
) -> None:
    root = stage.root()
    child = stage.below(root)
    grandchild = stage.below(child, "grandchild")
    happen({"root": root, "child": child, "grandchild": grandchild}[place])
    sibling = stage.below(root, "sibling")
    for span in (sibling, grandchild, child, root):
        span.end(1)
    assert stage.names == ["sibling", "grandchild", "child", "root"]
    assert stage.reasons().pop("root") == reason
    assert stage.out == 0


def test_an_ordinary_trace_is_sampled_out_and_counted(stage: Stage) -> None:
    root = stage.root()
    for _ in range(3):
        stage.below(root).end(1)
    assert (stage.kept, stage.out) == ([], 0)
    root.end(1)
    assert (stage.kept, stage.out) == ([], 4)


def test_a_drawn_trace_passes_at_once(stage: Stage) -> None:
    root = stage.root(drawn=True)
    stage.below(root).end(1)
    assert stage.names == ["child"]
    root.end(1)
    assert stage.names == ["child", "root"]
    assert stage.out == 0


def test_only_what_was_drawn_has_a_threshold(stage: Stage) -> None:
    for drawn in (True, False):
        root = stage.root(str(drawn), drawn=drawn)
        fail(root)
        root.end(1)
    drawn, kept = stage.kept
    assert one(drawn).trace_state == "ot=th:8"
    assert one(kept).trace_state == ""
    assert stage.reasons() == {"True": None, "False": "error"}


def test_first_try_is_no_retry(stage: Stage) -> None:
    attributes: dict[str, Any] = {semconv.SPANRUN_JOB_ATTEMPTS: 1}
    attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = 0
    stage.root(attributes=attributes).end(1)
    assert stage.out == 1


def test_a_root_over_the_threshold_is_slow() -> None:
    stage = Stage(slow=2.0)
    for seconds in (1.999, 2.0):
        root = stage.root(str(seconds))
        stage.below(root, f"below {seconds}").end(9 * SECOND)  # a child may be slow
        root.end(int(seconds * SECOND))
    assert stage.names == ["below 2.0", "2.0"]
    assert stage.reasons()["2.0"] == "slow"
    assert stage.out == 2


def test_a_root_above_the_99th_percentile_of_its_name_is_slow(stage: Stage) -> None:
    draw = random.Random(1)
    for n in range(1_000):
        stage.root("quick", drawn=n % 2 == 0).end(int(draw.uniform(1, 1.05) * SECOND))
    undrawn = [span for span in stage.kept if span.trace_id & DRAWN == UNDRAWN]
    assert undrawn == []
    stage.kept.clear()
    stage.root("quick").end(2 * SECOND)
    stage.root("slow by nature").end(100 * SECOND)
    assert stage.reasons() == {"quick": "slow"}


def test_the_percentile_follows_a_service_that_gets_slower(stage: Stage) -> None:
    for _ in range(3_000):
        stage.root().end(SECOND)
    for _ in range(1_000):
        stage.root().end(3 * SECOND)
    assert len(stage.kept) <= 100


def test_many_names_are_forgotten(stage: Stage) -> None:
    for n in range(10_000):
        stage.root(f"GET /{n}").end(SECOND)
    assert len(stage.tail._worth._durations) <= 256


# Pins


def test_a_pinned_trace_is_kept_from_its_first_span(stage: Stage) -> None:
    root = stage.root()
    stage.below(root, "before").end(1)
    assert stage.tail.pin(root.get_span_context())
    assert stage.names == ["before"]
    stage.below(root, "after").end(1)
    root.end(1)
    assert stage.names == ["before", "after", "root"]
    assert stage.reasons()["root"] == "exemplar"
    assert stage.tail.pin(root.get_span_context())  # again, when it has gone


def test_a_pin_may_come_before_any_span_has_ended(stage: Stage) -> None:
    root = stage.root()
    assert stage.tail.pin(root.get_span_context())
    root.end(1)
    assert stage.names == ["root"]


def test_a_pin_that_comes_too_late_says_so(stage: Stage) -> None:
    root = stage.root()
    root.end(1)
    assert not stage.tail.pin(root.get_span_context())
    assert (stage.kept, stage.out) == ([], 1)


def test_a_drawn_trace_needs_no_pin(stage: Stage) -> None:
    root = stage.root(drawn=True)
    assert stage.tail.pin(root.get_span_context())
    assert not stage.tail._open


# Late spans, and traces that come more than once


@pytest.mark.parametrize("keep", [True, False])
def test_a_late_span_follows_its_trace(stage: Stage, keep: bool) -> None:  # noqa: FBT001
    root = stage.root()
    late = stage.below(root, "late")
    if keep:
        fail(root)
    root.end(1)
    late.end(2)
    assert stage.names == (["root", "late"] if keep else [])
    assert stage.out == (0 if keep else 2)


def test_a_late_failure_is_kept_for_itself(stage: Stage) -> None:
    root = stage.root()
    late, later = stage.below(root, "late"), stage.below(root, "later")
    fail(late)
    for span in (root, late, later):
        span.end(1)
    assert stage.names == ["late", "later"]
    assert stage.out == 1


def test_calls_of_one_trace_are_decided_upon_one_by_one(stage: Stage) -> None:
    for number in range(3):
        root = stage.below(caller(), f"call {number}")
        stage.below(root, f"below {number}").end(1)
        if number == 1:
            fail(root)
        root.end(1)
    assert stage.names == ["below 1", "call 1", "below 2", "call 2"]
    assert stage.out == 2


def test_calls_of_one_trace_at_the_same_time_are_kept_together(stage: Stage) -> None:
    first, second = stage.below(caller(), "first"), stage.below(caller(), "second")
    stage.below(first, "below first").end(1)
    first.end(1)
    assert stage.kept == []
    fail(second)
    second.end(1)
    assert stage.names == ["below first", "first", "second"]
    assert not stage.tail._open


@pytest.mark.parametrize("sampled", [True, False])
def test_a_caller_decides_whether_its_trace_is_drawn(
    stage: Stage,
    sampled: bool,  # noqa: FBT001
) -> None:
    for number in range(2):
        trace = caller(number << 100 | DRAWN, sampled=sampled)
        root = stage.below(trace, str(number))
        assert root.get_span_context().trace_flags.sampled is sampled
        if number:
            fail(root)
        root.end(1)
    assert stage.names == (["0", "1"] if sampled else ["1"])


# Bounds


def test_when_too_many_spans_wait_the_oldest_trace_is_given_up() -> None:
    stage = Stage(max_spans=10)
    roots = [stage.root(f"root {n}") for n in range(4)]
    for root in roots:
        for _ in range(3):
            stage.below(root).end(1)
    assert (stage.tail._waiting, stage.out) == (9, 3)
    for root in roots:
        fail(root)
        root.end(1)
    assert Counter(stage.names) == {"child": 9, **{f"root {n}": 1 for n in range(4)}}
    assert stage.tail._waiting == 0


def test_a_giant_trace_keeps_what_fits_when_it_fails() -> None:
    stage = Stage(max_spans=100)
    root = stage.root()
    for _ in range(1_050):
        stage.below(root).end(1)
    fail(root)
    root.end(1)
    assert stage.names[-1] == "root"
    assert len(stage.kept) + stage.out == 1_051
    assert 1 < len(stage.kept) <= 101


@pytest.mark.slow
def test_a_million_open_traces_take_little_memory() -> None:
    out = 0

    def count(spans: int) -> None:
        nonlocal out
        out += spans

    tail = TailSampling(lambda _: None, sampled_out=count)
    span = Stage().below(caller())
    for trace_id in range(1, 1_000_001):
        if trace_id == 970_000:
            tracemalloc.start()
        shared = span.origin, trace_id.to_bytes(16), bytes(8), bytes(8), span.inherited
        orphan = Recorded(*shared, "a", SpanKind.INTERNAL, 0, {})
        orphan.end_ns = 1
        tail(orphan)
        if trace_id % 10 == 0:
            tail.pin(SpanContext(trace_id << 64, 1, is_remote=False))
    used, _ = tracemalloc.get_traced_memory()  # of three times what is kept
    tracemalloc.stop()
    assert len(tail._open) == 10_000
    assert len(tail._closed) + len(tail._closed_before) <= 20_000
    assert used < 15 * 1024 * 1024  # measured: 3.9
    tail.close()
    assert out == 1_000_000


def test_closing_samples_out_what_waits_and_what_comes(stage: Stage) -> None:
    root, other = stage.root(), stage.root("other")
    stage.below(root).end(1)
    stage.tail.close()
    assert stage.out == 1
    stage.below(root).end(1)
    fail(other)
    for span in (root, other):
        span.end(1)
    assert stage.names == ["other"]
    assert stage.out == 3


FORKS = """
from tests.telemetry.spans.test_sampling import Stage, fail

stage = Stage()
root = stage.root()
stage.below(root).end(1)

def work():
    other = stage.root("other")
    for span in (root, other):
        fail(span)
        span.end(1)
    return stage.names == ["other"]

with stage.tail._at_work:  # as by a thread that the child will not have
    child = child_of(work)
assert status_of(child) == 0
"""


@needs_fork
def test_a_child_process_leaves_what_waits_to_its_parent() -> None:
    with forking(FORKS):
        pass


# All of it together


@dataclass
class Plan:
    """What is to happen in one trace."""

    drawn: bool
    spans: int
    happens: dict[int, Any]
    pinned: bool
    slow: bool
    ended: list[Any] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        return self.drawn or self.pinned or self.slow or bool(self.happens)


plans = st.builds(
    lambda drawn, spans, happens, pinned, slow: Plan(
        drawn, spans, {at % spans: what for at, what in happens.items()}, pinned, slow
    ),
    st.booleans(),
    st.integers(1, 4),
    st.dictionaries(st.integers(0, 3), st.sampled_from(list(REASONS)), max_size=1),
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
)


@settings(max_examples=200)
@given(st.lists(plans, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_kept_is_errors_slow_retried_pinned_and_drawn(
    planned: list[Plan], order: random.Random
) -> None:
    stage = Stage(slow=10.0)
    steps: list[tuple[Plan, Any]] = []
    for plan in planned:
        spans = [stage.root(drawn=plan.drawn)]
        spans += [stage.below(order.choice(spans)) for _ in range(plan.spans - 1)]
        for at, happen in plan.happens.items():
            happen(spans[at])
        plan.ended = spans
        own = [(plan, span) for span in spans[1:]]
        order.shuffle(own)
        if plan.pinned:
            own.insert(order.randrange(len(own) + 1), (plan, None))
        steps.append(own)  # type: ignore[arg-type]
    while any(steps):
        own = order.choice([each for each in steps if each])  # type: ignore[assignment]
        plan, span = own.pop(0)
        if span is None:
            assert stage.tail.pin(plan.ended[0].get_span_context())
        else:
            span.end(1)
        if not own:
            plan.ended[0].end(10 * SECOND if plan.slow else SECOND)
    for plan in planned:
        if not (plan.spans > 1 or plan.pinned):
            plan.ended[0].end(10 * SECOND if plan.slow else SECOND)
    wanted = {id(span) for plan in planned if plan.is_kept for span in plan.ended}
    assert {id(span) for span in stage.kept} == wanted
    assert len(stage.kept) == len(wanted)
    assert stage.out == sum(plan.spans for plan in planned) - len(wanted)
    assert not stage.tail._open
    assert stage.tail._waiting == 0


def test_threads_lose_nothing_and_keep_nothing_twice() -> None:
    stage = Stage(ratio=0.5)
    failed = [0] * 8
    drawn = [0] * 8

    def work(number: int) -> None:
        ids = random.Random(number)
        for _ in range(300):
            trace_id = ids.getrandbits(128)
            flag = trace_id & DRAWN >= 1 << 55
            root = stage.below(caller(trace_id, sampled=flag), f"{number}")
            stage.below(root, f"{number}").end(1)
            if ids.random() < 0.2:
                fail(root)
                failed[number] += not flag
            drawn[number] += flag
            stage.tail.pin(caller(trace_id | 1).get_span_context())
            root.end(1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = Counter(span.name for span in stage.kept)
    assert kept.total() + stage.out == 8 * 300 * 2
    assert len({id(span) for span in stage.kept}) == kept.total()
    for n in range(8):
        assert kept[str(n)] >= 2 * (failed[n] + drawn[n])


def test_a_pin_that_returned_true_holds_whichever_thread_ends_the_trace() -> None:
    stage = Stage()
    roots = [stage.root(str(n)) for n in range(2_000)]
    pinned: list[int] = []

    def pin() -> None:
        pinned.extend(
            n for n, root in enumerate(roots) if stage.tail.pin(root.get_span_context())
        )

    thread = threading.Thread(target=pin)
    thread.start()
    for root in roots:
        root.end(1)
    thread.join()
    stage.tail.close()
    assert {str(n) for n in pinned} == set(stage.names)
    assert len(stage.kept) + stage.out == 2_000


def test_a_span_that_the_garbage_collector_ends_in_the_middle() -> None:
    """A generator left alone holds an open span, and goes away at any moment."""
    stage = Stage()
    inner = stage.root("inner")

    def left_alone() -> Any:
        try:
            yield
        finally:
            fail(inner)
            inner.end(1)
            assert not stage.tail.pin(stage.root().get_span_context())

    generator = left_alone()
    next(generator)

    class Nasty(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal generator
            generator = None
            gc.collect()
            return default

    outer = stage.root("outer")
    outer.raw = Nasty()
    outer.end(1)
    assert stage.names == ["inner"]
    assert stage.out == 1


def test_what_the_sink_raises_costs_no_other_span() -> None:
    failures: list[Exception] = []
    kept: list[str] = []

    def sink(span: Recorded) -> None:
        if span.name == "child":
            raise OSError("full")
        kept.append(span.name)

    stage = Stage(failed=failures.append)
    stage.tail._sink = sink  # type: ignore[misc]
    root = stage.root()
    stage.below(root).end(1)
    stage.below(root, "other").end(1)
    fail(root)
    root.end(1)
    assert kept == ["other", "root"]
    assert [str(error) for error in failures] == ["full"]


class Evil:
    def __eq__(self, _: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("time_", [float("nan"), float("inf"), "noon", -5, 10**400])
def test_nonsense_in_a_span_harms_nobody(stage: Stage, time_: Any) -> None:
    root = stage.root()
    root.span_name = Evil()
    root.start_ns = time_
    root.raw = {semconv.SPANRUN_JOB_ATTEMPTS: "many"}
    root.add_event(Evil())
    root.end(1)
    assert stage.out == 1
    stage.root("fine").end(1)
    assert stage.out == 2


# Cost


def test_a_drawn_span_costs_next_to_nothing(stage: Stage) -> None:
    span = stage.below(stage.root(drawn=True))
    stage.tail._sink = lambda _: None  # type: ignore[misc]

    def work() -> None:
        for _ in range(10_000):
            stage.tail(span)

    assert rounds(work) < 10_000 * 80  # measured: 5, which is 0.12 µs


# The quantile


@given(st.lists(st.floats(1e-6, 1e3), min_size=FEWEST, max_size=400))
def test_the_quantile_is_between_the_values_and_a_little_above(
    values: list[float],
) -> None:
    quantile = RunningQuantile(0.9)
    for value in values[:FEWEST]:
        quantile.add(value)
    ordered = sorted(values[:FEWEST])
    exact = ordered[int(0.9 * FEWEST) - 1]
    assert exact * 0.999 <= quantile.value <= ordered[-10] * 1.1


def test_nothing_is_above_a_quantile_that_is_not_known() -> None:
    quantile = RunningQuantile(0.99)
    for _ in range(FEWEST - 1):
        quantile.add(1)
    assert quantile.value == float("inf")


def test_about_one_in_a_hundred_is_above() -> None:
    quantile, draw = RunningQuantile(0.99), random.Random(3)
    above = 0
    for _ in range(50_000):
        value = draw.lognormvariate(0, 1)
        above += value > quantile.value
        quantile.add(value)
    assert 0.005 < above / 50_000 < 0.015


# Through the environment, in a program of its own

PROGRAM = """
async def some_fail(number):
    if number % 10 == 0:
        raise ValueError(number)

async def main():
    async with sr.Runner("work", limit=4) as runner:
        await runner.map(some_fail, range(20), errors="collect", trace="linked")

sr.configure()
sr.run(main())
assert sr.shutdown()
"""


@pytest.mark.parametrize(
    ("sampler", "argument", "kept"),
    [
        ("always_on", "", 21),
        ("parentbased_always_on", "", 21),
        ("traceidratio", "1", 21),
        ("parentbased_traceidratio", "1", 21),
        ("traceidratio", "0", 2),
        ("parentbased_traceidratio", "0", 2),
        ("always_off", "", 0),
        ("parentbased_always_off", "", 0),
    ],
)
def test_a_program_samples_as_the_environment_says_and_counts_all(
    collector: Any, run_program: Any, sampler: str, argument: str, kept: int
) -> None:
    ended = run_program(
        PROGRAM,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument,
    )
    assert not ended.code, ended.err
    spans = collector.spans()
    assert len(spans) == kept
    if kept == 2:
        assert {span.status.code for span in spans} == {2}
    newest = {
        labels[semconv.SPANRUN_JOB_OUTCOME]: point.as_int or point.as_double
        for labels, point in collector.points("spanrun.jobs")
        if point.as_int or point.as_double
    }
    assert newest == {"ok": 18, "failed": 2}
    left_out = [
        point.as_int
        for labels, point in collector.points("spanrun.telemetry.items")
        if labels[semconv.SPANRUN_TELEMETRY_RESULT] == "sampled_out"
    ]
    assert left_out[-1:] == ([19] if kept == 2 else [])
