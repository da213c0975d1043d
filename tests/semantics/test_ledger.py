"""Promise 2: every job's time is explained."""

import asyncio

import pytest

import spanrun as sr

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
    assert timings.busy == 0.5
    assert timings.service == pytest.approx(4)
    assert 0 <= timings.backoff <= 8
    assert (timings.queue, timings.rate_limit, timings.loop_lag) == (0, 0, 0)
    assert timings.duration == pytest.approx(8.5 + timings.backoff)
    assert explained(timings)


async def test_the_time_until_the_task_runs_is_queue(make_runner, fake_clock):
    async def job(number):
        if number == 0:
            fake_clock.advance(3)  # blocks the loop before the other one ran

    async with make_runner(limit=2) as runner:
        outcomes = await runner.map(job, [0, 1], errors="collect")
    assert [o.timings.queue for o in outcomes] == [0, 3]
    assert all(explained(o.timings) for o in outcomes)


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


async def test_a_job_that_never_ran_waited_in_the_queue(make_runner, fake_clock):
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
    assert [parts(timings)["queue"] for timings in others] == [5, 5]
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
