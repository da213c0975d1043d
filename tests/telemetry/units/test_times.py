"""The wall clock is read once a run, and no event is later than its span's end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from tests.telemetry.units.recording import HOUR_NS, Recording

import spanrun as sr
from spanrun.telemetry.observe import RunInfo

SECOND_NS = 10**9


class Noting:
    """An observer that keeps what runs say of themselves."""

    def __init__(self) -> None:
        self.runs: list[RunInfo] = []

    def run_opened(self, run: RunInfo) -> None:
        self.runs.append(run)

    def job_ended(self, run: RunInfo, outcome: Any) -> None:
        """Nothing."""

    def run_closed(self, run: RunInfo) -> None:
        """Nothing."""


def started(spans: Sequence[ReadableSpan]) -> list[int]:
    return [span.start_time or 0 for span in spans]


@pytest.mark.parametrize("trace", ["child", "linked"])
def test_a_step_of_the_clock_between_two_runs(recording: Recording, trace: str) -> None:
    clock, noting = recording.clock, Noting()
    start = clock.wall_ns(0.0)

    async def job(number: int) -> None:
        if number == 1 and not clock.step_ns:
            clock.step_ns = HOUR_NS  # in the middle of the first run
        with sr.unit("parse"):
            await asyncio.sleep(1)

    async def main() -> None:
        for name in "ab":
            async with sr.Runner(
                name, clock=clock, limit=1, observers=[noting]
            ) as runner:
                await runner.map(job, range(3), trace=trace)

    recording.run(main)
    first, second = noting.runs
    assert first.started_ns == start
    assert first.ended_ns == start + 3 * SECOND_NS
    assert second.started_ns == start + HOUR_NS + 3 * SECOND_NS
    assert second.ended_ns == second.started_ns + 3 * SECOND_NS
    for info, name in ((first, "a"), (second, "b")):
        run = recording.one(f"run {name}")
        assert (run.start_time, run.end_time) == (info.started_ns, info.ended_ns)
        jobs = recording.named(f"job {name}")
        assert len(jobs) == 3
        assert max(span.end_time or 0 for span in jobs) == info.ended_ns
        assert min(started(jobs)) == info.started_ns
    parse = sorted(started(recording.named("parse")))
    assert parse == [
        *(first.started_ns + n * SECOND_NS for n in range(3)),
        *(second.started_ns + n * SECOND_NS for n in range(3)),
    ]


def test_no_event_is_later_than_the_end_of_its_span(recording: Recording) -> None:
    """Not even by the time that it takes to record it, which is virtual here."""
    clock = recording.clock
    read = clock.now

    def slow() -> float:
        clock.advance(1e-6)  # no two readings are the same
        return read()

    clock.now = slow  # type: ignore[method-assign]
    recording.recorder.now = slow

    async def job(number: int) -> None:
        try:
            with sr.unit("parse") as unit:
                unit.event("happened")
                raise ValueError(number)
        finally:
            await asyncio.sleep(1)

    async def main() -> None:
        retry = sr.Retry(on=ValueError, attempts=2, base=1)
        for more in ({}, {"retry": retry}):
            async with sr.Runner("a", clock=clock, **more) as runner:  # type: ignore[arg-type]
                await runner.map(job, range(10), errors="collect")

    recording.run(main)
    events = [(span, event) for span in recording.spans for event in span.events]
    assert len(events) > 50
    for span, event in events:
        assert (span.start_time or 0) <= event.timestamp <= (span.end_time or 0)
