"""Coroutines that nobody runs are closed, and nobody is warned of them."""

import asyncio

import pytest
from tests.jobs import double, many, nothing_unawaited

import spanrun as sr


def broken(error=LookupError):
    yield double(1)
    yield double(2)
    raise error("the source's own")


async def broken_async():
    for each in broken():
        yield each


def itself(coroutine):
    return coroutine


def items(kind):
    return broken() if kind == "sync" else broken_async()


@many
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, StopAsyncIteration])
def test_of_a_source_that_raises(run, error):
    with nothing_unawaited(), pytest.raises(error):
        run(broken(error))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_of_the_source_of_a_map(kind):
    async def main():
        async with sr.Runner("test") as runner:
            await runner.map(itself, items(kind))

    with nothing_unawaited(), pytest.raises(LookupError):
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("max_wait", [None, 1])
def test_of_the_source_of_batches(kind, size, max_wait):
    async def gather(coroutines):
        return [await each for each in coroutines]

    async def main():
        async with sr.Runner("test") as runner:
            await runner.map_batches(gather, items(kind), size=size, max_wait=max_wait)

    with nothing_unawaited(), pytest.raises(LookupError):
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_of_a_key_that_raises(kind):
    def key(_):
        raise ValueError("the key's own")

    async def main():
        async with sr.Runner("test") as runner:
            await runner.map(itself, items(kind), key=key)

    with nothing_unawaited(), pytest.raises(ValueError, match="the key's own"):
        asyncio.run(main())


def test_of_a_stream_that_is_left():
    async def main():
        async with (
            sr.Runner("test", limit=1) as runner,
            runner.stream(itself, (double(n) for n in range(3)), priority=lambda _: 1),
        ):
            pass

    with nothing_unawaited():
        asyncio.run(main())
