import asyncio
import contextlib

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError, ShuttingDown

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def test_a_call_gives_the_value_with_its_arguments_passed_on(make_runner):
    async def job(*args, **kwargs):
        return args, kwargs

    async with make_runner() as runner:
        got = await runner.call(job, 1, 2, function="mine", self="too")
    assert got == ((1, 2), {"function": "mine", "self": "too"})


async def test_calls_share_the_limit(make_runner, fake_clock):
    async with make_runner(limit=2) as runner:
        await asyncio.gather(*(runner.call(asyncio.sleep, 1) for _ in range(6)))
    assert fake_clock.now() == 3


async def test_an_error_comes_out_bare_with_its_note(make_runner):
    error = LookupError("mine")

    async def job():
        raise error

    async with make_runner() as runner:
        with pytest.raises(LookupError) as caught:
            await runner.call(job)
    assert caught.value is error
    assert error.__notes__ == ["job 0 of 'test'"]


async def test_one_call_that_fails_disturbs_no_other(make_runner):
    async def fail():
        raise LookupError

    async with make_runner() as runner:
        other = asyncio.create_task(runner.call(asyncio.sleep, 5, "value"))
        with pytest.raises(LookupError):
            await runner.call(fail)
        assert await other == "value"


async def test_a_job_that_cancels_itself_is_an_error_of_its_own(make_runner):
    async def job():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    async with make_runner() as runner:
        with pytest.raises(sr.JobCancelled, match="itself"):
            await runner.call(job)
    assert asyncio.current_task().cancelling() == 0


async def test_cancelling_the_caller_cancels_the_job_and_waits_for_it(make_runner):
    ended = []

    async def job():
        try:
            await asyncio.sleep(50)
        finally:
            await asyncio.sleep(1)
            ended.append("job")

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["job"]


async def test_a_job_that_swallows_the_cancellation_gives_its_value(make_runner):
    async def job():
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            return "survived"

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job))
        await asyncio.sleep(1)
        task.cancel()
        assert await task == "survived"


async def test_the_second_cancellation_of_the_caller_reaches_the_job(make_runner):
    async def job():
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50)
        await asyncio.sleep(50)

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job))
        for _ in range(3):
            await asyncio.sleep(1)
            assert not task.done()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_callers_timeout_works(make_runner, fake_clock):
    async with make_runner() as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await runner.call(asyncio.sleep, 50)
        assert fake_clock.now() == 3
        assert asyncio.current_task().cancelling() == 0


async def test_a_caller_cancelled_in_the_moment_in_which_the_job_ends(make_runner):
    ended = []

    async def job():
        ended.append(1)

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job))
        await asyncio.sleep(0)  # the job is about to take its only step
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended


async def test_a_caller_cancelled_before_the_job_began(make_runner):
    begun = []

    async def job():
        begun.append(1)

    async with make_runner() as runner:
        task = asyncio.create_task(runner.call(job))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not begun


async def test_a_job_can_call_on_its_own_runner_while_there_is_a_slot(make_runner):
    async with make_runner(limit=2) as runner:

        async def outer():
            return await runner.call(asyncio.sleep, 1, "inner")

        assert await runner.call(outer) == "inner"


async def test_a_runner_that_was_never_opened_says_so(make_runner):
    runner = make_runner()
    with pytest.raises(ConfigurationError, match="not open yet"):
        await runner.call(asyncio.sleep, 1)


async def test_a_closed_runner_refuses(make_runner):
    runner = make_runner()
    async with runner:
        await runner.call(asyncio.sleep, 1)
    with pytest.raises(ShuttingDown, match="closed"):
        await runner.call(asyncio.sleep, 1)
