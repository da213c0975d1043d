"""Errors that come while another one is on its way out: none is lost."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class End(BaseException):
    """The program's, as by ``KeyboardInterrupt``; asyncio leaves its loop running."""


async def job(item):
    """The first fails; its siblings fail while they are cancelled."""
    try:
        await asyncio.sleep(1 if item == 0 else 50)
        raise LookupError("first")
    finally:
        if item:
            await asyncio.sleep(1)
            raise ValueError(f"in the finally of {item}")


async def batch(items):
    await job(items[0])


async def by_map(runner):
    await runner.map(job, range(4))


async def by_batches(runner):
    await runner.map_batches(batch, range(4), size=1)


async def by_stream(runner):
    async with runner.stream(job, range(4), ordered=False) as outcomes:
        async for outcome in outcomes:
            raise outcome.error


@pytest.mark.parametrize("way", [by_map, by_batches, by_stream])
async def test_the_first_comes_out_bare_with_the_others_in_a_note(make_runner, way):
    async with make_runner() as runner:
        with pytest.raises(LookupError) as caught:
            await way(runner)
    assert str(caught.value) == "first"
    notes = "\n".join(caught.value.__notes__)
    for number in (1, 2, 3):
        assert f"job {number}: ValueError('in the finally of {number}')" in notes
    assert sorted(map(str, caught.value.also_raised)) == [
        f"in the finally of {number}" for number in (1, 2, 3)
    ]


async def test_two_batches_that_fail_in_one_moment_are_both_seen(make_runner):
    async def fail(items):
        await asyncio.sleep(1)
        raise LookupError(items[0])

    async with make_runner() as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map_batches(fail, range(2), size=1)
    seen = {str(caught.value), *map(str, caught.value.also_raised)}
    assert seen == {"0", "1"}


async def test_many_are_in_the_attribute(make_runner):
    async with make_runner(limit=30) as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map(job, range(30))
    assert len(caught.value.also_raised) == 29
    assert "19 more are in its attribute also_raised" in caught.value.__notes__[-1]


async def test_what_the_source_raises_meanwhile_is_not_lost(make_runner):
    async def items():
        try:
            yield 0
            await asyncio.sleep(50)
        finally:
            raise ValueError("while closing")

    async with make_runner() as runner:
        with pytest.raises(LookupError) as caught:
            await runner.map(job, items())
    assert [str(each) for each in caught.value.also_raised] == ["while closing"]


async def test_the_programs_end_does_not_hide_the_error_before(make_runner):
    async def end(item):
        try:
            await job(0)
        finally:
            if item == 1:
                raise End

    async with make_runner() as runner:
        with pytest.raises(End) as caught:
            await runner.map(end, [0, 1])
    assert [str(each) for each in caught.value.also_raised] == ["first"]


async def test_the_programs_end_does_not_hide_the_error_of_another_call(make_runner):
    async def end():
        await asyncio.sleep(1)
        raise End

    async with make_runner() as runner:
        other = asyncio.create_task(runner.call(job, 1))
        with pytest.raises(End) as caught:
            await runner.call(end)
        with contextlib.suppress(End):
            await other
    assert [str(each) for each in caught.value.also_raised] == ["in the finally of 1"]


async def test_they_are_logged_where_a_stream_is_left_without_an_error(
    make_runner, caplog
):
    async with make_runner() as runner, runner.stream(job, [1]):
        await asyncio.sleep(1)
    assert "job 0 of runner 'test' raised while it ended" in caplog.text
    assert "ValueError: in the finally of 1" in caplog.text


async def test_they_are_logged_where_an_error_takes_no_note(make_runner, caplog):
    @dataclass(frozen=True)
    class Frozen(Exception):  # noqa: N818 -- what it is
        code: int

    async def fail(item):
        if item == 0:
            await asyncio.sleep(1)
            raise Frozen(7)
        await job(item)

    async with make_runner() as runner:
        with pytest.raises(Frozen):
            await runner.map(fail, [0, 1])
    assert "ValueError: in the finally of 1" in caplog.text


async def test_they_are_logged_where_the_caller_was_cancelled(make_runner, caplog):
    async with make_runner() as runner:
        task = asyncio.create_task(runner.map(job, [1]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert [str(each) for each in caught.value.also_raised] == ["in the finally of 1"]
    assert "ValueError: in the finally of 1" in caplog.text
