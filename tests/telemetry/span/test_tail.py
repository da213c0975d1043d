"""Tail sampling keeps whole traces, for a reason, and not a span more."""

import random
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import StatusCode, set_span_in_context
from tests.telemetry.span.making import (
    Box,
    Numbers,
    attributes_of,
    by_failed,
    messages,
    names,
    tail_of,
)
from tests.telemetry.span.making import remote as caller

from spanrun import semconv
from spanrun.telemetry.span.fallback import ERROR, EXEMPLAR, RETRIED, ROOT, SLOW

HALF = 1 << 55
DRAWN, UNDRAWN = (1 << 56) - 1, 0  # the last 56 bits of a trace id, at any ratio
SECOND = 1_000_000_000
REASON = semconv.SPANRUN_SAMPLING_REASON


class Stage(Box):
    """A scope that draws half of the traces, and the tail behind it."""

    def __init__(self, part: Any, **given: Any) -> None:
        self.out = 0
        self.over: Counter[str] = Counter()
        self.ids = Numbers()
        self.tail = tail_of(part, self._count, reason_key=REASON, **given)
        super().__init__(part, tail=self.tail, ids=self.ids)
        self.ours.threshold = HALF
        self.kept: list[Any] = []

    def _count(self, spans: int, reason: str) -> None:
        self.out += spans
        self.over[reason] += spans

    def root(self, name: str = "root", *, drawn: bool = False, **more: Any) -> Any:
        self.ids.randomness = DRAWN if drawn else UNDRAWN
        return self.start(name, start_time=0, **more)

    def child(self, parent: Any, name: str = "child") -> Any:
        context = set_span_in_context(parent, Context())
        return self.start(name, context, start_time=0)

    def arrived(self) -> list[str]:
        """The names of all that have arrived by now; failed ones first in a batch."""
        self.kept += self.take()
        return names(self.kept)

    def reasons(self) -> dict[str, Any]:
        self.arrived()
        return {span.name: attributes_of(span).get(REASON) for span in self.kept}


@pytest.fixture
def stage(part: Any) -> Stage:
    return Stage(part)


def fail(span: Any) -> None:
    span.set_status(StatusCode.ERROR)


def retry(span: Any) -> None:
    span.mark(RETRIED)


REASONS = {fail: "error", retry: "retried"}


# What is kept


@pytest.mark.parametrize(("happen", "reason"), REASONS.items())
@pytest.mark.parametrize("place", ["root", "child", "grandchild"])
def test_a_trace_in_which_something_happened_is_kept_whole(
    stage: Stage, happen: Any, reason: str, place: str
) -> None:
    root = stage.root()
    child = stage.child(root)
    grandchild = stage.child(child, "grandchild")
    happen({"root": root, "child": child, "grandchild": grandchild}[place])
    sibling = stage.child(root, "sibling")
    for span in (sibling, grandchild, child, root):
        span.end(1)
    assert sorted(stage.arrived()) == ["child", "grandchild", "root", "sibling"]
    assert stage.reasons() == {
        "root": reason,
        **dict.fromkeys(("child", "grandchild", "sibling")),
    }
    assert stage.out == 0


def test_what_is_kept_arrives_in_the_order_of_the_ends(stage: Stage) -> None:
    root = stage.root()
    for number in range(5):
        stage.child(root, str(number)).end(1)
    root.mark(RETRIED)
    root.end(1)
    assert stage.arrived() == [*"01234", "root"]


def test_an_ordinary_trace_is_left_out_and_counted(stage: Stage) -> None:
    root = stage.root()
    for _ in range(3):
        stage.child(root).end(1)
    assert (stage.arrived(), stage.out) == ([], 0)
    root.end(1)
    assert (stage.arrived(), stage.out) == ([], 4)


def test_a_drawn_trace_passes_at_once(stage: Stage) -> None:
    root = stage.root(drawn=True)
    stage.child(root).end(1)
    assert stage.arrived() == ["child"]
    root.end(1)
    assert stage.arrived() == ["child", "root"]
    assert stage.out == 0


