"""What blocks the loop is told and counted; by the fake clock, without a watchdog."""

import asyncio

import pytest

import spanrun as sr
from spanrun.loop import lag as lag_module
from spanrun.loop.lag import LoopLag, Mark, Suspect, lag_of
from spanrun.outcome import Timings
from spanrun.telemetry.log import Seldom

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

EVENT = "spanrun.loop.blocked"


def events(span):
    return [event for event in span.events if event.name == EVENT]


def blocker(fake_clock, seconds):
    async def job(number):
        await asyncio.sleep(1)
        if number == 1:
            fake_clock.advance(seconds)

    return job


async def test_the_event_is_on_the_guilty_job_alone(
    make_runner, fake_clock, spanrun_capture
):
    async with make_runner() as runner:
        await runner.map(blocker(fake_clock, 0.5), range(3))
    (run,) = spanrun_capture.find("run test")
    first, guilty, last = spanrun_capture.find("job test")
    (event,) = events(guilty)
    assert event.attributes == {"spanrun.loop.blocked.duration": 0.5}
    assert [events(span) for span in (run, first, last)] == [[], [], []]


async def test_the_log_says_who_blocked_and_for_how_long(
    make_runner, fake_clock, spanrun_capture, caplog
):
    async with make_runner() as runner:
        await runner.map(blocker(fake_clock, 0.5), range(3))
    (line,) = caplog.messages
    assert line == "job 1 of runner 'test' blocked the event loop for 0.5 s"


async def test_the_log_has_one_of_many_and_their_number(
    make_runner, fake_clock, spanrun_capture, caplog, monkeypatch
):
    now = [0.0]
    lag = lag_of(asyncio.get_running_loop())
    monkeypatch.setattr(lag, "_seldom", Seldom(10, lambda: now[0]))
    async with make_runner() as runner:
        for moment in (0.0, 3.0, 9.9, 10.0):
            now[0] = moment
            await runner.map(blocker(fake_clock, 0.5), range(3))
    first, second = caplog.messages
    assert "more" not in first
    assert second.endswith("s; 2 more since the last line")


async def test_each_step_has_its_event(make_runner, fake_clock, spanrun_capture):
    async def job(_):
        for seconds in (0.25, 0.0625, 0.5):
            fake_clock.advance(seconds)
            await asyncio.sleep(1)
        fake_clock.advance(2)

    async with make_runner() as runner:
        await runner.call(job, 0)
    (span,) = spanrun_capture.find("job test")
    durations = [each.attributes[f"{EVENT}.duration"] for each in events(span)]
    assert durations == [0.25, 0.5, 2]


async def test_blocked_steps_are_counted_by_runner(
    make_runner, fake_clock, spanrun_capture
):
    async with make_runner() as runner:
        (zero,) = spanrun_capture.points(EVENT)
        assert (zero.value, zero.attributes) == (0, {"spanrun.runner.name": "test"})
        for _ in range(3):
            await runner.map(blocker(fake_clock, 1), range(3))
    assert spanrun_capture.totals(EVENT, by="spanrun.runner.name") == {"test": 3}


async def test_the_threshold_is_a_setting(
    make_runner, fake_clock, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPANRUN_LOOP_THRESHOLD", "2")
    sr.configure(store="none")
    try:
        async with make_runner() as runner:
            await runner.map(blocker(fake_clock, 1), range(3))
            outcomes = await runner.map(
                blocker(fake_clock, 3), range(3), errors="collect"
            )
    finally:
        sr.shutdown()
    assert [each.timings.loop_lag for each in outcomes] == [0, 0, 3]


async def test_without_telemetry_nothing_is_said(make_runner, fake_clock, caplog):
    async with make_runner() as runner:
        await runner.map(blocker(fake_clock, 0.5), range(3))
    assert caplog.messages == []


async def test_without_telemetry_the_lag_is_booked_nevertheless(
    make_runner, fake_clock
):
    async with make_runner() as runner:
        outcomes = await runner.map(blocker(fake_clock, 1), range(3), errors="collect")
    assert [each.timings.loop_lag for each in outcomes] == [0, 0, 1]


async def test_a_span_that_takes_no_event_breaks_no_job(
    make_runner, fake_clock, spanrun_capture, monkeypatch
):
    def refuse(*_, **__):
        raise LookupError("no room")

    lost = []
    monkeypatch.setattr(spanrun_capture.recorder, "failed", lambda *a: lost.append(a))
    monkeypatch.setattr("spanrun.telemetry.units.job.JobUnit.event", refuse)
    async with make_runner() as runner:
        await runner.map(blocker(fake_clock, 1), range(3))
    ((signal, error),) = lost
    assert (signal, type(error)) == ("traces", LookupError)


class Job:
    """Somebody whose steps block."""

    unit = metrics = None

    def happened(self, kind, **value):
        """Nobody hears of it."""


def test_a_step_inside_a_step_is_booked_once():
    lag, outer, inner = LoopLag(), Job(), Job()
    before = lag.mark
    lag.blocked(inner, 1.0, 3.0, before)  # an eager task's, while the outer one runs
    lag.blocked(outer, 0.0, 5.0, before)
    timings = Timings()
    assert lag.held_up(timings, before, 99.0) == 5
    assert timings.loop_lag == 5


def test_nobody_is_held_up_for_longer_than_the_wait():
    lag = LoopLag()
    before = lag.mark
    lag.blocked(Job(), 0.0, 5.0, before)
    assert lag.held_up(Timings(), before, 2.0) == 2
    assert lag.held_up(Timings(), lag.mark, 2.0) == 0
    assert lag.held_up(Timings(), Mark(7.0), 2.0) == 0


def test_the_time_of_a_stopped_process_is_nobodys(monkeypatch):
    monkeypatch.setattr(lag_module.time, "perf_counter", lambda: 100.0)
    lag = LoopLag()
    lag.stop(40.0, 60.0)
    lag.stop(60.0, 98.0)  # it goes on
    lag.stop(99.0, 99.5)
    before = lag.mark
    lag.blocked(Job(), 50.0, 100.0, before)
    assert lag.held_up(Timings(), before, 99.0) == pytest.approx(1.5)
    lag.blocked(Job(), 70.0, 98.0, before)  # began and ended within
    assert lag.held_up(Timings(), before, 99.0) == pytest.approx(1.5)


def test_foreign_code_is_booked_by_who_runs_next(monkeypatch):
    lag, timings = LoopLag(), Timings()
    before = lag.mark
    monkeypatch.setattr(lag_module.time, "perf_counter", lambda: 10.0)
    lag.accuse(Suspect(None, since=7.0, ends_itself=False))
    assert lag.mark is not before
    assert lag.held_up(timings, before, 5.0) == 3
    assert lag.suspect is None
    lag.accuse(Suspect(None, since=9.95, ends_itself=False))
    assert lag.held_up(timings, lag.mark, 5.0) == 0  # it ended in time


async def test_each_loop_has_its_own(fake_clock):
    here = asyncio.get_running_loop()
    other = fake_clock.loop()
    assert lag_of(here) is lag_of(here)
    assert lag_of(here) is not lag_of(other)
    other.close()
