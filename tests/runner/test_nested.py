"""A job that calls its own runner learns when that can't end."""

import asyncio

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError
from spanrun.runner import nested
from spanrun.telemetry import log

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def inner(number):
    await asyncio.sleep(1)
    return number


def call(runner, number):
    return runner.call(inner, number)


def mapped(runner, number):
    return runner.map(inner, [number, number])


async def outer_calls(runner, job):
    await asyncio.gather(runner.call(job, 1), runner.call(job, 2))


async def outer_map(runner, job):
    await runner.map(job, range(4))


@pytest.mark.parametrize("how", [call, mapped])
@pytest.mark.parametrize("outer", [outer_calls, outer_map])
async def test_what_waits_for_ever_fails_at_once(make_runner, fake_clock, how, outer):
    began = fake_clock.now()

    async def job(number):
        return await how(runner, number)

    async with make_runner(limit=2) as runner:
        with pytest.raises(ConfigurationError, match="would wait for ever") as raised:
            await outer(runner, job)
    assert str(raised.value).startswith("Runner('test'): job ")
    assert "another Runner" in str(raised.value)
    assert fake_clock.now() - began < 5


async def test_with_errors_collected_the_others_go_on(make_runner):
    async def job(number):
        return await runner.call(inner, number)

    async with make_runner(limit=2) as runner:
        got = await runner.map(job, range(4), errors="collect")
    assert {type(o) for o in got} == {sr.Ok, sr.Err}


async def test_a_slot_that_comes_free_is_waited_for(make_runner):
    async def job(number):
        if number == 0:
            return await inner(number)
        return await runner.call(inner, number)

    async with make_runner(limit=2) as runner:
        assert await runner.map(job, range(2)) == [0, 1]


async def test_a_job_that_does_something_else_meanwhile_may_end_it(make_runner):
    async def job(number):
        calling = asyncio.create_task(runner.call(inner, number))
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        return number

    async with make_runner(limit=2) as runner:
        assert await runner.map(job, range(2)) == [0, 1]


@pytest.mark.parametrize(
    "policies",
    [
        {"timeout": sr.Timeout(total=20)},
        {"limit": sr.AdaptiveLimit(start=2, max=2)},
    ],
)
async def test_what_isnt_certain_is_said_once(make_runner, policies, caplog):
    async def job(number):
        async with asyncio.timeout(9):
            return await runner.call(inner, number)

    async with make_runner(**{"limit": 2, **policies}) as runner:
        got = await runner.map(job, range(2), errors="collect")
    assert {type(o) for o in got} == {sr.Err}
    (said,) = [r.getMessage() for r in caplog.records]
    assert "runner 'test' has waited 5 s for a slot, inside of a job" in said


async def test_those_that_follow_are_counted(make_runner, caplog, monkeypatch):
    now = 0.0
    monkeypatch.setattr(
        nested, "Seldom", lambda pause: log.Seldom(pause, now=lambda: now)
    )

    async def job(number):
        async with asyncio.timeout(9):
            return await runner.call(inner, number)

    async with make_runner(limit=2, timeout=sr.Timeout(total=20)) as runner:
        await runner.map(job, range(2), errors="collect")
        now = 61.0
        await runner.map(job, range(2), errors="collect")
    first, second = [r.getMessage() for r in caplog.records]
    assert "more since" not in first
    assert second.endswith("; 1 more since the last line")


async def test_another_runner_inside_is_no_matter(make_runner):
    async def job(number):
        return await other.call(inner, number)

    async with make_runner(limit=1) as runner, sr.Runner("other", limit=1) as other:
        assert await runner.map(job, range(3)) == [0, 1, 2]
