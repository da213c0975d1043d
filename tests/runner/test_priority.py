"""Who gets the next slot, where several runs share a runner."""

import asyncio
from collections.abc import Callable

import pytest

import spanrun as sr


async def test_an_urgent_map_overtakes_one_that_began_before(
    make_runner: Callable[..., sr.Runner],
) -> None:
    order: list[str] = []

    async def job(name: str) -> None:
        order.append(name)
        await asyncio.sleep(0.1)

    async with make_runner(limit=1) as runner, asyncio.TaskGroup() as group:
        group.create_task(runner.map(job, ["low1", "low2", "low3"]))
        await asyncio.sleep(0.05)
        urgent = ["HIGH1", "HIGH2"]
        group.create_task(runner.map(job, urgent, priority=lambda _: 10))
    assert order == ["low1", "HIGH1", "HIGH2", "low2", "low3"]


async def test_inside_a_map_priority_orders_those_who_wait(
    make_runner: Callable[..., sr.Runner],
) -> None:
    order: list[int] = []

    async def job(number: int) -> None:
        order.append(number)
        await asyncio.sleep(0.1)

    async with make_runner(limit=2) as runner:
        await runner.map(job, [0, 0, 1, 5, 2, 9], priority=lambda number: number * 10)
    # Two run and two wait, of whom the more urgent goes first.
    assert order[:3] == [0, 0, 5]
    assert sorted(order) == [0, 0, 1, 2, 5, 9]


async def test_the_total_timeout_counts_the_queue(
    make_runner: Callable[..., sr.Runner], fake_clock: sr.testing.FakeClock
) -> None:
    async def blocks() -> None:
        fake_clock.advance(3)  # as a job that holds the event loop does

    async with make_runner(limit=2, timeout=sr.Timeout(total=2)) as runner:
        first, second = await runner.map(
            lambda number: blocks() if number == 0 else asyncio.sleep(1),
            [0, 1],
            errors="collect",
        )
    assert isinstance(first, sr.Ok)
    assert isinstance(second, sr.Err)
    assert second.outcome == "timed_out"
    assert second.timings.loop_lag == 3


async def test_an_urgent_call_gets_the_next_slot(
    make_runner: Callable[..., sr.Runner],
) -> None:
    order: list[str] = []

    async def job(name: str, *, shout: bool = False) -> str:
        order.append(name)
        await asyncio.sleep(0.1)
        return name.upper() if shout else name

    async with make_runner(limit=1) as runner, asyncio.TaskGroup() as group:
        group.create_task(runner.map(job, ["first", "second"]))
        await asyncio.sleep(0.05)
        group.create_task(runner.call(job, "calm"))
        urgent = group.create_task(runner.call(job, "urgent", priority=5))
        lambdas = group.create_task(
            runner.call(lambda: job("loud", shout=True), priority=9)
        )
    assert order == ["first", "loud", "urgent", "calm", "second"]
    assert (urgent.result(), lambdas.result()) == ("urgent", "LOUD")


async def test_more_slots_are_filled_at_once_from_the_source(
    make_runner: Callable[..., sr.Runner], fake_clock: sr.testing.FakeClock
) -> None:
    begun: list[float] = []

    async def job(_: int) -> None:
        begun.append(fake_clock.now())
        await asyncio.sleep(100)

    async with make_runner(limit=1) as runner:
        slots = runner._core.slots  # type: ignore[union-attr]
        asyncio.get_running_loop().call_later(1, slots.resize, 3)
        asyncio.get_running_loop().call_later(2, slots.resize, 2)
        await runner.map(job, range(4))
    assert begun == [0, 1, 1, 101]


async def test_a_priority_that_is_no_number_ends_its_map_at_once(
    make_runner: Callable[..., sr.Runner], fake_clock: sr.testing.FakeClock
) -> None:
    ended: list[int] = []

    async def job(number: int) -> None:
        await asyncio.sleep(1)
        ended.append(number)

    async with make_runner(limit=1) as runner:
        with pytest.raises(sr.ConfigurationError, match="'test': priority='high'"):
            await runner.map(
                job, [0, 1, 2], priority=lambda number: "high" if number == 1 else 0
            )
    assert not ended
    assert fake_clock.now() < 1


async def test_a_streams_wrong_priority_comes_after_what_was_before_it(
    make_runner: Callable[..., sr.Runner],
) -> None:
    got: list[int] = []

    async def job(number: int) -> int:
        return number

    async with make_runner(limit=1) as runner:
        stream = runner.stream(
            job, [0, 1, 2], priority=lambda number: None if number == 2 else number
        )
        async with stream as outcomes:
            got += [(await anext(outcomes)).index, (await anext(outcomes)).index]
            with pytest.raises(sr.ConfigurationError, match="priority=None"):
                await anext(outcomes)
    assert got == [0, 1]
