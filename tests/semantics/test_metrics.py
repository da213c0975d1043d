"""Promise 3, first half: metrics are exact."""

import asyncio

import pytest

import spanrun as sr

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

OUTCOMES = {"ok", "failed", "timed_out", "cancelled", "skipped"}
PHASES = {"queue", "limit", "rate_limit", "backoff", "busy", "loop_lag", "service"}


async def every_end(number):
    await asyncio.sleep(1)
    match number % 4:
        case 1:
            raise LookupError
        case 2:
            raise asyncio.CancelledError
        case 3:
            await asyncio.sleep(99)


def by_outcome(captured):
    return captured.totals("spanrun.jobs", by="spanrun.job.outcome")


async def test_every_job_is_counted_by_its_outcome(make_runner, spanrun_capture):
    async with make_runner(timeout=9) as runner:
        await runner.map(every_end, range(80), errors="collect")
    assert by_outcome(spanrun_capture) == dict.fromkeys(
        ["ok", "failed", "cancelled", "timed_out"], 20
    )


async def test_jobs_cancelled_before_they_ran_are_counted(make_runner, spanrun_capture):
    async def fail(number):
        raise LookupError(number)

    async with make_runner(limit=5) as runner:
        with pytest.raises(LookupError):
            await runner.map(fail, range(100))
    assert by_outcome(spanrun_capture) == {"failed": 1, "cancelled": 4}


async def test_errors_are_counted_by_type(make_runner, spanrun_capture):
    async with make_runner(timeout=9) as runner:
        await runner.map(every_end, range(8), errors="collect")
    assert spanrun_capture.totals("spanrun.jobs", by="error.type") == {
        None: 4,  # a cancelled job is no error
        "LookupError": 2,
        "spanrun.errors.DeadlineExceeded": 2,
    }


async def test_error_types_are_bounded(make_runner, spanrun_capture):
    async def job(number):
        raise type(f"Error{number}", (Exception,), {})

    async with make_runner() as runner:
        await runner.map(job, range(100), errors="collect")
    types = spanrun_capture.totals("spanrun.jobs", by="error.type")
    assert len(types) == 65
    assert types["_OTHER"] == 36


async def test_durations_are_exact(make_runner, spanrun_capture):
    async with make_runner(limit=100) as runner:
        await runner.map(asyncio.sleep, [0.25] * 10 + [4] * 3)
    ok = {"spanrun.job.outcome": "ok"}
    (point,) = spanrun_capture.points("spanrun.job.duration", ok)
    assert (point.count, point.value) == (13, 14.5)
    filled = {
        bound: count
        for bound, count in zip(point.bounds, point.buckets, strict=False)
        if count
    }
    assert filled == {0.25: 10, 5: 3}


async def test_phase_times_are_the_sum_of_the_jobs_ledgers(
    make_runner, spanrun_capture, fake_clock
):
    async def job(_):
        fake_clock.advance(0.5)
        await asyncio.sleep(2)
        if len(spanrun_capture.find("attempt test")) < 3:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=8, cap=8)
    async with make_runner(limit=2, retry=retry) as runner:
        outcomes = await runner.map(job, range(9), errors="collect")
    expected = {}
    for outcome in outcomes:
        for phase, seconds in outcome.timings.phases():
            expected[phase] = expected.get(phase, 0) + seconds
    measured = spanrun_capture.totals("spanrun.job.phase.time", by="spanrun.job.phase")
    assert measured == pytest.approx({p: s for p, s in expected.items() if s})


async def test_retries_are_counted(make_runner, spanrun_capture):
    async def dead(_):
        raise ConnectionError

    retry = sr.Retry(on=ConnectionError, attempts=3, budget=None)
    async with make_runner(retry=retry) as runner:
        await runner.map(dead, range(10), errors="collect")
    assert spanrun_capture.totals("spanrun.job.retries", by="error.type") == {
        "ConnectionError": 20
    }


async def test_batches_are_measured(make_runner, spanrun_capture):
    async def job(batch):
        await asyncio.sleep(2)
        return batch

    async with make_runner() as runner:
        await runner.map_batches(job, range(5), size=2)
    assert spanrun_capture.count("spanrun.batch.size") == 3
    assert spanrun_capture.value("spanrun.batch.size") == 5
    assert spanrun_capture.value("spanrun.batch.duration") == 6


