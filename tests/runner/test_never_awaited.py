"""Coroutines that nobody runs are closed, and nobody is warned of them."""

import asyncio
from collections import deque

import pytest
from tests.jobs import closed, double, fail, many, nothing_unawaited

import spanrun as sr
from spanrun.async_utils import batch_gather, run_jobs
from spanrun.testing import FakeClock


def broken(error=LookupError):
    yield double(1)
    yield double(2)
    raise error("the source's own")


async def broken_async():
    for each in broken():
        yield each


def itself(coroutine):
    return coroutine


def items(kind):
    return broken() if kind == "sync" else broken_async()


@many
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, StopAsyncIteration])
def test_of_a_source_that_raises(run, error):
    with nothing_unawaited(), pytest.raises(error):
        run(broken(error))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_of_the_source_of_a_map(kind):
    async def main():
        async with sr.Runner("test") as runner:
            await runner.map(itself, items(kind))

    with nothing_unawaited(), pytest.raises(LookupError):
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("max_wait", [None, 1])
def test_of_the_source_of_batches(kind, size, max_wait):
    async def gather(coroutines):
        return [await each for each in coroutines]

    async def main():
        async with sr.Runner("test") as runner:
            await runner.map_batches(gather, items(kind), size=size, max_wait=max_wait)

    with nothing_unawaited(), pytest.raises(LookupError):
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_of_a_key_that_raises(kind):
    def key(_):
        raise ValueError("the key's own")

    async def main():
        async with sr.Runner("test") as runner:
            await runner.map(itself, items(kind), key=key)

    with nothing_unawaited(), pytest.raises(ValueError, match="the key's own"):
        asyncio.run(main())


def test_of_a_stream_that_is_left():
    async def main():
        async with (
            sr.Runner("test", limit=1) as runner,
            runner.stream(itself, (double(n) for n in range(3)), priority=lambda _: 1),
        ):
            pass

    with nothing_unawaited():
        asyncio.run(main())


async def for_ever():
    await asyncio.Event().wait()


async def gather(coroutines):
    return [await each for each in coroutines]


async def by_map(jobs, **options):
    async with sr.Runner("test", limit=1, **options) as runner:
        await runner.map(itself, jobs)


async def by_map_batches(jobs, **options):
    async with sr.Runner("test", limit=1, **options) as runner:
        await runner.map_batches(gather, jobs, size=1)


async def by_stream(jobs, **options):
    async with (
        sr.Runner("test", limit=1, **options) as runner,
        runner.stream(itself, jobs) as outcomes,
    ):
        async for outcome in outcomes:
            assert isinstance(outcome, sr.Err)
            raise outcome.error


async def by_run_jobs(jobs):
    await run_jobs(jobs, workers=1)


async def by_batch_gather(jobs):
    await batch_gather(jobs, batch_size=1)


of_runner = [by_map, by_map_batches, by_stream]
ways = pytest.mark.parametrize("way", [*of_runner, by_run_jobs, by_batch_gather])


def jobs_behind(first):
    return [first, *(double(number) for number in range(9))]


def unused(jobs):
    """Whether those that can't have been pulled yet are closed, without a warning."""
    return all(map(closed, jobs[4:]))


@ways
@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, KeyboardInterrupt])
def test_of_a_list_behind_a_job_that_raises(way, error):
    jobs = jobs_behind(fail(error()))
    raised = sr.JobCancelled if error is asyncio.CancelledError else error
    with nothing_unawaited():
        with pytest.raises(raised):
            sr.run(way(jobs))
        assert unused(jobs)
        jobs.clear()


@ways
def test_of_a_list_whose_caller_is_cancelled(way):
    async def main():
        running = asyncio.create_task(way(jobs))
        await asyncio.sleep(0)
        running.cancel()
        await running

    jobs = jobs_behind(for_ever())
    with nothing_unawaited():
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        assert unused(jobs)
        jobs.clear()


@ways
def test_of_a_list_whose_time_is_up(way):
    async def main():
        async with asyncio.timeout(0):
            await way(jobs)

    jobs = jobs_behind(for_ever())
    with nothing_unawaited():
        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert unused(jobs)
        jobs.clear()


@pytest.mark.parametrize("way", of_runner)
def test_of_a_list_behind_a_job_whose_deadline_passes(way):
    clock, jobs = FakeClock(), jobs_behind(for_ever())
    with nothing_unawaited():
        with pytest.raises(sr.DeadlineExceeded):
            clock.run(way(jobs, timeout=1, clock=clock))
        assert unused(jobs)
        jobs.clear()


@ways
def test_of_a_list_beside_which_another_task_fails(way):
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(way(jobs))
            await asyncio.sleep(0)
            raise LookupError

    jobs = jobs_behind(for_ever())
    with nothing_unawaited():
        with pytest.raises(ExceptionGroup):
            asyncio.run(main())
        assert unused(jobs)
        jobs.clear()


def test_of_a_list_whose_runner_is_left_by_an_error():
    async def main():
        async with sr.Runner("test", limit=1) as runner:
            running = asyncio.create_task(runner.map(itself, jobs))
            tasks.append(running)
            await asyncio.sleep(0)
            raise LookupError

    tasks = []
    jobs = jobs_behind(for_ever())
    with nothing_unawaited():
        with pytest.raises(LookupError):
            asyncio.run(main())
        assert unused(jobs)
        jobs.clear()


@pytest.mark.parametrize("kind", [tuple, set, deque, "values"])
def test_of_another_thing_that_holds_them(kind):
    jobs = [fail(KeyError("mine")) for _ in range(9)]
    given = dict(enumerate(jobs)).values() if kind == "values" else kind(jobs)
    with nothing_unawaited():
        with pytest.raises(KeyError):
            asyncio.run(by_map(given))
        assert all(map(closed, jobs))
        jobs.clear()
        del given


def test_what_an_iterator_would_still_give_is_left_to_its_owner():
    jobs = [fail(KeyError("mine")), double(1), double(2)]
    given = iter(jobs)
    with pytest.raises(KeyError):
        asyncio.run(by_map(given))
    left = list(given)
    assert left
    assert [asyncio.run(each) for each in left] == [2, 4][-len(left) :]


def test_what_the_function_took_is_left_to_it():
    async def keep(coroutine):
        kept.append(coroutine)
        if len(kept) == 2:
            raise KeyError("mine")

    async def main():
        async with sr.Runner("test", limit=1) as runner:
            await runner.map(keep, [double(1), double(2), double(3)])

    kept = []
    with nothing_unawaited(), pytest.raises(KeyError):
        asyncio.run(main())
    assert asyncio.run(kept[0]) == 2
