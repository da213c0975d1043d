import asyncio
import itertools

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError, ShuttingDown

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def nap(seconds):
    await asyncio.sleep(seconds)
    return seconds


async def test_ordered_outcomes_come_in_the_items_order(make_runner):
    async with (
        make_runner(limit=4) as runner,
        runner.stream(nap, [9, 1, 5, 2]) as outcomes,
    ):
        assert [outcome.value async for outcome in outcomes] == [9, 1, 5, 2]


async def test_unordered_outcomes_come_as_the_jobs_end(make_runner):
    async with (
        make_runner(limit=4) as runner,
        runner.stream(nap, [9, 1, 5, 2], ordered=False) as outcomes,
    ):
        seen = [(outcome.index, outcome.value) async for outcome in outcomes]
    assert seen == [(1, 1), (3, 2), (2, 5), (0, 9)]


@pytest.mark.parametrize("ordered", [True, False])
async def test_errors_are_outcomes_among_the_others(make_runner, ordered):
    async def job(number):
        await asyncio.sleep(1)
        if number % 2:
            raise LookupError(number)
        return number

    async with (
        make_runner(limit=3) as runner,
        runner.stream(job, range(7), ordered=ordered) as outcomes,
    ):
        seen = [outcome async for outcome in outcomes]
    failed = [o.index for o in seen if isinstance(o, sr.Err)]
    assert sorted(failed) == [1, 3, 5]
    assert sorted(o.value for o in seen if isinstance(o, sr.Ok)) == [0, 2, 4, 6]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_first_job_holds_back_no_more_than_the_window(
    make_runner, ordered
):
    begun = 0

    async def job(number):
        nonlocal begun
        begun += 1
        await asyncio.sleep(0 if number else 1_000)

    async with (
        make_runner(limit=4) as runner,
        runner.stream(job, itertools.count(), ordered=ordered) as outcomes,
    ):
        await asyncio.sleep(500)
        assert begun <= 8
        await anext(outcomes)


async def test_early_break_cancels_and_awaits_what_runs(make_runner, fake_clock):
    ended = []

    async def job(number):
        try:
            await asyncio.sleep(1 if number == 0 else 50)
        finally:
            await asyncio.sleep(1)
            ended.append((number, fake_clock.now()))

    async with make_runner(limit=3) as runner:
        async with runner.stream(job, itertools.count()) as outcomes:
            async for outcome in outcomes:
                assert outcome.index == 0
                break
        assert sorted(ended) == [(0, 2), (1, 3), (2, 3)]
        assert await runner.map(nap, [1]) == [1]


async def test_an_error_in_the_consumer_comes_out_once_the_jobs_are_gone(make_runner):
    ended = []

    async def job(number):
        try:
            await asyncio.sleep(number)
        finally:
            ended.append(number)

    async def consume(stream):
        async with stream as outcomes:
            await anext(outcomes)
            raise LookupError("consumer")

    async with make_runner(limit=3) as runner:
        stream = runner.stream(job, [0, 50, 60])
        with pytest.raises(LookupError, match="consumer"):
            await consume(stream)
        assert sorted(ended) == [0, 50, 60]


async def test_a_stream_not_read_at_all_is_cleaned_up(make_runner):
    async with make_runner(limit=3) as runner, runner.stream(nap, itertools.count()):
        await asyncio.sleep(10)


async def test_a_stream_not_read_to_its_end_is_cleaned_up(make_runner):
    async with (
        make_runner(limit=3) as runner,
        runner.stream(nap, [1] * 100) as outcomes,
    ):
        for _ in range(7):
            await anext(outcomes)


async def test_a_stream_never_entered_keeps_nobody_waiting(make_runner):
    async def numbers():
        yield 0

    async with make_runner() as runner:
        runner.stream(nap, [1])
        runner.stream(nap, numbers())
        runner.stream_batches(nap, numbers(), size=2)


async def test_reading_before_entering_is_explained(make_runner):
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match="async with"):
            await anext(runner.stream(nap, [1]))


async def test_a_stream_can_be_entered_once(make_runner):
    async with make_runner() as runner:
        stream = runner.stream(nap, [1])
        async with stream:
            with pytest.raises(ConfigurationError, match="once"):
                await stream.__aenter__()
        with pytest.raises(ConfigurationError, match="once"):
            await stream.__aenter__()
        with pytest.raises(ConfigurationError):
            await anext(stream)


async def test_the_end_stays_the_end(make_runner):
    async with make_runner() as runner, runner.stream(nap, [1]) as outcomes:
        assert [outcome.value async for outcome in outcomes] == [1]
        assert [outcome async for outcome in outcomes] == []


async def test_the_consumer_can_be_cancelled_and_read_on(make_runner):
    async with make_runner() as runner, runner.stream(nap, [10, 10]) as outcomes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(outcomes)
        assert [outcome.index async for outcome in outcomes] == [0, 1]


async def test_several_readers_share_the_outcomes(make_runner):
    async def read(outcomes):
        return [outcome.index async for outcome in outcomes]

    async with (
        make_runner(limit=3) as runner,
        runner.stream(nap, [3, 1, 2, 5, 4], ordered=False) as outcomes,
    ):
        shares = await asyncio.gather(*(read(outcomes) for _ in range(3)))
    assert sorted(index for share in shares for index in share) == [0, 1, 2, 3, 4]


async def test_streams_can_feed_each_other(make_runner):
    async def values(stream):
        async for outcome in stream:
            yield outcome.value

    async with (
        make_runner(limit=2) as first,
        make_runner(limit=2) as second,
        first.stream(nap, [1, 2, 3]) as outcomes,
    ):
        assert await second.map(nap, values(outcomes)) == [1, 2, 3]


async def test_a_stream_can_call_on_its_own_runner(make_runner):
    async with (
        make_runner(limit=2) as runner,
        runner.stream(nap, [1, 2, 3]) as outcomes,
    ):
        doubled = [await runner.call(nap, o.value) async for o in outcomes]
    assert doubled == [1, 2, 3]


async def test_a_higher_limit_is_used_from_the_next_job_that_ends_on(make_runner):
    running = 0

    async def job(_):
        nonlocal running
        running += 1
        await asyncio.sleep(100)
        running -= 1

    async with (
        make_runner(limit=2) as runner,
        runner.stream(job, itertools.count()),
    ):
        await asyncio.sleep(1)
        runner._core.slots.resize(5)
        await asyncio.sleep(100)
        assert running == 5


async def test_a_runner_that_is_closed_refuses(make_runner):
    async with make_runner() as runner:
        pass
    with pytest.raises(ShuttingDown):
        runner.stream(nap, [1])


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_programs_exit_comes_before_outcomes_and_over_other_errors(
    make_runner, ordered
):
    async def exits(number):
        await asyncio.sleep(1 + number)
        if number == 1:
            raise SystemExit(7)
        return number

    async def consume():
        async with (
            make_runner() as runner,
            runner.stream(exits, range(4), ordered=ordered) as outcomes,
        ):
            async for outcome in outcomes:
                if isinstance(outcome, sr.Err):
                    raise outcome.error
                await asyncio.sleep(9)  # in time for the exit of the next one
                raise ValueError("of the consumer's own")

    with pytest.raises(SystemExit):
        await consume()
