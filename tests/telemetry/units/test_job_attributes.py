"""What a job's span says in the end, with every provider."""

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from tests.telemetry.units.recording import Recording

import spanrun as sr

PHASES = ("queue", "limit", "rate_limit", "backoff", "busy", "loop_lag", "service")


def of_job(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes by their last names, without the run's id."""
    attributes = dict(span.attributes or {})
    assert attributes.pop("spanrun.run.id")
    assert attributes.pop("spanrun.runner.name") == "a"
    return {
        key.removeprefix("spanrun.job."): value for key, value in attributes.items()
    }


def ended(index: int, **more: Any) -> dict[str, Any]:
    """What is told of a job that took a second."""
    times = {f"time.{phase}": 0.0 for phase in PHASES}
    told = {"outcome": "ok", "attempts": 1, "index": index, **times, **more}
    told["largest_phase"] = "service"
    return {**told, "time.service": told.get("time.service") or 1.0}


def test_each_job_has_its_own_numbers(recording: Recording) -> None:
    async def job(number: int) -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with sr.Runner("a", clock=recording.clock, limit=200) as runner:
            await runner.map(job, range(200))

    recording.run(main)
    told = [of_job(span) for span in recording.named("job a")]
    assert sorted(told, key=lambda job: job["index"]) == [ended(n) for n in range(200)]


def test_a_key_stands_beside_them(recording: Recording) -> None:
    async def job(number: int) -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with sr.Runner("a", clock=recording.clock) as runner:
            await runner.map(job, [300], key=str)

    recording.run(main)
    assert of_job(recording.one("job a")) == ended(0, key="300")


@pytest.mark.parametrize("name", ["outcome", "attempts", "index", "time.service"])
def test_what_the_job_set_itself_is_replaced(recording: Recording, name: str) -> None:
    async def job(number: int) -> None:
        trace.get_current_span().set_attribute(f"spanrun.job.{name}", "mine")
        await asyncio.sleep(1)

    async def main() -> None:
        async with sr.Runner("a", clock=recording.clock) as runner:
            await runner.map(job, [0])

    recording.run(main)
    assert of_job(recording.one("job a")) == ended(0)


def test_a_second_attempt_is_counted_and_says_its_number(recording: Recording) -> None:
    async def job(number: int) -> None:
        await asyncio.sleep(1)
        if len(recording.named("attempt a")) == 0:
            raise ConnectionError

    async def main() -> None:
        retry = sr.Retry(on=ConnectionError, base=0)
        async with sr.Runner("a", clock=recording.clock, retry=retry) as runner:
            await runner.map(job, [0])

    recording.run(main)
    assert of_job(recording.one("job a")) == ended(
        0, attempts=2, **{"time.service": 2.0}
    )
    numbers = [
        (span.attributes or {})["spanrun.attempt.number"]
        for span in recording.named("attempt a")
    ]
    assert numbers == [1, 2]
