"""Events: observers hear of what happens, whatever becomes of the spans."""

import asyncio
from typing import Any

import pytest

import spanrun as sr
from spanrun import recordings
from spanrun.loop.lag import LoopLag, Place, Suspect
from spanrun.telemetry.observe import Observers, RunEvent


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.runs: list[Any] = []

    def run_opened(self, run: Any) -> None:
        self.runs.append(run)

    def job_ended(self, run: Any, outcome: Any) -> None:
        """Say nothing."""

    def run_closed(self, run: Any) -> None:
        """Say nothing."""

    def happened(self, event: RunEvent) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[RunEvent]:
        return [event for event in self.events if event.kind == kind]


class Deaf:
    """An observer that was written before there were events."""

    def run_opened(self, run: Any) -> None:
        """Say nothing."""

    job_ended = run_closed = run_opened


class DownError(Exception):
    """The service is."""


def test_observers_need_not_hear_of_events():
    heard = Heard()
    observers = Observers([Deaf(), heard])
    event = RunEvent(1, "limit", None, None, {}, None)
    observers.happened(event)
    assert heard.events == [event]
    assert not Observers([Deaf()]).curious


def test_one_that_fails_breaks_nothing(caplog):
    class Broken(Heard):
        def happened(self, event: RunEvent) -> None:
            raise LookupError("no")

    heard = Heard()
    event = RunEvent(1, "limit", None, None, {}, None)
    Observers([Broken(), heard]).happened(event)
    assert heard.events == [event]
    assert "failed and goes on" in caplog.text


async def test_a_retry_says_which_job_and_attempt(fake_clock):
    heard = Heard()
    failing = [True, True]

    async def job(number):
        if number == 1 and failing:
            failing.pop()
            raise DownError

    retry = sr.Retry(on=DownError, attempts=3)
    async with sr.Runner("r", retry=retry, observers=[heard]) as r:
        await r.map(job, range(3))
    (run,) = heard.runs
    first, second = heard.events
    assert (first.kind, first.run, first.index) == ("retry", run.id, 1)
    assert (first.value["attempt"], first.value["error"]) == (1, "DownError")
    assert first.value["delay"] >= 0
    assert second.value["attempt"] == 2
    assert run.started_ns <= first.time_ns <= second.time_ns <= run.ended_ns


async def test_an_ordinary_job_tells_of_nothing(fake_clock):
    heard = Heard()
    retry, breaker = sr.Retry(on=DownError), sr.Breaker()
    async with sr.Runner(
        "r", retry=retry, breaker=breaker, observers=[heard]
    ) as runner:
        await runner.map(asyncio.sleep, [0] * 50)
    assert heard.events == []


async def test_a_breaker_tells_each_open_run_of_its_state(fake_clock):
    heard = Heard()

    async def job(_):
        raise DownError

    breaker = sr.Breaker(failures=2, on=DownError)
    async with sr.Runner("r", limit=1, breaker=breaker, observers=[heard]) as runner:
        await runner.map(job, range(4), errors="collect")
    (event,) = heard.of("breaker")
    assert event.value == {"state": "open", "error": "DownError"}
    assert (event.run, event.index) == (heard.runs[0].id, None)


async def test_a_change_of_an_adaptive_limit(fake_clock):
    heard = Heard()
    limit = sr.AdaptiveLimit(start=4, max=64, on=DownError)
    async with sr.Runner("r", limit=limit, observers=[heard]) as runner:
        seen = []

        async def job(_):
            await asyncio.sleep(1)
            seen.append(runner._core.slots.limit)

        await runner.map(job, range(300))
        last = runner._core.slots.limit
    told = [event.value["limit"] for event in heard.of("limit")]
    assert told
    assert told[-1] == last
    assert {*seen} <= {4, *told}
    assert {event.run for event in heard.events} == {heard.runs[0].id}


async def test_a_blocked_loop_is_one_event_of_the_guilty_job(make_runner, fake_clock):
    heard = Heard()

    async def job(number):
        if number == 1:
            fake_clock.advance(0.5)
        await asyncio.sleep(0)

    async with make_runner(observers=[heard]) as runner:
        await runner.map(job, range(30))
    (event,) = heard.of("blocked")
    assert (event.run, event.index) == (heard.runs[0].id, 1)
    assert event.value["seconds"] == pytest.approx(0.5)
    assert heard.runs[0].started_ns + 5e8 <= event.time_ns


