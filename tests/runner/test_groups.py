import asyncio
import itertools
from operator import length_hint

import pytest

from spanrun.runner.groups import batches

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def numbers(until, pace=0.0):
    for number in range(until):
        await asyncio.sleep(pace)
        yield number


def test_groups_have_the_size_and_the_last_may_be_shorter():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []
    assert list(batches("ab", 1)) == [["a"], ["b"]]


def test_an_infinite_source_is_pulled_one_group_at_a_time():
    source = itertools.count()
    group = next(batches(source, 3))
    assert group == [0, 1, 2]
    assert next(source) == 3


async def test_async_groups_are_the_same():
    got = [group async for group in batches(numbers(7), 3)]
    assert got == [[0, 1, 2], [3, 4, 5], [6]]


async def test_max_wait_gives_out_what_there_is(fake_clock):
    groups = batches(numbers(6, pace=2), 4, max_wait=5)
    got = [(group, fake_clock.now()) async for group in groups]
    assert got == [([0, 1, 2], 7), ([3, 4, 5], 12)]


async def test_max_wait_counts_from_the_first_item_of_a_group(fake_clock):
    groups = batches(numbers(2, pace=100), 4, max_wait=5)
    got = [(group, fake_clock.now()) async for group in groups]
    assert got == [([0], 105), ([1], 200)]


def test_groups_of_a_list_know_how_many_are_left():
    groups = batches(range(7), 3)
    left = [length_hint(groups)]
    left += [length_hint(groups) for _ in groups]
    assert left == [3, 2, 1, 0]
    assert length_hint(batches(iter(lambda: 1, 2), 3), 99) == 1  # nobody knows


def test_what_came_before_an_error_is_given_out_first():
    def items():
        yield from range(4)
        raise LookupError

    groups = batches(items(), 3)
    assert [next(groups), next(groups)] == [[0, 1, 2], [3]]
    assert length_hint(groups) == 1
    with pytest.raises(LookupError):
        next(groups)
    assert list(groups) == []