def test_only_what_was_drawn_is_called_sampled_and_has_no_reason(stage: Stage) -> None:
    for drawn in (True, False):
        root = stage.root(str(drawn), drawn=drawn)
        assert root.get_span_context().trace_flags.sampled is drawn
        fail(root)
        root.end(1)
    assert stage.reasons() == {"True": None, "False": "error"}


def test_a_root_over_the_threshold_is_slow(part: Any) -> None:
    stage = Stage(part, slow=2.0)
    for seconds in (1.999, 2.0):
        root = stage.root(str(seconds))
        stage.child(root, f"below {seconds}").end(9 * SECOND)  # a child may be slow
        root.end(int(seconds * SECOND))
    assert stage.arrived() == ["below 2.0", "2.0"]
    assert stage.reasons()["2.0"] == "slow"
    assert stage.out == 2


def test_a_root_above_the_99th_percentile_of_its_name_is_slow(stage: Stage) -> None:
    draw = random.Random(1)
    for n in range(1_000):
        stage.root("quick", drawn=n % 2 == 0).end(int(draw.uniform(1, 1.05) * SECOND))
    assert len(stage.arrived()) == 500
    stage.kept.clear()
    stage.root("quick").end(2 * SECOND)
    stage.root("slow by nature").end(100 * SECOND)
    assert stage.reasons() == {"quick": "slow"}


def test_drawn_roots_alone_tell_what_is_slow(stage: Stage) -> None:
    for _ in range(200):
        stage.root("quick", drawn=True).end(SECOND)
    stage.arrived()
    stage.kept.clear()
    stage.root("quick").end(2 * SECOND)
    assert stage.reasons() == {"quick": "slow"}


def test_the_percentile_follows_a_service_that_gets_slower(stage: Stage) -> None:
    for _ in range(3_000):
        stage.root().end(SECOND)
    for _ in range(1_000):
        stage.root().end(3 * SECOND)
    assert len(stage.arrived()) <= 100


# Pins


def test_a_pinned_trace_is_kept_from_its_first_span(stage: Stage) -> None:
    root = stage.root()
    stage.child(root, "before").end(1)
    assert root.pin()
    assert stage.arrived() == ["before"]
    stage.child(root, "after").end(1)
    root.end(1)
    assert stage.arrived() == ["before", "after", "root"]
    assert stage.reasons()["root"] == "exemplar"
    assert root.pin()  # again, when it has gone


def test_a_pin_that_comes_too_late_says_so(stage: Stage) -> None:
    root = stage.root()
    root.end(1)
    assert not root.pin()
    assert (stage.arrived(), stage.out) == ([], 1)


def test_a_drawn_trace_needs_no_pin(stage: Stage) -> None:
    root = stage.root(drawn=True)
    assert root.pin()
    root.end(1)
    assert root.pin()
    assert stage.reasons() == {"root": None}


def test_a_child_can_pin_its_trace(stage: Stage) -> None:
    root = stage.root()
    assert stage.child(root).pin()
    root.end(1)
    assert stage.reasons() == {"root": "exemplar"}


# Late spans, and traces that come more than once


@pytest.mark.parametrize("keep", [True, False])
def test_a_late_span_follows_its_trace(stage: Stage, *, keep: bool) -> None:
    root = stage.root()
    late = stage.child(root, "late")
    if keep:
        fail(root)
    root.end(1)
    late.end(2)
    later = stage.child(root, "begun after its end")
    later.end(3)
    assert len(stage.arrived()) == (3 if keep else 0)
    assert stage.out == (0 if keep else 3)


def test_a_late_failure_is_kept_for_itself(stage: Stage) -> None:
    root = stage.root()
    late, later = stage.child(root, "late"), stage.child(root, "later")
    fail(late)
    for span in (root, late, later):
        span.end(1)
    assert stage.arrived() == ["late", "later"]
    assert stage.out == 1


def test_calls_of_one_trace_are_decided_upon_one_by_one(stage: Stage) -> None:
    for number in range(3):
        root = stage.child(caller(flags=0), f"call {number}")
        stage.child(root, f"below {number}").end(1)
        if number == 1:
            fail(root)
        root.end(1)
        stage.arrived()
    kept = {"below 1", "call 1"}
    # What comes after a kept one of the same trace may be kept as well.
    assert kept <= set(stage.arrived()) <= {*kept, "below 2", "call 2"}
    assert stage.out + len(stage.kept) == 6


