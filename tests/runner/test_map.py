import asyncio
import gc
import weakref

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError, ShuttingDown

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def double(number):
    await asyncio.sleep(1 / (1 + number))  # the later ones end first
    return number * 2


async def test_results_are_in_the_items_order_whoever_ends_first(make_runner):
    async with make_runner(limit=8) as runner:
        assert await runner.map(double, range(20)) == [2 * n for n in range(20)]


async def test_no_items_give_no_results(make_runner):
    async with make_runner() as runner:
        assert await runner.map(double, []) == []
        assert await runner.map(double, [], errors="collect") == []


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_never_more_jobs_at_once_than_the_limit(make_runner, limit):
    running = most = 0

    async def job(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async with make_runner(limit=limit) as runner:
        await runner.map(job, range(50))
    assert most == min(limit, 50)


async def test_collect_gives_an_outcome_for_each_item_in_order(make_runner):
    async def job(number):
        await asyncio.sleep(1)
        if number == 1:
            raise LookupError(number)
        if number == 2:
            asyncio.current_task().cancel()
            await asyncio.sleep(1)
        if number == 3:
            await asyncio.sleep(99)
        return number

    async with make_runner(timeout=9) as runner:
        outcomes = await runner.map(job, range(5), errors="collect")
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4]
    ends = [getattr(outcome, "outcome", "ok") for outcome in outcomes]
    assert ends == ["ok", "failed", "cancelled", "timed_out", "ok"]
    assert isinstance(outcomes[1].error, LookupError)
    assert isinstance(outcomes[2].error, sr.JobCancelled)
    assert isinstance(outcomes[3].error, sr.DeadlineExceeded)
    assert outcomes[4].value == 4


async def test_outcomes_can_be_matched(make_runner):
    async with make_runner() as runner:
        (outcome,) = await runner.map(double, [4], errors="collect")
    match outcome:
        case sr.Ok(index=index, value=value, timings=timings, attempts=attempts):
            assert (index, value, timings.duration, attempts) == (0, 8, 0.2, 1)
        case sr.Err():
            pytest.fail("an error")


async def test_first_error_cancels_and_awaits_the_siblings(make_runner, fake_clock):
    ended = []

    async def job(number):
        try:
            await asyncio.sleep(1 if number == 2 else 50)
            raise LookupError(number)
        finally:
            await asyncio.sleep(1)
            ended.append((number, fake_clock.now()))

    async with make_runner(limit=4) as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map(job, range(100))
        assert caught.value.args == (2,)
        assert fake_clock.now() == 3
        assert sorted(ended) == [(0, 3), (1, 3), (2, 2), (3, 3)]


async def test_the_error_is_bare_and_carries_its_note(make_runner):
    error = LookupError("mine")

    async def job(number):
        await asyncio.sleep(1)
        if number == 3:
            raise error

    retry = sr.Retry(on=OSError, attempts=4)
    async with make_runner(limit=2, retry=retry) as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map(job, range(9))
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__notes__ == ["job 3 of 'test' · attempt 1/4"]


async def test_the_note_says_the_key_and_the_waits(make_runner):
    async def job(number):
        await asyncio.sleep(1)
        if number == 1:
            raise ConnectionError

    retry = sr.Retry(on=OSError, attempts=2, base=0, cap=0)
    async with make_runner(limit=1, retry=retry) as runner:
        blocker = asyncio.create_task(runner.call(asyncio.sleep, 0.25))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionError) as caught:
            await runner.map(job, [1], key=lambda number: f"item-{number}")
        await blocker
    (note,) = caught.value.__notes__
    assert note.startswith("job 'item-1' of 'test' · attempt 2/2 · waited 250 ms for")


async def test_the_same_error_object_gets_one_note(make_runner):
    error = LookupError("shared")

    async def job(_):
        raise error

    async with make_runner() as runner:
        await runner.map(job, range(5), errors="collect")
    assert len(error.__notes__) == 1


