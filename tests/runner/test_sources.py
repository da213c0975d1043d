import asyncio
import contextlib
import itertools

import pytest

import spanrun as sr

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def same(item):
    await asyncio.sleep(1)
    return item


class Source:
    """Gives numbers, sync or async, and knows what was asked of it.

    Raises ``error`` in place of number ``until``; without one it ends there.
    """

    def __init__(self, until=None, error=None, pace=0.0):
        self.until = until
        self.error = error
        self.pace = pace
        self.pulled = 0
        self.closed = False

    def numbers(self):
        try:
            for number in itertools.count():
                if number == self.until:
                    if self.error is not None:
                        raise self.error
                    return
                self.pulled += 1
                yield number
        finally:
            self.closed = True

    async def numbers_async(self):
        try:
            for number in self.numbers():
                await asyncio.sleep(self.pace)
                yield number
        finally:
            await asyncio.sleep(self.pace)
            self.closed = True

    def items(self, kind):
        return self.numbers() if kind == "sync" else self.numbers_async()


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
async def test_every_item_is_run_in_order(make_runner, kind):
    source = Source(until=20)
    async with make_runner(limit=3) as runner:
        assert await runner.map(same, source.items(kind)) == list(range(20))
    assert source.closed


@both
async def test_no_items(make_runner, kind):
    async with make_runner() as runner:
        assert await runner.map(same, Source(until=0).items(kind)) == []
        async with runner.stream(same, Source(until=0).items(kind)) as outcomes:
            assert [outcome async for outcome in outcomes] == []


@both
@pytest.mark.parametrize("until", [0, 1, 7])
@pytest.mark.parametrize("errors", ["raise", "collect"])
async def test_what_the_source_raises_comes_out_of_map(
    make_runner, kind, until, errors
):
    error = LookupError("the source's own")
    source = Source(until=until, error=error)
    async with make_runner(limit=3) as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map(same, source.items(kind), errors=errors)
    assert caught.value is error
    assert source.closed


@both
async def test_a_source_that_fails_cancels_and_awaits_the_jobs_of_map(
    make_runner, kind
):
    ended = []

    async def job(item):
        try:
            await asyncio.sleep(50 if item else 1)
        finally:
            await asyncio.sleep(1)
            ended.append(item)

    source = Source(until=3, error=LookupError())
    async with make_runner(limit=3) as runner:
        with pytest.raises(LookupError):
            await runner.map(job, source.items(kind))
        assert sorted(ended) == [0, 1, 2]


@both
@pytest.mark.parametrize("ordered", [True, False])
async def test_in_a_stream_the_outcomes_before_it_come_first(
    make_runner, kind, ordered
):
    source = Source(until=7, error=LookupError("the source's own"))
    async with (
        make_runner(limit=3) as runner,
        runner.stream(same, source.items(kind), ordered=ordered) as outcomes,
    ):
        seen = [(await anext(outcomes)).value for _ in range(7)]
        with pytest.raises(LookupError, match="the source's own"):
            await anext(outcomes)
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)
    assert sorted(seen) == list(range(7))


@both
async def test_an_infinite_source_is_pulled_only_as_far_as_there_is_room(
    make_runner, kind
):
    source = Source()
    async with (
        make_runner(limit=4) as runner,
        runner.stream(same, source.items(kind)) as outcomes,
    ):
        for taken in range(1, 30):
            await anext(outcomes)
            await asyncio.sleep(5)  # a slow consumer: nothing piles up meanwhile
            assert source.pulled <= taken + 2 * 4
    assert source.closed or kind == "sync"


@both
async def test_an_infinite_source_is_not_run_ahead_by_map(make_runner, kind):
    source = Source()
    most = 0

    async def job(item):
        nonlocal most
        await asyncio.sleep(1)
        most = max(most, source.pulled - item)
        if item == 40:
            raise StopAsyncIteration  # a job's own error, whatever its type

    async with make_runner(limit=4) as runner:
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            await runner.map(job, source.items(kind))
    assert most <= 2 * 4


async def test_a_slow_async_source_is_waited_for(make_runner, fake_clock):
    async with make_runner(limit=4) as runner:
        source = Source(until=5, pace=10)
        assert await runner.map(same, source.numbers_async()) == list(range(5))
    assert fake_clock.now() >= 50


async def test_an_async_source_waits_while_a_job_fails_and_is_closed(make_runner):
    source = Source(pace=10)

    async def fail(_):
        await asyncio.sleep(1)
        raise LookupError

    async with make_runner(limit=4) as runner:
        with pytest.raises(LookupError):
            await runner.map(fail, source.numbers_async())
        assert source.closed


async def test_an_async_generator_is_closed_after_an_early_break(make_runner):
    source = Source()
    async with make_runner(limit=4) as runner:
        async with runner.stream(same, source.numbers_async()) as outcomes:
            async for _ in outcomes:
                break
        assert source.closed


async def test_an_async_generator_is_closed_after_cancellation(make_runner):
    source = Source(pace=10)
    async with make_runner(limit=4) as runner:
        task = asyncio.create_task(runner.map(same, source.numbers_async()))
        await asyncio.sleep(25)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed


async def test_an_error_in_closing_the_source_is_raised_on_leaving(make_runner):
    async def numbers():
        try:
            yield 0
            await asyncio.sleep(50)
            yield 1
        finally:
            raise LookupError("while closing")

    async with make_runner(limit=2) as runner:
        with pytest.raises(LookupError, match="while closing"):
            async with runner.stream(same, numbers()) as outcomes:
                await anext(outcomes)


async def test_an_async_iterator_without_aclose_will_do(make_runner):
    class Numbers:
        def __init__(self):
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async with make_runner() as runner:
        assert await runner.map(same, Numbers()) == [2, 1, 0]


async def test_a_source_that_swallows_its_cancellation_starts_no_job_any_more(
    make_runner,
):
    begun = []

    async def numbers():
        yield 0
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(50)
        yield 1

    async def fail(item):
        begun.append(item)
        await asyncio.sleep(1)
        raise LookupError

    async with make_runner(limit=2) as runner:
        with pytest.raises(LookupError):
            await runner.map(fail, numbers())
    assert begun == [0]


async def test_a_source_that_is_cancelled_from_within_is_no_hang(make_runner):
    async def numbers():
        yield 0
        raise asyncio.CancelledError("the source's own")

    async with make_runner(limit=2) as runner:
        with pytest.raises((asyncio.CancelledError, sr.JobCancelled)):
            await runner.map(same, numbers())


async def test_a_source_can_use_timeouts_and_task_groups_between_items(make_runner):
    async def numbers():
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for number in range(3):
                yield await group.create_task(asyncio.sleep(1, number))

    async with make_runner(limit=2) as runner:
        assert await runner.map(same, numbers()) == [0, 1, 2]
        batched = await runner.map_batches(
            lambda batch: asyncio.sleep(1, batch), numbers(), size=2
        )
        assert batched == [0, 1, 2]


@both
async def test_retries_make_room_for_at_most_the_limit_again(make_runner, kind):
    source = Source(until=100)

    async def dead(_):
        raise ConnectionError

    retry = sr.Retry(on=OSError, attempts=2, base=64, cap=64, budget=None)
    async with make_runner(limit=3, retry=retry) as runner:
        task = asyncio.create_task(
            runner.map(dead, source.items(kind), errors="collect")
        )
        await asyncio.sleep(0.001)
        assert source.pulled == 6
        assert len(await task) == 100