def test_calls_of_one_trace_at_the_same_time_are_kept_together(stage: Stage) -> None:
    one, two = (stage.child(caller(flags=0), name) for name in ("first", "second"))
    stage.child(one, "below first").end(1)
    one.end(1)
    assert stage.arrived() == []
    fail(two)
    two.end(1)
    assert sorted(stage.arrived()) == ["below first", "first", "second"]
    assert stage.out == 0
    assert stage.reasons()["second"] == "error"


def test_calls_of_one_trace_at_the_same_time_are_left_out_together(
    stage: Stage,
) -> None:
    roots = [stage.child(caller(flags=0), str(n)) for n in range(3)]
    for root in roots[:2]:
        root.end(1)
    assert stage.out == 0
    roots[2].end(1)
    assert stage.out == 3
    assert stage.arrived() == []


@pytest.mark.parametrize("sampled", [True, False])
def test_a_caller_decides_whether_its_trace_is_drawn(
    stage: Stage, *, sampled: bool
) -> None:
    for number in range(2):
        root = stage.child(caller(number << 100 | DRAWN, flags=sampled), str(number))
        assert root.get_span_context().trace_flags.sampled is sampled
        if number:
            fail(root)
        root.end(1)
    assert sorted(stage.arrived()) == (["0", "1"] if sampled else ["1"])


# Bounds


def test_when_too_many_spans_wait_the_oldest_trace_is_given_up(part: Any) -> None:
    stage = Stage(part, max_spans=10)
    roots = [stage.root(f"root {n}") for n in range(4)]
    for root in roots:
        for _ in range(3):
            stage.child(root).end(1)
    assert stage.out == 3
    for root in roots:
        fail(root)
        root.end(1)
    assert Counter(stage.arrived()) == {
        "child": 9,
        **{f"root {n}": 1 for n in range(4)},
    }
    assert stage.out == 3


def test_a_giant_trace_keeps_what_fits_when_it_fails(part: Any) -> None:
    stage = Stage(part, max_spans=100)
    root = stage.root()
    for _ in range(1_050):
        stage.child(root).end(1)
    fail(root)
    root.end(1)
    assert "root" in stage.arrived()
    assert len(stage.kept) + stage.out == 1_051
    assert 1 < len(stage.kept) <= 101


def test_closing_leaves_out_what_waits_and_what_comes(stage: Stage) -> None:
    root, other = stage.root(), stage.root("other")
    stage.child(root).end(1)
    stage.tail.close()
    assert stage.out == 1
    stage.child(root).end(1)
    fail(other)
    for span in (root, other):
        span.end(1)
    assert stage.arrived() == ["other"]
    assert stage.out == 3


def test_roots_that_never_end_are_forgotten(stage: Stage) -> None:
    for _ in range(100):
        root = stage.root()
        stage.child(root).end(1)
        del root
    stage.tail.close()
    assert (stage.arrived(), stage.out) == ([], 100)


# What goes with the bytes


def headers(batch: Any) -> list[tuple[bytes, int, int, int]]:
    return list(struct.iter_unpack("<16sQIB3x", batch.headers))


def test_headers_say_what_each_span_is(part: Any) -> None:
    stage = Stage(part, slow=2.0)
    root = stage.root("slow")
    stage.child(root).end(5)
    root.end(3 * SECOND)
    retried = stage.root("retried", drawn=True)
    retried.mark(RETRIED)
    retried.end(7)
    exemplar = stage.root("exemplar")
    exemplar.pin()
    exemplar.end(8)
    bad = stage.root("bad")
    fail(bad)
    bad.end(9)
    fine, failed = by_failed(stage.buffer.take())
    (header,) = headers(failed)
    assert header[0] == bad.trace_id.to_bytes(16, "big")
    assert (header[1], header[3]) == (9, ERROR | ROOT)
    assert header[2] == len(failed.data)
    assert [(each[1], each[3]) for each in headers(fine)] == [
        (5, 0),
        (3 * SECOND, SLOW | ROOT),
        (7, RETRIED | ROOT),
        (8, EXEMPLAR | ROOT),
    ]
    at = 0
    for header, message in zip(headers(fine), messages(fine), strict=True):
        assert header[0] == message.trace_id
        one = type(message).FromString
        assert fine.data[at : at + 1] == b"\x12"
        assert message.name.encode() in fine.data[at : at + header[2]]
        at += header[2]
        assert one is not None
    assert at == len(fine.data)
    assert (failed.spans, fine.spans) == (1, 4)


