"""When a job waited, as its ledger and its attempts tell, against what it did."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest

import spanrun as sr
from spanrun.recordings import Span, Wait, waits
from spanrun.testing.records import CapturedSpan


def of(captured: Iterable[CapturedSpan]) -> list[Span]:
    """The same spans, as a recording gives them."""
    return [
        Span(
            f"{each.trace_id:032x}",
            f"{each.span_id:016x}",
            f"{each.parent_id:016x}" if each.parent_id else None,
            each.name,
            each.kind,
            each.started_ns,
            each.ended_ns,
            each.status,
            each.status_text,
            each.attributes,
            (),
            (),
            "spanrun",
        )
        for each in captured
    ]


def seconds(found: Iterable[Wait], since: int) -> list[tuple[str, float, float]]:
    return [
        (each.phase, (each.start_ns - since) / 1e9, (each.end_ns - since) / 1e9)
        for each in found
    ]


@pytest.fixture
def captured(fake_clock: sr.testing.FakeClock) -> Iterable[sr.testing.Captured]:
    with sr.testing.capture(fake_clock) as found:
        yield found


class Late(Random):
    """Draws the longest waits."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


async def test_waits_lie_where_the_job_waited(
    make_runner: Callable[..., sr.Runner],
    fake_clock: sr.testing.FakeClock,
    captured: sr.testing.Captured,
) -> None:
    ran: list[tuple[float, float]] = []

    async def job() -> None:
        began = fake_clock.now()
        await asyncio.sleep(2)
        ran.append((began, fake_clock.now()))
        if len(ran) < 3:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=8, cap=8)
    rate = sr.RateLimit(1, per=5)
    began = fake_clock.now()
    async with make_runner(limit=1, rate=rate, retry=retry) as runner:
        slots = runner._core.slots
        slots.used += 1  # somebody else holds the only slot
        asyncio.get_running_loop().call_later(4, slots.release)
        await runner.call(job)
    spans = of(captured.spans)
    (unit,) = (each for each in spans if each.name.startswith("job "))
    found = seconds(waits(spans), unit.start_ns)
    told = unit.attributes
    for phase in ("queue", "limit", "rate_limit", "backoff"):
        whole = sum(end - start for name, start, end in found if name == phase)
        assert whole == pytest.approx(told[f"spanrun.job.time.{phase}"], abs=1e-8)
    assert found[0] == ("limit", 0, 4)
    assert sum(name == "backoff" for name, *_ in found) == 2
    # Between the waits it ran, three times, and at no other time.
    edges = [(start - began, end - began) for start, end in ran]
    waited = [(start, end) for _, start, end in found]
    whole = sorted([*edges, *waited])
    assert whole[0][0] == pytest.approx(0)
    assert whole[-1][1] == pytest.approx(unit.duration)
    for (_, end), (start, _) in pairwise(whole):
        assert start == pytest.approx(end, abs=1e-8)


async def test_a_job_without_attempts_waits_for_its_slot_then_its_token(
    make_runner: Callable[..., sr.Runner], captured: sr.testing.Captured
) -> None:
    async with make_runner(limit=1, rate=sr.RateLimit(1, per=5)) as runner:
        await asyncio.gather(*(runner.call(asyncio.sleep, 1) for _ in range(2)))
    spans = of(captured.spans)
    second = max(
        (each for each in spans if each.name.startswith("job ")),
        key=lambda each: each.end_ns,
    )
    found = [each for each in waits(spans) if each.span_id == second.span_id]
    assert seconds(found, second.start_ns) == [("limit", 0, 1), ("rate_limit", 1, 5)]


async def test_the_other_waits_begin_behind_the_queue(
    make_runner: Callable[..., sr.Runner],
    fake_clock: sr.testing.FakeClock,
    captured: sr.testing.Captured,
) -> None:
    async def job(_: int) -> None:
        fake_clock.advance(0.0625)  # less than what blocks the loop
        await asyncio.sleep(1)

    async with make_runner(limit=1) as runner:
        await asyncio.gather(*(runner.call(job, each) for each in range(2)))
    spans = of(captured.spans)
    first, second = (each for each in spans if each.name.startswith("job "))
    found = [each for each in waits(spans) if each.span_id == second.span_id]
    assert seconds(found, first.start_ns) == [
        ("queue", 0, 0.0625),
        ("limit", 0.0625, 1.0625),
    ]


async def test_a_job_that_ends_in_its_back_off_waits_to_its_end(
    make_runner: Callable[..., sr.Runner], captured: sr.testing.Captured
) -> None:
    async def job() -> None:
        raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=8, cap=8)
    async with make_runner(limit=1, retry=retry, random=Late()) as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await runner.call(job)
    spans = of(captured.spans)
    (unit,) = (each for each in spans if each.name.startswith("job "))
    assert seconds(waits(spans), unit.start_ns) == [("backoff", 0, 3)]


def test_spans_without_jobs_have_no_waits() -> None:
    assert waits([]) == []
