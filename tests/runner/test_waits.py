"""What a run waited for its source and its consumer, as its record has it."""

# ruff: noqa: SIM117 -- a stream inside its runner

import asyncio

import pytest

from spanrun.telemetry.observe import RunInfo


class Runs:
    """An observer that keeps the runs."""

    def __init__(self):
        self.closed: list[RunInfo] = []

    def run_opened(self, run):
        """Say nothing."""

    def job_ended(self, run, outcome):
        """Say nothing."""

    def run_closed(self, run):
        self.closed.append(run)

    @property
    def waits(self):
        (run,) = self.closed
        return run.source_wait, run.consumer_wait


async def nap(seconds):
    await asyncio.sleep(seconds)


async def slow(items, pause):
    for item in items:
        await asyncio.sleep(pause)
        yield item


async def test_a_source_that_gives_no_item(make_runner):
    runs = Runs()
    async with make_runner(limit=4, observers=[runs]) as runner:
        await runner.map(nap, slow([0.5] * 3, 2))
    assert runs.waits == pytest.approx((6, 0))


async def test_a_source_that_is_not_asked_is_not_waited_for(make_runner):
    runs = Runs()
    async with make_runner(limit=1, observers=[runs]) as runner:
        await runner.map(nap, slow([5] * 4, 1))
    assert runs.waits == pytest.approx((4, 0))


async def test_a_source_that_fails_after_a_while(make_runner):
    async def source():
        yield 1
        await asyncio.sleep(3)
        raise LookupError

    runs = Runs()
    async with make_runner(observers=[runs]) as runner:
        with pytest.raises(LookupError):
            await runner.map(nap, source())
    assert runs.waits == pytest.approx((3, 0))


@pytest.mark.parametrize("many", [False, True])
async def test_a_source_that_always_has_items(make_runner, many):
    async def source():
        for _ in range(50):
            yield 1

    runs = Runs()
    async with make_runner(limit=3, observers=[runs]) as runner:
        await runner.map(nap, [1] * 50 if many else source())
    assert runs.waits == (0, 0)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_consumer_that_is_behind(make_runner, ordered):
    runs = Runs()
    async with make_runner(limit=2, observers=[runs]) as runner:
        async with runner.stream(nap, [1] * 6, ordered=ordered) as outcomes:
            async for _ in outcomes:
                await asyncio.sleep(10)
    source, consumer = runs.waits
    assert source == 0
    # Two end at 1, and two more at 2 while the consumer has the first until 11: so one
    # is to be admitted from then on, ends at 12, and the last one is admitted at 21.
    assert consumer == pytest.approx(9 + 9)


async def test_a_consumer_that_leaves(make_runner):
    runs = Runs()
    async with make_runner(limit=1, observers=[runs]) as runner:
        async with runner.stream(nap, [1] * 9) as outcomes:
            async for _ in outcomes:
                await asyncio.sleep(10)
                break
    assert runs.waits[1] > 0


async def test_a_consumer_that_is_quick(make_runner):
    runs = Runs()
    async with make_runner(limit=2, observers=[runs]) as runner:
        async with runner.stream(nap, [1] * 20) as outcomes:
            async for _ in outcomes:
                pass
    assert runs.waits == (0, 0)
