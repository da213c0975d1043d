"""Cancellation from outside, fatal errors, and leaving an open runner."""

import asyncio
import itertools

import pytest

import spanrun as sr
from spanrun.errors import ShuttingDown

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def nap(seconds):
    await asyncio.sleep(seconds)
    return seconds


async def numbers():
    for number in itertools.count():
        await asyncio.sleep(1)
        yield number


async def whole_map(runner):
    await runner.map(nap, itertools.count(5), errors="collect")


async def map_of_async(runner):
    await runner.map(nap, numbers())


async def whole_stream(runner):
    async with runner.stream(nap, itertools.count(5)) as outcomes:
        async for _ in outcomes:
            pass


async def slow_reader(runner):
    async with runner.stream(nap, itertools.count(5)) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(500)


async def whole_batches(runner):
    async def job(batch):
        await asyncio.sleep(5)
        return batch

    async with runner.stream_batches(job, numbers(), size=3, max_wait=2) as outcomes:
        async for _ in outcomes:
            pass


async def call(runner):
    await runner.call(nap, 10_000)


ways = pytest.mark.parametrize(
    "way",
    [whole_map, map_of_async, whole_stream, slow_reader, whole_batches, call],
    ids=lambda way: way.__name__,
)


@ways
@pytest.mark.parametrize("after", [0, 0.5, 5, 77])
async def test_outer_cancellation_comes_out_and_leaves_nothing(
    make_runner, way, after, fake_clock
):
    async with make_runner(limit=3) as runner:
        task = asyncio.create_task(way(runner))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert fake_clock.now() == after


@ways
async def test_an_outer_timeout_works_and_is_balanced(make_runner, way, fake_clock):
    async with make_runner(limit=3) as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(33):
                await way(runner)
        assert asyncio.current_task().cancelling() == 0
        assert fake_clock.now() == 33


@pytest.mark.parametrize("way", [whole_map, map_of_async, whole_stream, whole_batches])
@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_the_programs_end_in_a_job_comes_out_of_whoever_waits(
    make_runner, way, fatal, monkeypatch
):
    async with make_runner(limit=3) as runner:
        for_real = asyncio.sleep

        async def sleep(seconds, result=None):
            if asyncio.current_task().get_name() == "spanrun job test":
                raise fatal
            return await for_real(seconds, result)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        with pytest.raises(fatal):
            await way(runner)


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_the_programs_end_in_a_call_comes_out_of_it(make_runner, fatal):
    async def job():
        await asyncio.sleep(1)
        raise fatal

    async with make_runner() as runner:
        with pytest.raises(fatal):
            await runner.call(job)


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_the_programs_end_in_a_source_comes_out(make_runner, fatal):
    def source():
        yield 1
        raise fatal

    async with make_runner() as runner:
        with pytest.raises(fatal):
            await runner.map(nap, source())


@pytest.mark.parametrize("way", [whole_map, whole_stream, call])
async def test_a_job_cancelled_before_its_first_step_has_an_outcome(make_runner, way):
    ended = []

    class Notes:
        def run_opened(self, run):
            pass

        def job_ended(self, run, outcome):
            ended.append(outcome.outcome)

        def run_closed(self, run):
            pass

    async with make_runner(limit=3, observers=[Notes()]) as runner:
        task = asyncio.create_task(way(runner))
        begun = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: (task.cancel(), begun.set_result(None))
        )
        await begun
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended == ["cancelled"] * (1 if way is call else 3)


async def test_leaving_waits_for_the_calls_that_run(make_runner, fake_clock):
    async with make_runner() as runner:
        tasks = [asyncio.create_task(runner.call(nap, n)) for n in (3, 7)]
        await asyncio.sleep(1)
    assert fake_clock.now() == 7
    assert [await task for task in tasks] == [3, 7]


