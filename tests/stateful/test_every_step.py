"""Cancellation at every step of the event loop leaves nothing behind.

Each scenario runs once to count its steps, and then once for each step, with
the cancellation at the step's beginning (before what is ready runs) or at its
end.
"""

import asyncio
import contextlib
import itertools

import pytest

import spanrun as sr
from spanrun.testing import FakeClock, capture, no_leaks


async def job(item):
    await asyncio.sleep(item % 3)
    await asyncio.sleep(0)
    return item


async def tidy(item):
    try:
        await asyncio.sleep(2 + item % 3)
    finally:
        await asyncio.sleep(1)


async def stubborn(item):
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(2)
    await asyncio.sleep(item % 2)
    return item


async def flaky(item, state={}):  # noqa: B006 -- remembers across attempts
    await asyncio.sleep(1)
    state[item] = state.get(item, 0) + 1
    if state[item] % 2:
        raise ConnectionError
    return item


async def fails_late(item):
    await asyncio.sleep(2 if item == 2 else 5)
    raise LookupError


async def batch_job(batch):
    await asyncio.sleep(1)
    if 3 in batch:
        raise ValueError
    return batch


class Numbers:
    """A source that knows how many of its generators are open."""

    open = 0

    async def __call__(self):
        self.open += 1
        try:
            for number in range(5):
                await asyncio.sleep(0.5)
                yield number
        finally:
            try:
                await asyncio.sleep(0.5)
            finally:
                self.open -= 1


numbers = Numbers()
LONGEST_CLEANUP = 2.0


async def map_list(runner):
    return await runner.map(job, range(6))


async def map_async(runner):
    return await runner.map(job, numbers())


async def map_failing(runner):
    with contextlib.suppress(LookupError):
        await runner.map(fails_late, range(4))


async def map_collect_tidy(runner):
    return await runner.map(tidy, range(4), errors="collect")


async def map_stubborn(runner):
    return await runner.map(stubborn, range(4))


async def retries(runner):
    return await runner.map(flaky, range(4), errors="collect")


async def timeouts(runner):
    return await runner.map(asyncio.sleep, [1, 4, 9, 9], errors="collect")


async def calls(runner):
    return await asyncio.gather(*(runner.call(job, n) for n in range(5)))


async def one_call(runner):
    return await runner.call(tidy, 1)


async def stream_ordered(runner):
    async with runner.stream(job, range(6)) as outcomes:
        return [outcome.index async for outcome in outcomes]


async def stream_unordered_async(runner):
    async with runner.stream(job, numbers(), ordered=False) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(0.25)


async def stream_broken_off(runner):
    async with runner.stream(tidy, itertools.count()) as outcomes:
        async for outcome in outcomes:
            if outcome.index == 2:
                break


async def batches(runner):
    return await runner.map_batches(batch_job, range(7), size=4, errors="collect")


async def batches_in_time(runner):
    return await runner.map_batches(
        batch_job, numbers(), size=3, max_wait=0.75, errors="collect"
    )


async def nested(runner):
    async def outer(item):
        with sr.unit("outer"):
            return await runner.call(job, item)

    return await asyncio.gather(runner.call(outer, 1), runner.map(job, range(3)))


SCENARIOS = [
    map_list,
    map_async,
    map_failing,
    map_collect_tidy,
    map_stubborn,
    retries,
    timeouts,
    calls,
    one_call,
    stream_ordered,
    stream_unordered_async,
    stream_broken_off,
    batches,
    batches_in_time,
    nested,
]


class Ledger:
    """Hears of every outcome, to be checked afterwards."""

    def __init__(self):
        self.runs = {}
        self.closed = []

    def run_opened(self, run):
        self.runs[run.id] = []

    def job_ended(self, run, outcome):
        self.runs[run.id].append(outcome)

    def run_closed(self, run):
        self.closed.append(run.id)

    def check(self):
        """Promises 1 and 2."""
        assert sorted(self.closed) == sorted(self.runs)
        for outcomes in self.runs.values():
            indexes = [outcome.index for outcome in outcomes]
            assert sorted(indexes) == list(range(len(indexes)))
            for outcome in outcomes:
                parts = sum(seconds for _, seconds in outcome.timings.phases())
                assert parts == pytest.approx(outcome.timings.duration, rel=0.01)


def play(scenario, *, step=None, late=False, again=0):
    """Run ``scenario``, cancelled at ``step``; how many steps it took."""
    clock = FakeClock()
    ledger = Ledger()
    moments = []

    async def main():
        async with no_leaks():
            runner = sr.Runner(
                "test",
                limit=3,
                retry=sr.Retry(on=ConnectionError, attempts=3),
                timeout=sr.Timeout(attempt=6, total=8),
                observers=[ledger],
            )
            try:
                async with runner:
                    await scenario(runner)
            finally:
                assert numbers.open == 0

    async def cancelled():
        task = asyncio.create_task(main())
        loop = asyncio.get_running_loop()

        def cancel():
            moments.append(clock.now())
            if late:
                loop.call_soon(task.cancel)
            else:
                task.cancel()

        if step is not None:
            clock.at_step(step, cancel)
            if again:
                clock.at_step(step + again, cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    with capture(clock) as captured:
        clock.run(cancelled())
    assert not moments or clock.now() <= max(moments) + LONGEST_CLEANUP
    ledger.check()
    ended = sum(len(outcomes) for outcomes in ledger.runs.values())
    assert captured.value("spanrun.jobs") == ended
    assert len(captured.find("job test")) == ended
    assert not captured.unfinished()
    return clock.steps


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize(
    "how",
    [{}, {"late": True}, {"again": 1}, {"again": 3}],
    ids=["early in the step", "late in the step", "twice", "again while it ends"],
)
def test_cancelled_at_every_step(scenario, how):
    steps = play(scenario)
    for step in range(1, steps + 1):
        try:
            play(scenario, step=step, **how)
        except BaseException as error:
            error.add_note(f"cancelled at step {step} of {steps}")
            raise
