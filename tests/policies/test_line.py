import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.policies._line import Line
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")


def serve(line):
    while line.first():
        line.serve()


async def test_order_is_priority_then_arrival():
    line, order = Line(1.0), []
    for name, priority in [("a", 0), ("b", 2), ("c", 0), ("d", 2)]:
        waiter = line.join(priority, 0.0)
        waiter.add_done_callback(lambda _, name=name: order.append(name))
    serve(line)
    await asyncio.sleep(0)
    assert order == ["b", "d", "a", "c"]


async def test_waiting_weighs_as_much_as_priority():
    line = Line(10.0)
    old, new = line.join(0, 0.0), line.join(3, 31.0)
    line.first()
    line.serve()
    assert old.done()
    assert not new.done()


async def test_who_was_cancelled_is_passed_over():
    line = Line(1.0)
    first, second = line.join(0, 0.0), line.join(0, 0.0)
    first.cancel()
    assert len(line) == 1
    assert line.first()
    line.serve()
    assert second.done()
    assert not line.first()
    assert not line.places


async def test_places_of_the_cancelled_are_cleared():
    line = Line(1.0)
    stays = line.join(9, 0.0)
    for _ in range(1_000):
        line.join(0, 0.0).cancel()
        line.leave()
    assert len(line.places) < 10
    assert line.first()
    assert not stays.done()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_everybody_is_served_once_in_order_but_who_left(people):
    async def main():
        line, order, waiters = Line(1.0), [], []
        for number, (priority, _) in enumerate(people):
            waiter = line.join(priority, 0.0)
            waiter.add_done_callback(
                lambda done, number=number: done.cancelled() or order.append(number)
            )
            waiters.append(waiter)
        for waiter, (_, leaves) in zip(waiters, people, strict=True):
            if leaves:
                waiter.cancel()
                line.leave()
        serve(line)
        await asyncio.sleep(0)
        return order

    stay = [number for number, (_, leaves) in enumerate(people) if not leaves]
    stay.sort(key=lambda number: -people[number][0])
    assert FakeClock().run(main()) == stay
