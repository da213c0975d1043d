"""Promise 2: every job's time is explained."""

import asyncio

import pytest

import spanrun as sr
from spanrun.loop.lag import lag_of
from spanrun.runner import run as run_module
from spanrun.runner.job import Job

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


def parts(timings):
    return dict(timings.phases())


def explained(timings):
    total = sum(seconds for _, seconds in timings.phases())
    return total == pytest.approx(timings.duration, rel=0.01)


async def test_each_wait_is_booked_where_it_belongs(make_runner, fake_clock):
    calls = 0

    async def job(_):
        nonlocal calls
        calls += 1
        fake_clock.advance(0.25)  # work on the loop
        await asyncio.sleep(2)  # waiting for a service
        if calls == 1:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=8, cap=8)
    async with make_runner(limit=1, retry=retry) as runner:
        runner._core.slots.used += 1  # somebody else holds the only slot …
        asyncio.get_running_loop().call_later(4, runner._core.slots.release)
        (outcome,) = await runner.map(job, [0], errors="collect")
    timings = outcome.timings
    assert timings.limit == 4
    assert timings.busy == pytest.approx(0.5)  # after a back-off of chance
    assert timings.service == pytest.approx(4)
    assert 0 <= timings.backoff <= 8
    assert (timings.queue, timings.rate_limit, timings.loop_lag) == (0, 0, 0)
    assert timings.duration == pytest.approx(8.5 + timings.backoff)
    assert explained(timings)


async def test_the_time_until_the_task_runs_is_queue(make_runner, fake_clock):
    async def job(_):
        fake_clock.advance(0.0625)  # less than what blocks the loop

    async with make_runner(limit=4) as runner:
        outcomes = await runner.map(job, range(4), errors="collect")
    assert [o.timings.queue for o in outcomes] == [0, 0.0625, 0.125, 0.1875]
    assert all(explained(o.timings) for o in outcomes)


async def test_a_blocked_loop_is_lag_of_who_had_not_begun(make_runner, fake_clock):
    async def job(number):
        fake_clock.advance(0.0625 if number == 0 else 3)

    async with make_runner(limit=3) as runner:
        outcomes = await runner.map(job, range(3), errors="collect")
    assert [o.timings.queue for o in outcomes] == [0, 0.0625, 0.0625]
    assert [o.timings.loop_lag for o in outcomes] == [0, 0, 3]
    assert all(explained(o.timings) for o in outcomes)


async def test_a_blocked_loop_is_lag_of_all_who_wait_for_an_answer(
    make_runner, fake_clock
):
    async def job(number):
        await asyncio.sleep(1)
        if number == 1:
            fake_clock.advance(0.5)  # blocks: 0, 2 and 3 wait meanwhile
        await asyncio.sleep(1)

    async with make_runner(limit=4) as runner:
        outcomes = await runner.map(job, range(4), errors="collect")
    assert [o.timings.loop_lag for o in outcomes] == [0.5, 0, 0.5, 0.5]
    assert [o.timings.busy for o in outcomes] == [0, 0.5, 0, 0]
    assert all(explained(o.timings) for o in outcomes)


async def test_other_runners_on_the_loop_are_held_up_too(make_runner, fake_clock):
    async def block(_):
        await asyncio.sleep(1)
        fake_clock.advance(5)

    async with make_runner() as first, make_runner() as second:
        (outcome,), _ = await asyncio.gather(
            first.map(asyncio.sleep, [2], errors="collect"), second.map(block, [0])
        )
    assert outcome.timings.loop_lag == 5
    assert outcome.timings.service == 1
    assert explained(outcome.timings)


async def test_steps_are_timed_while_somebody_sees_them(
    make_runner, monkeypatch, fake_clock
):
    jobs = []

    class Seen(Job):
        def __init__(self, *given):
            super().__init__(*given)
            jobs.append(self)

    monkeypatch.setattr(run_module, "Job", Seen)
    lag = lag_of(asyncio.get_running_loop())

    def timed():
        return sum(job.timings.busy > 0 for job in jobs)

    async def job(number):
        fake_clock.advance(1e-3)
        await asyncio.sleep(1)
        if number == 3:
            raise LookupError(number)

    async with make_runner(limit=2) as runner, make_runner() as other:
        await runner.map(job, range(3))
        with pytest.raises(LookupError):
            await runner.map(job, range(5))
        await runner.call(job, 0)
        assert (timed(), lag.shown) == (0, 0)  # who could tell?
        async with other.stream(job, [1, 1, 1]) as outcomes:
            await runner.map(job, range(3))
            await anext(outcomes)
            assert lag.shown == 1
        assert (timed(), lag.shown) == (3 + 3, 0)
        await runner.map(job, range(5), errors="collect")
        assert (timed(), lag.shown) == (3 + 3 + 5, 0)