async def test_errors_while_stopping_do_not_replace_the_first(make_runner):
    async def job(number):
        try:
            await asyncio.sleep(1 + number)
        except asyncio.CancelledError:
            raise ValueError("storm") from None
        raise LookupError("first")

    async with make_runner(limit=5) as runner:
        with pytest.raises(LookupError, match="first"):
            await runner.map(job, range(5))


async def test_a_job_that_cancels_itself_is_no_cancellation_of_the_caller(make_runner):
    async def job(number):
        if number == 1:
            raise asyncio.CancelledError
        await asyncio.sleep(1)

    async with make_runner() as runner:
        with pytest.raises(sr.JobCancelled):
            await runner.map(job, range(3))
    assert asyncio.current_task().cancelling() == 0


async def test_swallowed_cancellation_counts_as_the_value(make_runner):
    async def job(number):
        if number == 0:
            await asyncio.sleep(1)
            raise LookupError
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            return "survived"

    seen = []

    class Notes:
        def run_opened(self, run):
            pass

        def job_ended(self, run, outcome):
            seen.append(outcome)

        def run_closed(self, run):
            pass

    async with make_runner(limit=2, observers=[Notes()]) as runner:
        with pytest.raises(LookupError):
            await runner.map(job, range(2))
    assert [type(outcome).__name__ for outcome in seen] == ["Err", "Ok"]


async def test_keys_come_back_in_the_outcomes(make_runner):
    async with make_runner() as runner:
        outcomes = await runner.map(double, [3, 1], errors="collect", key=str)
    assert [outcome.key for outcome in outcomes] == ["3", "1"]


@pytest.mark.parametrize("errors", ["raise", "collect"])
@pytest.mark.parametrize("option", ["key", "priority"])
async def test_an_error_in_key_or_priority_ends_the_map(make_runner, option, errors):
    def wrong(item):
        if item == 3:
            raise LookupError("in the option")
        return 0

    async with make_runner(limit=2) as runner:
        with pytest.raises(LookupError, match="in the option"):
            await runner.map(double, range(9), errors=errors, **{option: wrong})
        assert await runner.map(double, [1]) == [2]


async def test_what_is_not_awaitable_is_explained(make_runner):
    def plain(item):
        return item

    async with make_runner() as runner:
        with pytest.raises(TypeError, match=r"plain returned int, .*async def"):
            await runner.map(plain, [1])


async def test_any_awaitable_will_do(make_runner):
    def future(item):
        done = asyncio.get_running_loop().create_future()
        done.set_result(item)
        return done

    async with make_runner() as runner:
        assert await runner.map(future, [1, 2]) == [1, 2]


async def test_maps_at_the_same_time_share_the_limit(make_runner, fake_clock):
    async with make_runner(limit=2) as runner:
        maps = [runner.map(asyncio.sleep, [1] * 4) for _ in range(3)]
        await asyncio.gather(*maps)
    assert fake_clock.now() == 6


@pytest.mark.parametrize("errors", ["ignore", None, True])
async def test_nonsense_for_errors_is_refused(make_runner, errors):
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match="errors="):
            await runner.map(double, [1], errors=errors)


async def test_what_is_no_iterable_is_refused(make_runner):
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match=r"map\(items=5\): must be"):
            await runner.map(double, 5)


async def test_a_runner_that_is_not_open_refuses(make_runner):
    runner = make_runner()
    with pytest.raises(ConfigurationError, match="not open yet"):
        await runner.map(double, [1])
    async with runner:
        pass
    with pytest.raises(ShuttingDown):
        await runner.map(double, [1])


async def test_an_error_that_is_kept_keeps_no_task(make_runner):
    # Its traceback has the frame of the job, and through that all it refers to.
    tasks = []

    async def fail(number):
        tasks.append(weakref.ref(asyncio.current_task()))
        raise LookupError(number)

    async with make_runner() as runner:
        outcomes = await runner.map(fail, range(3), errors="collect")
    await asyncio.sleep(1)
    gc.collect()
    assert all(isinstance(outcome.error, LookupError) for outcome in outcomes)
    assert [task() for task in tasks] == [None] * 3