async def test_a_runner_that_opens_exports_its_zero_points(
    make_runner, spanrun_capture
):
    async with make_runner():
        (snapshot,) = spanrun_capture.snapshots
        jobs, phases = snapshot["spanrun.jobs"], snapshot["spanrun.job.phase.time"]
        assert {p.attributes["spanrun.job.outcome"]: p.value for p in jobs} == (
            dict.fromkeys(OUTCOMES, 0)
        )
        assert {p.attributes["spanrun.job.phase"]: p.value for p in phases} == (
            dict.fromkeys(PHASES, 0)
        )
        durations = snapshot["spanrun.job.duration"]
        assert {p.attributes["spanrun.job.outcome"] for p in durations} == OUTCOMES
        assert {p.count for p in durations} == {0}


async def test_a_new_error_type_has_its_zero_point_first(make_runner, spanrun_capture):
    async def job(_):
        await asyncio.sleep(1)
        raise LookupError

    async with make_runner() as runner:
        await runner.map(job, [1], errors="collect")
    values = [
        point.value
        for snapshot in spanrun_capture.snapshots
        for point in snapshot["spanrun.jobs"]
        if point.matches({"error.type": "LookupError"})
    ]
    assert values == [0, 1]


async def test_a_runner_that_closes_exports_the_last_values(
    make_runner, spanrun_capture
):
    async with make_runner() as runner:
        await runner.map(asyncio.sleep, [1] * 7)
    last = spanrun_capture.snapshots[-1]["spanrun.jobs"]
    assert sum(point.value for point in last) == 7


async def test_the_state_of_a_runner_is_reported_while_it_is_open(
    make_runner, spanrun_capture
):
    name = {"spanrun.runner.name": "test"}
    value = spanrun_capture.value
    async with make_runner(limit=3) as runner:
        tasks = [asyncio.create_task(runner.call(asyncio.sleep, 9)) for _ in range(5)]
        await asyncio.sleep(1)
        assert value("spanrun.runner.limit", name) == 3
        assert value("spanrun.runner.in_flight", name) == 3
        states = spanrun_capture.totals("spanrun.job.active", by="spanrun.job.state")
        assert states == {"running": 3, "queued": 2}
        await asyncio.gather(*tasks)
    assert spanrun_capture.points("spanrun.runner.limit") == []


async def test_jobs_that_back_off_are_reported_as_such(make_runner, spanrun_capture):
    async def fail():
        raise ConnectionError

    retry = sr.Retry(on=ConnectionError, attempts=2, base=1_000, cap=1_000)
    async with make_runner(limit=1, retry=retry) as runner:
        task = asyncio.create_task(runner.call(fail))
        await asyncio.sleep(0.001)
        states = spanrun_capture.totals("spanrun.job.active", by="spanrun.job.state")
        assert states == {"backing_off": 1}
        task.cancel()
        await asyncio.wait([task])


async def test_two_open_runners_of_one_name_are_added_up(make_runner, spanrun_capture):
    async with make_runner(limit=3) as one, make_runner(limit=5) as two:
        tasks = [
            asyncio.create_task(runner.call(asyncio.sleep, 9))
            for runner in (one, one, two)
        ]
        await asyncio.sleep(1)
        assert spanrun_capture.value("spanrun.runner.limit") == 8
        assert spanrun_capture.value("spanrun.runner.in_flight") == 3
        assert spanrun_capture.value("spanrun.job.active") == 3
        await asyncio.gather(*tasks)


async def test_every_name_and_attribute_is_in_the_registry(
    make_runner, spanrun_capture
):
    from spanrun import semconv  # noqa: PLC0415

    retry = sr.Retry(on=ConnectionError)
    async with make_runner(timeout=9, retry=retry) as runner:
        await runner.map(every_end, range(8), errors="collect", key=str)
        await runner.map_batches(lambda b: asyncio.sleep(1, b), range(5), size=2)
        with sr.unit("mine"):
            pass
    metrics = {metric.name: metric for metric in semconv.METRICS}
    for name, points in spanrun_capture.snapshots[-1].items():
        for point in points:
            assert point.attributes.keys() <= set(metrics[name].attributes), name
    for span in spanrun_capture.spans:
        assert span.attributes.keys() <= semconv.ATTRIBUTES.keys(), span.name
