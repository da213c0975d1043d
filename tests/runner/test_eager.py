"""With asyncio's eager task factory a job may end while it is being admitted."""

import asyncio
import sys

import pytest

import spanrun as sr

pytestmark = [
    pytest.mark.usefixtures("fake_clock", "no_leaks"),
    pytest.mark.skipif(
        sys.version_info < (3, 12), reason="eager tasks came with Python 3.12"
    ),
]


@pytest.fixture(params=[0, 1], ids=["ends at once", "waits once"])
def job(request):
    async def job(number):
        for _ in range(request.param):
            await asyncio.sleep(0)
        if number == 1_500:
            raise LookupError(number)
        return number

    return job


async def numbers(until):
    for number in range(until):
        yield number


def make_eager():
    factory = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(factory)


async def test_many_jobs_are_no_recursion(make_runner, job):
    make_eager()
    async with make_runner(limit=8) as runner:
        assert await runner.map(job, range(1_000)) == list(range(1_000))
        assert await runner.map(job, numbers(500)) == list(range(500))


async def test_an_error_ends_the_map(make_runner, job):
    make_eager()
    async with make_runner(limit=8) as runner:
        with pytest.raises(LookupError, match="1500"):
            await runner.map(job, range(2_000))


async def test_streams_calls_and_batches(make_runner, job):
    make_eager()
    async with make_runner(limit=8) as runner:
        async with runner.stream(job, range(1_000)) as outcomes:
            assert [outcome.value async for outcome in outcomes] == list(range(1_000))
        assert await asyncio.gather(*(runner.call(job, n) for n in range(9))) == [
            *range(9)
        ]
        got = await runner.map_batches(job, range(100), size=7)
        assert got == list(range(100))


async def test_outcomes_are_all_there(make_runner, job, spanrun_capture):
    make_eager()
    async with make_runner(limit=8, retry=sr.Retry(on=OSError)) as runner:
        got = await runner.map(job, range(1_490, 1_510), errors="collect")
    assert [o.index for o in got] == list(range(20))
    assert spanrun_capture.value("spanrun.jobs") == 20