async def test_leaving_on_an_error_cancels_the_calls_that_run(make_runner, fake_clock):
    tasks = []

    async def leave_on_an_error():
        async with make_runner() as runner:
            tasks.append(asyncio.create_task(runner.call(nap, 50)))
            await asyncio.sleep(1)
            raise LookupError

    with pytest.raises(LookupError):
        await leave_on_an_error()
    assert fake_clock.now() == 1
    with pytest.raises(sr.JobCancelled):
        await tasks[0]


async def test_leaving_while_another_task_maps_tells_that_task(make_runner):
    async with make_runner(limit=2) as runner:
        mapping = asyncio.create_task(runner.map(nap, [5] * 10))
        await asyncio.sleep(7)
    with pytest.raises(ShuttingDown, match="rest was not run"):
        await mapping


async def test_leaving_while_another_task_reads_a_stream_tells_that_task(make_runner):
    async def read(runner):
        async with runner.stream(nap, itertools.repeat(5)) as outcomes:
            return [outcome async for outcome in outcomes]

    async with make_runner(limit=2) as runner:
        reading = asyncio.create_task(read(runner))
        await asyncio.sleep(7)
    with pytest.raises(ShuttingDown):
        await reading


async def test_cancelled_while_leaving_stops_what_runs(make_runner, fake_clock):
    async def leave():
        async with make_runner() as runner:
            tasks.append(asyncio.create_task(runner.call(nap, 50)))
            await asyncio.sleep(1)

    tasks = []
    leaving = asyncio.create_task(leave())
    await asyncio.sleep(5)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert fake_clock.now() == 5
    with pytest.raises(sr.JobCancelled):
        await tasks[0]


async def test_a_job_that_calls_while_the_runner_is_left_is_refused(make_runner):
    async def job(runner):
        await asyncio.sleep(5)
        await runner.call(nap, 1)

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job, runner))
        await asyncio.sleep(1)
    with pytest.raises(ShuttingDown):
        await task


async def test_a_runner_can_be_opened_again_once_closed(make_runner):
    runner = make_runner()
    for _ in range(2):
        async with runner:
            assert await runner.map(nap, [1]) == [1]
            with pytest.raises(sr.ConfigurationError, match="open already"):
                await runner.__aenter__()


async def test_an_error_storm_while_stopping_is_one_error(make_runner):
    async def job(number):
        try:
            await asyncio.sleep(1 if number == 7 else 50)
            raise LookupError("first")
        finally:
            if number != 7:
                raise ValueError(number)

    async with make_runner(limit=20) as runner:
        with pytest.raises(LookupError, match="first"):
            await runner.map(job, range(20))


@pytest.mark.parametrize("how", ["map", "call", "stream"])
def test_jobs_that_end_with_their_loop_say_that_their_run_was_left(how):
    seen = []

    class Watch:
        def run_opened(self, run):
            pass

        def job_ended(self, run, outcome):
            seen.append((outcome.outcome, str(outcome.error)))

        def run_closed(self, run):
            pass

    async def reads(runner):
        async with runner.stream(nap, [9, 9]) as outcomes:
            async for _ in outcomes:
                pass

    async def main():
        runner = sr.Runner("test", observers=[Watch()])
        await runner.__aenter__()
        works = {
            "map": lambda: runner.map(nap, [9, 9]),
            "call": lambda: runner.call(nap, 9),
            "stream": lambda: reads(runner),
        }
        tasks = [asyncio.create_task(works[how]()) for _ in range(5)]
        await asyncio.sleep(1)
        return tasks  # which the closing loop cancels, with the jobs' own

    sr.testing.FakeClock().run(main())
    text = "the job was cancelled: its run was left, or a sibling failed"
    assert len(seen) == (5 if how == "call" else 10)
    assert set(seen) == {("cancelled", text)}


async def test_a_job_that_cancels_itself_still_says_so(make_runner):
    async def job(number):
        if number:
            await asyncio.sleep(9)
        asyncio.current_task().cancel()
        await asyncio.sleep(9)

    async with make_runner() as runner:
        outcomes = await runner.map(job, [0, 1], errors="collect")
    assert {str(outcome.error) for outcome in outcomes} == {
        "the job cancelled itself, or something in it did"
    }
