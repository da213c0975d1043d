"""What a run's spans tell to who wants to run it once more."""

import asyncio
import json
import math
import random
from typing import Any

import pytest

import spanrun as sr
from spanrun import semconv
from spanrun.errors import ServiceError
from spanrun.policies.described import described
from spanrun.testing import Captured, FakeClock

PARTS = "limit", "rate_limit", "busy", "loop_lag", "service"


async def quick(item: Any) -> Any:
    return item


def times(span: Any) -> dict[str, float]:
    """Where an attempt's own time went."""
    prefix = "spanrun.attempt.time."
    return {
        key.removeprefix(prefix): value
        for key, value in span.attributes.items()
        if key.startswith(prefix)
    }


def is_transient(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


async def test_a_run_tells_its_policies(spanrun_capture: Captured) -> None:
    async with sr.Runner(
        "embed",
        limit=sr.AdaptiveLimit(start=4),
        rate=sr.RateLimit(200, per=1.0),
        retry=sr.Retry(on=is_transient, attempts=4, cap=math.inf),
        timeout=sr.Timeout(attempt=5, total=30),
        hedge=sr.Hedge(at="p90"),
        breaker=sr.Breaker(on=(OSError, TimeoutError)),
        abandon_after=20,
    ) as runner:
        await runner.map(quick, range(2))
    run = spanrun_capture.span("run embed")
    told = json.loads(run.attributes[semconv.SPANRUN_RUN_POLICIES])
    assert list(told) == [
        *("limit", "rate", "retry", "timeout", "hedge", "breaker", "abandon_after")
    ]
    assert told["limit"]["type"] == "AdaptiveLimit"
    assert told["limit"]["start"] == 4
    assert told["rate"]["type"] == "RateLimit"
    assert told["retry"]["on"] == f"{__name__}.is_transient"
    assert (told["retry"]["attempts"], told["retry"]["cap"]) == (4, "inf")
    assert told["timeout"] == {"type": "Timeout", "attempt": 5, "total": 30}
    assert told["hedge"]["at"] == "p90"
    assert told["breaker"]["on"] == ["builtins.OSError", "builtins.TimeoutError"]
    assert told["abandon_after"] == 20


def test_what_was_not_given_is_left_out() -> None:
    wanted = {"limit": {"type": "Limit", "concurrency": 2, "ageing": 1.0}}
    assert json.loads(described({"limit": sr.Limit(2), "rate": None})) == wanted


async def test_an_attempt_tells_its_own_time_where_that_is_not_its_job_s(
    spanrun_capture: Captured, fake_clock: FakeClock
) -> None:
    calls = 0

    async def job(_: int) -> None:
        nonlocal calls
        calls += 1
        fake_clock.advance(0.03 * calls)  # work on the loop
        await asyncio.sleep(2 * calls)  # waiting for a service
        if calls < 3:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=8, cap=8)
    async with sr.Runner("flaky", limit=1, retry=retry) as runner:
        core: Any = runner._core
        slots = core.slots
        slots.used += 1  # somebody else holds the only slot …
        asyncio.get_running_loop().call_later(4, slots.release)
        await runner.map(job, [0])
        await runner.map(job, [1])
    first, second, third, only = spanrun_capture.find("attempt flaky")
    near = pytest.approx
    wanted = {"limit": 4, "rate_limit": 0, "loop_lag": 0}
    assert times(first) == near({**wanted, "busy": 0.03, "service": 2})
    wanted["limit"] = 0
    assert times(second) == near({**wanted, "busy": 0.06, "service": 4})
    assert times(third) == near({**wanted, "busy": 0.09, "service": 6})
    assert times(only) == {}


async def test_an_attempt_tells_what_the_service_asked_for(
    spanrun_capture: Captured, fake_clock: FakeClock
) -> None:
    del fake_clock  # in whose time the waits are
    answers = [7.0, None]

    async def job(_: int) -> None:
        if answers:
            raise ServiceError("busy", status=503, retry_after=answers.pop(0))

    retry = sr.Retry(on=ServiceError, base=0)
    async with sr.Runner("busy", retry=retry) as runner:
        await runner.map(job, [0])
    asked = [
        span.attributes.get(semconv.SPANRUN_ATTEMPT_RETRY_AFTER)
        for span in spanrun_capture.find("attempt busy")
    ]
    assert asked == [7.0, None, None]


async def test_a_job_tells_how_many_items_of_its_batch_it_has(
    spanrun_capture: Captured,
) -> None:
    async def batch(items: list[int]) -> list[int]:
        if 3 in items:
            raise ValueError
        return items

    async with sr.Runner("pairs") as runner:
        await runner.map_batches(batch, range(6), size=4, errors="collect")
    jobs = spanrun_capture.find("job pairs")
    keys = semconv.SPANRUN_BATCH_INDEX, semconv.SPANRUN_JOB_ITEMS
    told = sorted(tuple(span.attributes[key] for key in keys) for span in jobs)
    assert told == [(0, 1), (0, 1), (0, 2), (0, 2), (0, 4), (1, 2)]


async def test_the_waits_of_a_run_are_those_of_its_generator(
    spanrun_capture: Captured, fake_clock: FakeClock
) -> None:
    del fake_clock  # in whose time the waits are

    async def delays(seed: int) -> list[float]:
        async def job(_: int) -> None:
            raise ConnectionError

        retry = sr.Retry(on=ConnectionError, attempts=4, base=3)
        chance = random.Random(seed)
        async with sr.Runner("again", retry=retry, random=chance) as runner:
            await runner.map(job, range(3), errors="collect")
        jobs = spanrun_capture.find("job again")[-3:]
        return [
            event.attributes[semconv.SPANRUN_JOB_RETRY_DELAY]
            for span in jobs
            for event in span.events
            if event.name == semconv.EVENT_SPANRUN_JOB_RETRY
        ]

    first, second, other = [await delays(seed) for seed in (1, 1, 2)]
    assert len(first) == 9
    assert first == second
    assert first != other


async def test_a_run_tells_when_its_service_was_gone_and_its_breaker_open(
    spanrun_capture: Captured, fake_clock: FakeClock
) -> None:
    calls = 0

    async def job(_: int) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)
        if fake_clock.now() < 20:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, outage=600)
    async with sr.Runner("gone", limit=2, retry=retry) as runner:
        await runner.map(job, range(4))
    breaker = sr.Breaker(on=ConnectionError, failures=2, open_for=5)
    async with sr.Runner("open", limit=1, breaker=breaker) as runner:
        begun = fake_clock.now()

        async def two_fail(number: int) -> None:
            await asyncio.sleep(3)
            if fake_clock.now() - begun < 8:
                raise ConnectionError

        await runner.map(two_fail, range(3), errors="collect")
        await asyncio.sleep(6)
        await runner.map(two_fail, range(2), errors="collect")
    gone = spanrun_capture.span("run gone").events
    assert [event.name for event in gone] == [semconv.EVENT_SPANRUN_RUNNER_OUTAGE] * 2
    key = semconv.SPANRUN_OUTAGE_STATE
    assert [event.attributes[key] for event in gone] == ["gone", "back"]
    key = semconv.SPANRUN_BREAKER_STATE
    opened, closed = (
        [event.attributes[key] for event in run.events]
        for run in spanrun_capture.find("run open")
    )
    assert (opened, closed) == (["open"], ["half_open", "closed"])
