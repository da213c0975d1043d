"""An error that Python takes for an end is an error nevertheless."""

import asyncio

import pytest

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

ENDS = [StopIteration, StopAsyncIteration]


async def same(item):
    return item


class Source:
    """Gives one item and raises: when it is asked for the second one."""

    def __init__(self, error):
        self.error = error
        self.given = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.given:
            raise self.error
        self.given = True
        return 1


class Broken:
    """An asynchronous iterator whose ``__anext__`` itself raises."""

    def __aiter__(self):
        return self

    def __anext__(self):
        raise StopIteration("mine")


async def numbers():
    for number in range(4):
        yield number


def key_that(error):
    def key(item):
        if item == 1:
            raise error
        return item

    return key


async def by_map(runner, items, **options):
    return await runner.map(same, items, **options)


async def by_stream(runner, items, **options):
    async with runner.stream(same, items, **options) as outcomes:
        return [outcome async for outcome in outcomes]


async def by_batches(runner, items, **options):
    return await runner.map_batches(same, items, size=2, **options)


ways = pytest.mark.parametrize("way", [by_map, by_stream, by_batches])


@ways
async def test_of_a_plain_source(make_runner, way):
    async with make_runner() as runner:
        with pytest.raises(RuntimeError, match="StopAsyncIteration") as caught:
            await way(runner, Source(StopAsyncIteration("mine")))
    assert str(caught.value.__cause__) == "mine"


@ways
@pytest.mark.parametrize("max_wait", [None, 1])
async def test_of_an_asynchronous_source(make_runner, way, max_wait):
    options = {"max_wait": max_wait} if way is by_batches else {}
    async with make_runner() as runner:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await way(runner, Broken(), **options)


@pytest.mark.parametrize("way", [by_map, by_stream])
@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("items", [lambda: range(4), numbers])
async def test_of_a_key(make_runner, way, error, items):
    async with make_runner() as runner:
        with pytest.raises(RuntimeError, match=error.__name__):
            await way(runner, items(), key=key_that(error("mine")))


@pytest.mark.parametrize("error", ENDS)
async def test_of_a_job(make_runner, error):
    def job(item):
        if item == 1:
            raise error("mine")
        return same(item)

    async with make_runner() as runner:
        with pytest.raises((RuntimeError, error)):
            await runner.map(job, range(3))
        with pytest.raises((RuntimeError, error)):
            await runner.call(job, 1)
        outcomes = await runner.map(job, range(3), errors="collect")
        async with runner.stream(job, range(3)) as stream:
            streamed = [outcome async for outcome in stream]
    for each in (outcomes, streamed):
        assert [hasattr(one, "error") for one in each] == [False, True, False]
    await asyncio.sleep(0)