async def test_a_job_that_ended_before_is_not_held_up(make_runner, fake_clock):
    async def job(number):
        await asyncio.sleep(number)
        if number == 2:
            fake_clock.advance(5)

    async with make_runner(limit=4) as runner:
        outcomes = await runner.map(job, [1, 2, 3], errors="collect")
    assert [o.timings.loop_lag for o in outcomes] == [0, 0, 5]


@pytest.mark.parametrize("end", ["raised", "cancelled", "closed by a cancellation"])
async def test_a_step_that_blocks_and_ends_badly_is_booked(
    make_runner, fake_clock, end
):
    async def job(number):
        try:
            await asyncio.sleep(1 if number == 0 else 9)
        finally:
            if number == 0:
                fake_clock.advance(2)
        if end == "raised":
            raise LookupError

    async with make_runner(limit=2) as runner:
        if end == "closed by a cancellation":
            loop = asyncio.get_running_loop()
            loop.call_later(0.5, lambda: cancel_first(runner))
        elif end == "cancelled":
            loop = asyncio.get_running_loop()
            loop.call_later(1, lambda: cancel_first(runner))
        outcomes = await runner.map(job, range(2), errors="collect")
    assert [o.timings.loop_lag for o in outcomes] == [0, 2]
    assert [o.timings.busy for o in outcomes] == [2, 0]
    assert all(explained(o.timings) for o in outcomes)


def cancel_first(runner):
    (run,) = (run for run in runner._core.runs if run)
    min(run.active, key=lambda job: job.index).cancel("run")


async def test_a_step_that_takes_no_longer_than_the_threshold_blocks_nobody(
    make_runner, fake_clock
):
    async def job(number):
        await asyncio.sleep(1)
        if number == 0:
            fake_clock.advance(0.09)
        await asyncio.sleep(1)

    async with make_runner(limit=2) as runner:
        outcomes = await runner.map(job, range(2), errors="collect")
    assert [o.timings.loop_lag for o in outcomes] == [0, 0]


async def test_a_second_call_of_a_hedge_books_lag_too(make_runner, fake_clock):
    calls = 0

    async def job(number):
        nonlocal calls
        if number == 1:
            await asyncio.sleep(3)
            fake_clock.advance(4)
            return
        calls += 1
        await asyncio.sleep(50 if calls == 1 else 5)

    hedge = sr.Hedge(at=2, share=1.0)
    async with make_runner(limit=4, hedge=hedge) as runner:
        outcomes = await runner.map(job, range(2), errors="collect")
    assert outcomes[0].timings.loop_lag == 4
    assert explained(outcomes[0].timings)


async def test_the_pause_of_a_service_is_rate_limit(make_runner):
    class BusyError(ConnectionError):
        retry_after = 16

    failed = []

    async def job(number):
        await asyncio.sleep(1)
        if not failed:
            failed.append(number)
            raise BusyError

    retry = sr.Retry(on=BusyError, base=0, cap=0)
    async with make_runner(limit=1, retry=retry) as runner:
        first, second = await runner.map(job, "ab", errors="collect")
    assert first.timings.backoff == 16
    assert second.timings.rate_limit == 16
    assert explained(first.timings)
    assert explained(second.timings)


@pytest.mark.parametrize("end", ["ok", "failed", "timed_out", "cancelled"])
async def test_the_parts_add_up_whatever_the_end(make_runner, fake_clock, end):
    async def job(_):
        fake_clock.advance(1)
        await asyncio.sleep(2)
        if end == "failed":
            raise LookupError
        if end == "cancelled":
            raise asyncio.CancelledError
        if end == "timed_out":
            await asyncio.sleep(50)

    async with make_runner(timeout=8) as runner:
        (outcome,) = await runner.map(job, [0], errors="collect")
    assert getattr(outcome, "outcome", "ok") == end
    assert explained(outcome.timings)
    assert outcome.timings.busy == 1
    assert outcome.timings.duration == (8 if end == "timed_out" else 3)


async def test_a_job_that_never_ran_waited_for_the_loop(make_runner, fake_clock):
    seen = []

    class Notes:
        def run_opened(self, run):
            pass

        def job_ended(self, run, outcome):
            seen.append(outcome.timings)

        def run_closed(self, run):
            pass

    async def job(number):
        fake_clock.advance(5)
        raise LookupError(number)

    async with make_runner(limit=3, observers=[Notes()]) as runner:
        with pytest.raises(LookupError):
            await runner.map(job, range(3))
    ran, *others = seen
    assert ran.busy == 5
    assert [parts(timings)["loop_lag"] for timings in others] == [5, 5]
    assert all(explained(timings) for timings in seen)


async def test_the_ledger_of_a_real_run_adds_up_to_one_per_cent():
    async def job(number):
        sum(range(2_000))
        await asyncio.sleep(0)
        if number % 3 == 0:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=0, cap=0, budget=None)
    async with sr.Runner("real", limit=4, retry=retry) as runner:
        outcomes = await runner.map(job, range(60), errors="collect")
    for outcome in outcomes:
        assert explained(outcome.timings)
        assert all(seconds >= 0 for _, seconds in outcome.timings.phases())
        assert outcome.timings.busy > 0
