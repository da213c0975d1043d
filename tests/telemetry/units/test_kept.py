"""What units cost the rest of the process: nothing is kept, and nothing collected."""

import asyncio
import gc
import os
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource

import spanrun as sr
from spanrun.accelerator import core
from spanrun.runner.core import cores
from spanrun.speed import FAST
from spanrun.telemetry import setup
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.span import Buffer
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.testing import FakeClock

RETRY = sr.Retry(attempts=2, on=ConnectionError, base=0)


@pytest.mark.skipif(
    "SPANRUN_REQUIRE_NATIVE" not in os.environ, reason="it needn't be there"
)
def test_the_compiled_part_is_in_use_where_it_is_required():
    if not os.environ.get("SPANRUN_PURE_PYTHON"):
        assert core is not None
        assert FAST


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """How many spans were taken out of the buffer that all go into."""
    resource, clock, spans = Resource.get_empty(), FakeClock(), []

    def take(buffer):
        spans.extend(batch.spans for batch in buffer.take())

    recorder = NativeRecorder(
        NativeTracerProvider(resource=resource, clock=clock),
        NoOpMeterProvider(),
        Aggregator(lambda: resource),
        clock=clock,
        account=Account(),
        snapshot=None,
    )
    recorder.scope.buffer = Buffer(lambda _: None, take, 10_000)
    with setup.use(recorder):
        yield spans


async def traced(jobs: int) -> None:
    async def job(number: int) -> None:
        with sr.unit("work"):
            await asyncio.sleep(0)
            if number % 1_000 == 999:
                raise ConnectionError

    async with sr.Runner("kept", limit=100, retry=RETRY) as runner:
        await runner.map(job, range(jobs), errors="collect", trace="linked")


def test_nothing_is_kept_of_jobs_that_are_over(taken):
    def count():
        gc.collect()
        return len(gc.get_objects()), sys.getallocatedblocks()

    sr.run(traced(1_000))
    before = count()
    sr.run(traced(5_000))
    after = count()
    assert sum(taken) > 15_000
    assert after[0] - before[0] < 300
    assert after[1] - before[1] < 3_000


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("trace", ["child", "linked"])
def test_nothing_is_kept_of_runners_that_are_closed(trace):
    async def job(number: int) -> None:
        if number:
            raise ConnectionError

    async def main(runners: int) -> None:
        for _ in range(runners):
            async with sr.Runner("kept", retry=RETRY) as runner:
                await runner.map(job, range(2), errors="collect", trace=trace)

    def alive():
        for _ in range(3):  # what one collection frees may have held more
            gc.collect()
        return len(cores)

    sr.run(main(1))
    before = alive()
    sr.run(main(20))
    assert alive() == before


async def tracked_by_the_collector(jobs: int) -> int:
    """How many objects there are while so many jobs are under way.

    A context's tree isn't counted: how many nodes it has follows from the hashes
    of the context variables, which are their addresses.
    """
    begun, over, count = asyncio.Event(), asyncio.Event(), 0

    async def job(number: int) -> None:
        nonlocal count
        with sr.unit("work"):
            count += 1
            if count == jobs:
                begun.set()
            await over.wait()

    async with sr.Runner("kept", limit=jobs, retry=RETRY) as runner:
        mapped = asyncio.create_task(runner.map(job, range(jobs), trace="linked"))
        await begun.wait()
        gc.collect()
        tracked = sum(
            not type(each).__name__.startswith("hamt_") for each in gc.get_objects()
        )
        over.set()
        await mapped
    return tracked


@pytest.mark.usefixtures("taken")
@pytest.mark.skipif(core is None or not FAST, reason="there is no compiled part")
def test_a_job_under_way_has_few_objects_that_the_collector_follows():
    sr.run(tracked_by_the_collector(100))
    some = sr.run(tracked_by_the_collector(100))
    more = sr.run(tracked_by_the_collector(300))
    each = (more - some) // 200
    assert each <= 19  # a task, its coroutines, two futures, its context, the units
