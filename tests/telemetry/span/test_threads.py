"""Spans are used by several threads, and by the garbage collector, at any moment."""

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanContext, StatusCode
from tests.telemetry.span.making import Box, attributes_of, limits
from tests.waiting import PATIENCE

OTHER = SpanContext(7, 8, is_remote=True)


@pytest.fixture(autouse=True)
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def threads(*targets: Callable[[], object]) -> None:
    """Run them at once."""
    begin = threading.Barrier(len(targets), timeout=PATIENCE)
    errors: list[BaseException] = []

    def run(target: Callable[[], object]) -> None:
        begin.wait()
        try:
            target()
        except BaseException as error:  # noqa: BLE001 -- shown below
            errors.append(error)

    running = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not errors


def test_a_span_that_eight_end_at_once_ends_once(box: Box) -> None:
    for _ in range(200):
        span = box.start()
        threads(*[span.end] * 8)
    assert len(box.take()) == 200
    assert len(box.late) == 200 * 7


def test_two_that_are_the_first_to_add_an_event_both_do(box: Box) -> None:
    for _ in range(100):
        span = box.start()
        threads(lambda: span.add_event("a"), lambda: span.add_event("b"))  # noqa: B023
        span.end()
        assert {event.name for event in box.one().events} == {"a", "b"}


def test_events_links_and_attributes_of_many_are_all_there(part: Any) -> None:
    few = limits(events=10, links=10_000, attributes=10_000)
    box = Box(part, limits=few)
    span = box.start()

    def add(who: str) -> None:
        for number in range(300):
            span.add_event(who)
            span.add_link(OTHER)
            span.set_attribute(f"{who}{number}", number)

    threads(*(lambda who=who: add(who) for who in "abcdefgh"))  # type: ignore[misc]
    attributes, dropped, events, dropped_events, links, *_ = span.snapshot()
    assert len(links) == len(attributes) == 2_400
    assert len(events) == 10
    assert len(events) + dropped_events == 2_400
    assert dropped == 0


def test_too_many_attributes_of_many_are_counted(part: Any) -> None:
    box = Box(part, limits=limits(attributes=16))
    span = box.start()

    def add(who: int) -> None:
        for number in range(300):
            span.set_attribute(f"{who}.{number}", number)

    threads(*(lambda who=who: add(who) for who in range(8)))  # type: ignore[misc]
    attributes, dropped, *_ = span.snapshot()
    assert 0 < len(attributes) <= 16
    assert 0 < dropped <= 2_400 - len(attributes)


def test_a_span_is_encoded_whole_while_others_write_to_it(box: Box) -> None:
    spans = [box.start(attributes={"first": 1}) for _ in range(100)]
    done = threading.Event()

    def write() -> None:
        for number in itertools.cycle(range(50)):
            if done.is_set():
                return
            for span in spans:
                if not span.has_ended:
                    span.set_attribute(f"key {number}", float(number))
                    span.add_event("e", {"a": number})
                    span.set_status(StatusCode.ERROR)

    def end() -> None:
        try:
            for span in spans:
                span.end()
        finally:
            done.set()

    threads(*[write] * 7, end)
    messages = box.take()
    assert len(messages) == 100
    assert all(attributes_of(each)["first"] == 1 for each in messages)
    for span in spans:
        before = span.snapshot()
        assert before == span.snapshot()
    assert not box.failures


def test_a_span_that_the_garbage_collector_ends_in_the_middle(box: Box) -> None:
    """A generator left alone holds an open span, and goes away at any moment."""

    def left_alone() -> Iterator[None]:
        with box.start("inner", attributes={"a": 1}):
            yield

    class Collects:
        def __str__(self) -> str:
            gc.collect()
            return "collected"

    for number in range(20):
        generator = left_alone()
        next(generator)
        cycle: list[Any] = [generator]
        cycle.append(cycle)
        del generator, cycle
        span = box.start("outer")
        span.set_attribute("a", Collects())
        span.add_event("e", {"a": Collects()})
        span.end()
        names = {each.name for each in box.take()}
        assert names == {"inner", "outer"}, number
    assert not box.failures


def test_a_value_that_ends_its_span_when_it_goes_away(box: Box) -> None:
    class Ends:
        def __init__(self, span: Any) -> None:
            self._span = span

        def __str__(self) -> str:
            return "ends"

        def __del__(self) -> None:
            self._span.set_attribute("from del", 1)
            self._span.end()

    span = box.start()
    span.set_attribute("a", Ends(span))
    assert span.has_ended
    assert attributes_of(box.one()) == {"a": "ends", "from del": 1}


def test_spans_end_while_the_collector_runs_all_the_time(box: Box) -> None:
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            with box.start(str(number), attributes={"a": [1, {"b": "c"}]}) as span:
                span.add_event("e", {"a": (1, 2)})
    finally:
        gc.set_threshold(*before)
    assert len(box.take()) == 300
