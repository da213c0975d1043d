"""What spanrun does in the same way on every host; each is one coroutine."""

import asyncio
import contextvars
from collections.abc import AsyncIterator

import pytest

import spanrun as sr
from spanrun.async_utils import run_async_tasks, run_jobs

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


async def reject_odd(number: int) -> int:
    await asyncio.sleep(0)
    if number % 2:
        raise ValueError(number)
    return number


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def maps_in_order() -> None:
    async with sr.Runner("host", limit=4) as runner:
        assert await runner.map(double, range(20)) == list(range(0, 40, 2))
        assert await runner.map(double, numbers(20)) == list(range(0, 40, 2))


async def calls_from_many_tasks() -> None:
    async with sr.Runner("host", limit=2) as runner:
        calls = (runner.call(double, number) for number in range(10))
        assert await asyncio.gather(*calls) == list(range(0, 20, 2))


async def collects_outcomes() -> None:
    async with sr.Runner("host", limit=4) as runner:
        outcomes = await runner.map(reject_odd, range(4), errors="collect")
    assert [type(outcome) for outcome in outcomes] == [sr.Ok, sr.Err] * 2


async def raises_the_first_error_bare() -> None:
    before = asyncio.all_tasks()
    async with sr.Runner("host", limit=4) as runner:
        with pytest.raises(ValueError) as raised:
            await runner.map(reject_odd, range(20))
    assert raised.value.args == (1,)
    assert asyncio.all_tasks() <= before


async def streams_until_the_consumer_leaves() -> None:
    before = asyncio.all_tasks()
    seen = 0
    async with (
        sr.Runner("host", limit=4) as runner,
        runner.stream(double, numbers(10_000), ordered=False) as outcomes,
    ):
        async for outcome in outcomes:
            assert isinstance(outcome, sr.Ok)
            seen += 1
            if seen == 20:
                break
    assert asyncio.all_tasks() <= before


async def batches() -> None:
    async def double_all(group: list[int]) -> list[int]:
        return [await double(number) for number in group]

    async with sr.Runner("host", limit=2) as runner:
        doubled = await runner.map_batches(double_all, range(10), size=4)
    assert doubled == list(range(0, 20, 2))


async def bounds_a_job_s_time() -> None:
    async with sr.Runner("host", timeout=0.01) as runner:
        with pytest.raises(sr.DeadlineExceeded):
            await runner.call(asyncio.sleep, 60)


async def cancels_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with sr.Runner("host", limit=4) as runner:
        mapped = asyncio.create_task(runner.map(asyncio.sleep, [60] * 20))
        await asyncio.sleep(0)
        mapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mapped
    assert asyncio.all_tasks() <= before


async def keeps_the_jobs_variables_apart() -> None:
    async def change(text: str) -> str:
        before = variable.get()
        variable.set(text)
        await asyncio.sleep(0)
        return before

    async with sr.Runner("host", limit=2) as runner:
        token = variable.set("outside")
        assert await runner.map(change, ["a", "b", "c"]) == ["outside"] * 3
        assert variable.get() == "outside"
        variable.reset(token)


async def runs_inside_the_loop() -> None:
    async def change() -> int:
        variable.set("inside")
        return await double(21)

    token = variable.set("outside")
    assert sr.run(change()) == 42
    assert variable.get() == "inside"
    variable.reset(token)


async def runs_the_llama_index_names() -> None:
    assert await run_jobs([double(1), double(2)]) == [2, 4]
    assert run_async_tasks([double(1), double(2)]) == [2, 4]


ALL = [
    maps_in_order,
    calls_from_many_tasks,
    collects_outcomes,
    raises_the_first_error_bare,
    streams_until_the_consumer_leaves,
    batches,
    bounds_a_job_s_time,
    cancels_and_leaves_nothing,
    keeps_the_jobs_variables_apart,
    runs_inside_the_loop,
    runs_the_llama_index_names,
]
