"""Jobs for the tests of `spanrun.async_utils`, and the functions that run many."""

import asyncio
import contextlib
import gc
import warnings

import pytest

from spanrun.async_utils import batch_gather, run_async_tasks, run_jobs


async def double(number, steps=1):
    for _ in range(steps):
        await asyncio.sleep(0)
    return number * 2


async def fail(error, steps=1):
    await double(1, steps)
    raise error


class Load:
    """Counts how many of its jobs run at once, and all that began."""

    def __init__(self):
        self.now = self.most = self.begun = self.ended = 0

    async def job(self, number):
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await double(number, 3)
            self.ended += 1
        finally:
            self.now -= 1
        return number


def closed(coroutine):
    try:
        coroutine.send(None)
    except RuntimeError as error:
        return "already awaited" in str(error)
    return False


@contextlib.contextmanager
def nothing_unawaited():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(each.message) for each in caught]


def gather_here(jobs, **options):
    return asyncio.run(run_jobs(jobs, **options))


def gather_batches(jobs, **options):
    return asyncio.run(batch_gather(jobs, **options))


# Every function that runs many.
many = pytest.mark.parametrize("run", [run_async_tasks, gather_here, gather_batches])