# All of it together


@dataclass
class Plan:
    """What is to happen in one trace."""

    drawn: bool
    spans: int
    happens: dict[int, Any]
    pinned: bool
    slow: bool
    started: list[Any] = field(default_factory=list)

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


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    planned=st.lists(plans, min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_kept_is_errors_slow_retried_pinned_and_drawn(
    part: Any, planned: list[Plan], order: random.Random
) -> None:
    stage = Stage(part, slow=10.0)
    steps: list[list[tuple[Plan, Any]]] = []
    for plan in planned:
        spans = [stage.root(drawn=plan.drawn)]
        spans += [stage.child(order.choice(spans)) for _ in range(plan.spans - 1)]
        for at, happen in plan.happens.items():
            happen(spans[at])
        plan.started = spans
        own = [(plan, span) for span in spans[1:]]
        order.shuffle(own)
        if plan.pinned:
            own.insert(order.randrange(len(own) + 1), (plan, None))
        steps.append([*own, (plan, spans[0])])
    while any(steps):
        own = order.choice([each for each in steps if each])
        plan, span = own.pop(0)
        if span is None:
            assert plan.started[0].pin()
        else:
            span.end((10 if plan.slow and not own else 1) * SECOND)
    wanted = {span.span_id for plan in planned if plan.is_kept for span in plan.started}
    arrived = [int.from_bytes(span.span_id, "big") for span in stage.take()]
    assert set(arrived) == wanted
    assert len(arrived) == len(wanted)
    assert stage.out == sum(plan.spans for plan in planned) - len(wanted)


def test_threads_lose_nothing_and_keep_nothing_twice(part: Any) -> None:
    outs: list[int] = []
    stage = Stage(part)
    tail = tail_of(part, lambda spans, _: outs.append(spans))
    stage.ours.tail = tail
    stage.ours.bits = None
    wanted: list[set[int]] = [set() for _ in range(8)]

    def work(number: int) -> None:
        draw = random.Random(number)
        for _ in range(300):
            remote = draw.random() < 0.5
            above = caller(draw.getrandbits(128), flags=draw.random() < 0.5)
            root = stage.child(above) if remote else stage.start(start_time=0)
            child = stage.child(root)
            child.end(1)
            if draw.random() < 0.2:
                fail(root)
            pinned = draw.random() < 0.2 and root.pin()
            sampled = root.get_span_context().trace_flags.sampled
            root.end(1)
            if sampled or pinned or root.snapshot()[6]:
                wanted[number] |= {root.span_id, child.span_id}

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = [int.from_bytes(span.span_id, "big") for span in stage.take()]
    assert set(arrived) == set.union(*wanted)
    assert len(arrived) == len(set(arrived))
    assert len(arrived) + sum(outs) == 8 * 300 * 2


def test_a_pin_that_returned_true_holds_whichever_thread_ends_the_trace(
    stage: Stage,
) -> None:
    roots = [stage.root(str(n)) for n in range(2_000)]
    pinned: list[str] = []
    half = threading.Event()

    def pin() -> None:
        half.wait()
        pinned.extend(root.name for root in roots if root.pin())

    thread = threading.Thread(target=pin)
    thread.start()
    for number, root in enumerate(roots):
        root.end(1)
        if number == 200:
            half.set()
    thread.join()
    assert set(pinned) == set(stage.arrived())
    assert len(stage.kept) + stage.out == 2_000


def test_what_is_told_may_use_spans_itself(part: Any) -> None:
    stage = Stage(part)

    def out(spans: int, _: str) -> None:
        stage.out += spans
        if stage.out < 10:
            stage.root("from inside").end(1)

    stage.ours.tail = tail_of(part, out)
    stage.root().end(1)
    assert stage.out == 10
