"""`unit` and `instrumented`: the user's own code in the trace."""

import asyncio
import contextlib
import contextvars
import functools
import itertools

import pytest
from opentelemetry import trace

import spanrun as sr
from spanrun.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

DURATION = "spanrun.unit.duration"


async def test_a_unit_is_a_span_with_its_attributes(spanrun_capture):
    with sr.unit("parse", pages=3, source="password=hunter2secret") as parsing:
        parsing.set("words", 420)
        parsing.event("page.read", number=1)
        await asyncio.sleep(2)
    span = spanrun_capture.span("parse")
    assert span.duration == 2
    assert (span.attributes["pages"], span.attributes["words"]) == (3, 420)
    assert span.attributes["source"] == "password=[redacted]"
    assert span.attributes["spanrun.unit.outcome"] == "ok"
    (event,) = span.events
    assert (event.name, event.attributes) == ("page.read", {"number": 1})


async def test_units_nest_and_give_the_current_span_back(spanrun_capture):
    before = trace.get_current_span()
    with sr.unit("outer"):
        with sr.unit("inner"):
            pass
        with sr.unit("inner"):
            pass
    outer = spanrun_capture.span("outer")
    assert len(spanrun_capture.children(outer)) == 2
    assert trace.get_current_span() is before


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (None, "ok", "UNSET"),
        (LookupError, "failed", "ERROR"),
        (asyncio.CancelledError, "cancelled", "UNSET"),
    ],
)
async def test_the_end_is_on_span_and_metric(spanrun_capture, error, outcome, status):
    async def end():
        await asyncio.sleep(3)
        if error is not None:
            raise error

    async def work():
        with sr.unit("mine"):
            await end()

    with pytest.raises(error) if error else contextlib.nullcontext():
        await work()
    span = spanrun_capture.span("mine")
    assert (span.attributes["spanrun.unit.outcome"], span.status) == (outcome, status)
    labels = {"spanrun.unit.name": "mine", "spanrun.unit.outcome": outcome}
    assert spanrun_capture.count(DURATION, labels) == 1
    assert spanrun_capture.value(DURATION, labels) == 3


async def test_without_telemetry_a_unit_does_nothing():
    before = trace.get_current_span()
    with sr.unit("mine", a=1) as unit:
        unit.set("b", 2)
        unit.event("happened")
    assert trace.get_current_span() is before


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_unit_needs_a_name(name):
    with pytest.raises(ConfigurationError, match="name"):
        sr.unit(name)


async def test_functions_keep_what_they_are(spanrun_capture):
    @sr.instrumented
    def plain(a, *, b=2):
        """Its own text."""
        return a + b

    @sr.instrumented(name="given")
    async def awaited(a):
        await asyncio.sleep(1)
        return a

    assert plain(1, b=3) == 4
    assert await awaited(5) == 5
    assert (plain.__name__, plain.__doc__) == ("plain", "Its own text.")
    assert asyncio.iscoroutinefunction(awaited)
    names = [span.name.rpartition(".")[2] for span in spanrun_capture.spans]
    assert names == ["plain", "given"]


async def test_each_call_is_a_unit_of_its_own_also_at_the_same_time(spanrun_capture):
    @sr.instrumented(name="nap")
    async def nap(seconds):
        await asyncio.sleep(seconds)

    await asyncio.gather(nap(3), nap(1), nap(2))
    assert sorted(s.duration for s in spanrun_capture.find("nap")) == [1, 2, 3]


async def test_recursion_nests(spanrun_capture):
    @sr.instrumented(name="down")
    async def down(depth):
        if depth:
            await down(depth - 1)

    await down(3)
    span = next(s for s in spanrun_capture.spans if not s.parent_id)
    depth = 0
    while children := spanrun_capture.children(span):
        (span,) = children
        depth += 1
    assert depth == 3


async def generate_async():
    yield 1


def generate():
    yield 1


@pytest.mark.parametrize("generator", [generate, generate_async])
def test_generators_are_refused_with_what_to_do(generator):
    with pytest.raises(ConfigurationError, match="open a unit inside"):
        sr.instrumented(generator)


class Parser:
    def parse(self):
        return "parsed"


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (Parser, "Parser.*decorate its methods"),
        (staticmethod(len), "put @staticmethod above"),
        (classmethod(len), "put @classmethod above"),
        ("parse", "'parse'.*must be a function"),
    ],
)
@pytest.mark.parametrize("decorate", [sr.instrumented, sr.instrumented(name="work")])
def test_what_is_no_function_is_refused_with_what_to_do(decorate, what, instead):
    with pytest.raises(ConfigurationError, match=instead):
        decorate(what)


def test_what_has_no_name_of_its_own_is_named_by_what_it_calls(spanrun_capture):
    sr.instrumented(functools.partial(Parser().parse))()
    assert spanrun_capture.find("Parser.parse")


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
@pytest.mark.usefixtures("spanrun_capture")
async def test_units_closed_in_any_order_leave_no_ended_span_current(order):
    before = trace.get_current_span()
    opened = {}
    for name in "abc":
        opened[name] = sr.unit(name)
        opened[name].__enter__()
    innermost = trace.get_current_span()
    left = set()
    for name in order:
        opened[name].__exit__(None, None, None)
        left.add(name)
        open_still = [each for each in "abc" if each not in left]
        current = trace.get_current_span()
        if "c" not in left:  # nobody else may take its place
            assert current is innermost
        elif open_still:
            assert getattr(current, "name", None) == open_still[-1]
    assert trace.get_current_span() is before


async def test_a_generator_closed_in_another_context_disturbs_nobody(
    spanrun_capture, caplog
):
    async def generator():
        with sr.unit("inside"):
            yield 1
            yield 2

    opened = generator()
    first = contextvars.copy_context()
    await asyncio.get_running_loop().create_task(anext(opened), context=first)
    before = trace.get_current_span()
    await asyncio.get_running_loop().create_task(
        opened.aclose(), context=contextvars.copy_context()
    )
    assert trace.get_current_span() is before
    assert not spanrun_capture.unfinished()
    with sr.unit("next"):
        pass
    assert spanrun_capture.span("next").parent_id == 0
    assert not caplog.records


async def test_a_generator_left_suspended_does_not_stay_the_current_span(
    spanrun_capture,
):
    def generator():
        with sr.unit("inside"):
            yield 1

    def consume():
        for _ in generator():
            break

    contextvars.copy_context().run(consume)
    inside = spanrun_capture.span("inside")
    assert (inside.attributes["spanrun.unit.outcome"], inside.status) == (
        "cancelled",
        "UNSET",
    )
    with sr.unit("next"):
        pass
    assert spanrun_capture.span("next").parent_id == 0
