"""Jobs that swallow their cancellation: they are named, and may be given up."""

import asyncio
import contextlib
import logging

import pytest

import spanrun as sr
from spanrun import semconv
from spanrun.runner.core import cores

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

LATE = semconv.METRIC_SPANRUN_JOB_LATE.name


async def swallow(seconds):
    """Run for so many seconds, whatever happens."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            await asyncio.sleep(until - loop.time())
        except asyncio.CancelledError:
            continue
    return seconds


async def fail_or_swallow(item):
    if item == 0:
        await asyncio.sleep(1)
        raise LookupError("the first")
    return await swallow(100)


def said(caplog):
    return [each.message for each in caplog.records if "has not ended" in each.message]


async def cancelled_map(runner):
    task = asyncio.create_task(runner.map(swallow, [100], key=lambda _: "stubborn"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_call(runner):
    task = asyncio.create_task(runner.call(swallow, 100))
    await asyncio.sleep(1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # else it gives its value
        await task


async def failed_map(runner):
    with pytest.raises(LookupError, match="the first"):
        await runner.map(fail_or_swallow, [0, 1])


async def left_stream(runner):
    async with runner.stream(swallow, [100]) as outcomes:
        await asyncio.sleep(1)
        assert outcomes


async def stubborn_source(runner):
    async def items():
        yield 0
        await swallow(100)

    with pytest.raises(LookupError):
        await runner.map(fail_or_swallow, items())


ways = pytest.mark.parametrize(
    "way",
    [cancelled_map, cancelled_call, failed_map, left_stream, stubborn_source],
    ids=lambda way: way.__name__,
)


@ways
async def test_it_is_waited_for_and_named_after_5_s_then_each_30(
    make_runner, way, fake_clock, caplog
):
    async with make_runner() as runner:
        await way(runner)
    assert fake_clock.now() == 100
    lines = said(caplog)
    assert [line.split(" s ago")[0].split()[-1] for line in lines] == [
        "5",
        "35",
        "65",
        "95",
    ]
    assert all("'test'" in line and "in swallow" in line for line in lines)


async def test_it_is_named_by_its_key_with_its_stack_and_nothing_of_ours(
    make_runner, caplog
):
    async with make_runner() as runner:
        await cancelled_map(runner)
    first, *_ = said(caplog)
    assert first.startswith(
        "job 'stubborn' of runner 'test' was cancelled with its run"
    )
    assert "spanrun/runner" not in first.split("\n", 1)[1]
    assert {each.levelno for each in caplog.records} == {logging.WARNING}
    assert all(each.name.startswith("spanrun.") for each in caplog.records)


async def test_one_that_ends_in_time_is_not_mentioned(make_runner, caplog):
    async with make_runner(timeout=1) as runner:
        outcomes = await runner.map(swallow, [5, 5.9], errors="collect")
    assert [outcome.value for outcome in outcomes] == [5, 5.9]
    assert said(caplog) == []


@ways
async def test_abandon_after_gives_control_back(make_runner, way, fake_clock, caplog):
    async with make_runner(abandon_after=3) as runner:
        await way(runner)
        assert fake_clock.now() == 4
    assert fake_clock.now() == 4
    assert [line.split("ended: ")[1].split(",")[0] for line in said(caplog)] == [
        "it is abandoned"
    ]
    await asyncio.sleep(200)


@pytest.mark.parametrize(
    "bound", [2, sr.Timeout(attempt=2), sr.Timeout(attempt=2, total=90)], ids=repr
)
@pytest.mark.parametrize("retry", [None, sr.Retry(on=TimeoutError, attempts=3)])
async def test_a_timeout_that_is_swallowed_is_given_up(
    make_runner, bound, retry, fake_clock
):
    begun = []

    async def job(seconds):
        begun.append(seconds)
        return await swallow(seconds)

    async with make_runner(timeout=bound, retry=retry, abandon_after=3) as runner:
        (outcome,) = await runner.map(job, [50], errors="collect")
        assert fake_clock.now() == 5
        assert isinstance(outcome.error, sr.JobCancelled)
        assert "by a timeout, and abandoned" in str(outcome.error)
        assert outcome.outcome == "cancelled"
        assert outcome.timings.duration == 5
        await asyncio.sleep(100)
        assert outcome.timings.duration == 5
    assert begun == [50]  # no other attempt of one that was given up


async def test_its_slot_is_kept_until_it_really_ends(make_runner, fake_clock):
    async def nothing():
        return fake_clock.now()

    async with make_runner(limit=1, abandon_after=3) as runner:
        await cancelled_call(runner)
        (core,) = [each for each in cores if each.slots.used]
        gauges = core.gauges()
        assert (gauges.running, gauges.queued, gauges.stuck) == (1, 0, 1)
        assert await runner.call(nothing) == 100
        assert core.gauges().stuck == 0


async def test_its_late_result_is_dropped_and_counted(
    make_runner, caplog, spanrun_capture
):
    async with make_runner(abandon_after=3) as runner:
        await cancelled_map(runner)
        assert spanrun_capture.value(LATE) == 0
        await asyncio.sleep(200)
    assert spanrun_capture.value(LATE) == 1
    assert "abandoned, has ended after all: a value is dropped" in caplog.text


@pytest.mark.parametrize("retry", [None, sr.Retry(on=LookupError, attempts=3)])
@pytest.mark.parametrize("error", [None, LookupError("late")])
@pytest.mark.parametrize("key", [None, str])
async def test_its_spans_end_once_when_it_is_abandoned(
    make_runner, retry, error, key, spanrun_capture, caplog
):
    async def job(_):
        await swallow(100)
        if error is not None:
            raise error

    async with make_runner(abandon_after=3, retry=retry) as runner:
        task = asyncio.create_task(runner.map(job, [0], key=key))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert spanrun_capture.unfinished() == {}
        before = len(spanrun_capture.spans)
        await asyncio.sleep(200)
    assert len(spanrun_capture.spans) == before
    span = spanrun_capture.span("job test")
    assert span.attributes[semconv.SPANRUN_JOB_OUTCOME] == "cancelled"
    assert span.attributes[semconv.SPANRUN_JOB_CANCELLED_BY] == "run"
    assert "which has ended" not in caplog.text
    names = sorted(each.name for each in spanrun_capture.spans)
    assert names == ["attempt test"] * bool(retry) + ["job test", "run test"]


async def test_the_stuck_are_a_metric(make_runner, spanrun_capture):
    stuck = semconv.METRIC_SPANRUN_RUNNER_STUCK.name
    async with make_runner() as runner:
        task = asyncio.create_task(cancelled_map(runner))
        await asyncio.sleep(5)
        assert spanrun_capture.value(stuck) == 0
        await asyncio.sleep(2)
        assert spanrun_capture.value(stuck) == 1
        await task
        assert spanrun_capture.value(stuck) == 0


async def test_a_hedge_that_swallows_its_cancellation_is_given_up(
    make_runner, fake_clock
):
    calls = []

    async def job(_):
        calls.append(0)
        return await (asyncio.sleep(6, "won") if len(calls) == 1 else swallow(100))

    async with make_runner(hedge=sr.Hedge(at=2, share=1.0), abandon_after=3) as runner:
        assert await runner.call(job, 0) == "won"
        assert fake_clock.now() == 9
        await asyncio.sleep(200)


async def test_many_are_counted_and_one_is_named(make_runner, caplog):
    async def stop(item):
        return await (fail_or_swallow(0) if item == 0 else swallow(20))

    async with make_runner(limit=30) as runner:
        with pytest.raises(LookupError):
            await runner.map(stop, range(30))
    (line,) = said(caplog)
    assert "it is waited for" in line
    assert "; so are 28 more\n" in line


async def test_those_that_follow_soon_are_in_the_next_line(make_runner, caplog):
    """A line in 30 s: what came between has its number in it."""

    async def cancelled(runner, after):
        await asyncio.sleep(after)
        task = asyncio.create_task(runner.call(swallow, 70))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

    async with make_runner() as runner:
        await asyncio.gather(*(cancelled(runner, after) for after in (0, 7, 8)))
    lines = said(caplog)
    assert [line.split(" s ago")[0].split()[-1] for line in lines] == ["5", "35", "65"]
    assert "more" not in lines[0]
    assert "; 2 more since the last line\n" in lines[1]