def test_a_blocked_loop_that_nobody_is_guilty_of_says_where():
    heard, lag = Heard(), LoopLag()
    lag.observers = Observers([heard])
    place = Place("read", "/x/y.py", 7)
    lag.accuse(Suspect(None, 0.0, ends_itself=False, stack="  File", place=place))
    lag.settle()
    (event,) = heard.events
    assert (event.kind, event.run, event.index) == ("blocked", None, None)
    assert event.value["seconds"] > 0.1
    assert {**event.value, "seconds": 1} == {"seconds": 1, **place._asdict()}
    assert event.stack == "  File"


async def test_a_second_call(make_runner):
    heard = Heard()
    naps = iter([10.0, 1.0])

    async def job(_):
        await asyncio.sleep(next(naps))

    hedge = sr.Hedge(at=2.0, share=1.0)
    async with make_runner(hedge=hedge, observers=[heard]) as runner:
        await runner.map(job, [0])
    (event,) = heard.events
    assert (event.kind, event.index, event.value) == ("hedge", 0, {"after": 2.0})


async def stubborn(_):
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep(7)


async def test_a_job_that_was_cancelled_and_goes_on(make_runner):
    heard = Heard()
    async with make_runner(observers=[heard]) as runner:
        task = asyncio.create_task(runner.map(stubborn, [0]))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (event,) = heard.events
    assert (event.kind, event.run, event.index) == ("stuck", heard.runs[0].id, 0)
    assert event.value["seconds"] == pytest.approx(5)
    assert (event.value["by"], event.value["abandoned"]) == ("run", False)
    assert "in stubborn" in event.stack


async def test_a_source_that_was_cancelled_and_goes_on(make_runner):
    heard = Heard()

    async def source():
        await stubborn(0)
        yield 1

    async with make_runner(observers=[heard]) as runner:
        task = asyncio.create_task(runner.map(asyncio.sleep, source()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (event,) = heard.events
    assert (event.kind, event.run, event.index) == ("stuck", None, None)
    assert event.value["source_of"] == "test"


def test_they_are_recorded_whatever_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    failing = [True]

    async def job(_):
        if failing:
            failing.pop()
            raise DownError

    async def main():
        retry = sr.Retry(on=DownError, base=0.001)
        async with sr.Runner("r", retry=retry) as runner:
            await runner.map(job, range(3))

    sr.configure(store=tmp_path, summary=False)
    sr.run(main())
    assert sr.shutdown()
    with recordings.open(tmp_path) as recording:
        (run,) = recording.runs()
        (event,) = recording.events(run=run.id)
    assert event.kind == "retry"
    assert run.started_ns <= event.time_ns <= run.ended_ns


async def test_a_service_that_is_gone_and_comes_back(make_runner, fake_clock):
    heard = Heard()
    calls = 0

    async def job(_):
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.1)
        if fake_clock.now() < 30:
            raise ConnectionRefusedError(111)

    retry = sr.Retry(on=ConnectionError, attempts=5, cap=5, outage=60)
    async with make_runner(limit=8, retry=retry, observers=[heard]) as runner:
        await runner.map(job, range(100))
    gone, back = heard.of("outage")
    assert gone.value == {"state": "gone", "error": "ConnectionRefusedError"}
    assert back.value == {"state": "back"}
    (run,) = heard.runs
    assert {(event.run, event.index) for event in (gone, back)} == {(run.id, None)}
    assert 25 <= (back.time_ns - gone.time_ns) / 1e9 <= 40


def test_a_task_that_is_left_at_the_end_is_recorded(tmp_path):
    async def main():
        task = asyncio.create_task(forever(), name="kept")
        await asyncio.sleep(0)
        return task

    async def forever():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    sr.configure(store=tmp_path, summary=False)
    task = sr.run(main(), grace=0.05)
    assert not task.done()
    assert sr.shutdown()
    with recordings.open(tmp_path) as recording:
        events = [each for each in recording.events() if each.kind == "stuck"]
    event = events[-1]
    assert (event.run, event.index, event.value) == (None, None, {"task": "kept"})
    assert "in forever" in event.stack
