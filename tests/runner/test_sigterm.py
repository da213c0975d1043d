"""SIGTERM: drain, then cancel, then exit with 143."""

import signal
import sys

import pytest
from tests.runner.program import LOOPS, program
from tests.waiting import real

from spanrun import recordings

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no POSIX signals on Windows"
)


@pytest.mark.parametrize("loop", LOOPS)
def test_sigterm_lets_running_jobs_end_and_starts_no_others(loop):
    source = """
    async def main():
        async with runner() as jobs:
            try:
                await jobs.map(job, [drained] * 100)
            except BaseException as error:
                say(type(error).__name__)
                raise
    sr.run(main())
    """
    with program(source, loop, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "1 ok", "ShuttingDown"]


def test_a_drained_stream_gives_the_outcomes_of_the_jobs_that_ended():
    source = """
    async def main():
        source = iter([drained] * 100)
        async with runner() as jobs, jobs.stream(job, source) as outcomes:
            async for outcome in outcomes:
                await asyncio.sleep(0.05)
                say("saved", outcome.index)
    sr.run(main())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert [line for line in lines if "saved" in line] == ["saved 0", "saved 1"]


def test_an_async_source_is_closed_when_the_program_drains():
    source = """
    async def items():
        try:
            yield drained
            await for_ever()
        finally:
            say("closed")
    async def main():
        async with runner() as jobs:
            await jobs.map(job, items())
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sorted(lines) == ["0 ok", "closed"]


@pytest.mark.parametrize("loop", LOOPS)
def test_jobs_that_outlast_the_grace_are_cancelled_by_the_signal(loop):
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.map(job, [for_ever] * 3)
    sr.run(main(), grace=0.2)
    """
    with program(source, loop, started=2) as process:
        began = real()
        process.send(signal.SIGTERM)
        status, lines = process.end()
        took = real() - began

    assert status == 143
    assert took >= 0.2
    assert len(lines) == 2
    assert all("cancelled by" in line and "signal" in line for line in lines)


def test_single_calls_drain_and_later_ones_are_refused():
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.call(job, drained)
            try:
                await jobs.call(job, drained)
            except sr.SpanrunError as error:
                say(type(error).__name__)
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "ShuttingDown"]


def test_a_program_without_running_jobs_is_cancelled_at_once():
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.call(asyncio.sleep, 0)
            say("started")
            try:
                await for_ever()
            finally:
                say("cleaned")
    sr.run(main(), grace=60)
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "cleaned"]


def test_a_program_that_ends_within_the_grace_still_says_143():
    source = """
    async def main():
        async with runner() as jobs:
            say(await jobs.map(job, [drained] * 2))
            await asyncio.sleep(0)
    sr.run(main())
    say("never")
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines[-1] == "[None, None]"


def test_an_error_of_its_own_comes_out_of_a_draining_program():
    source = """
    async def bad(_):
        say("started")
        await drained()
        raise KeyError("mine")
    async def main():
        async with runner() as jobs:
            await jobs.map(bad, range(100))
    sr.run(main())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 1
    assert lines[-1].startswith("job ")
    assert "KeyError: 'mine'" in lines


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_sigterm_cancels_at_once(loop):
    source = """
    async def main():
        echo(signal.SIGTERM)
        async with runner() as jobs:
            await jobs.map(job, [for_ever] * 3)
    sr.run(main(), grace=60)
    """
    with program(source, loop, started=2) as process:
        process.send(signal.SIGTERM)
        process.wait_for("handled")
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sum("signal" in line for line in lines) == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_a_third_sigterm_ends_a_program_whose_jobs_block_the_loop(loop):
    source = """
    async def stuck(_):
        echo(signal.SIGTERM)
        say("started")
        while True:
            time.sleep(0.01)
    async def main():
        async with runner() as jobs:
            await jobs.map(stuck, range(1))
    sr.run(main())
    """
    with program(source, loop) as process:
        for _ in range(2):
            process.send(signal.SIGTERM)
            process.wait_for("handled")
        process.send(signal.SIGTERM)
        status, _ = process.end()

    assert status == -signal.SIGTERM


def test_what_was_recorded_before_sigterm_is_kept(tmp_path):
    source = f"""
    sr.configure(store={str(tmp_path)!r})
    async def main():
        async with runner() as jobs:
            await jobs.map(job, [drained] * 100)
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, _ = process.end()

    assert status == 143
    assert any(path.stat().st_size for path in tmp_path.iterdir())
    with recordings.open(tmp_path) as recording:
        (event,) = recording.events()
    assert (event.kind, event.run, event.index) == ("signal", None, None)
    assert event.value == {"signal": "SIGTERM", "action": "drain"}


def stages(method, second, *, grace):
    return f"""
    async def first(number):
        say("started")
        await drained()
        return number

    async def second(number):
        await {second}()
        say("through", number)
        return number

    async def batch(numbers):
        return [await second(number) for number in numbers]

    async def endless():
        yield 0
        yield 1
        await for_ever()

    async def passed(before, items):
        async with before.stream(first, items) as outcomes:
            async for outcome in outcomes:
                say("first", outcome.index, getattr(outcome, "error", "ok"))
                yield outcome.value

    async def main():
        async with sr.Runner("first", limit=2) as before, sr.Runner("second") as after:
            try:
                await after.{method}
            except BaseException as error:
                say(type(error).__name__)
                raise
    sr.run(main(), grace={grace})
    """


@pytest.mark.parametrize(
    "method",
    [
        "map(second, passed(before, range(9)))",
        "map(second, passed(before, endless()))",
        "map_batches(batch, passed(before, range(9)), size=3, max_wait=9)",
    ],
    ids=["map", "an endless source", "a batch that isn't full"],
)
def test_what_is_on_its_way_through_stages_goes_through_within_the_grace(method):
    with program(stages(method, "drained", grace=60), started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sorted(lines) == [
        "ShuttingDown",
        "first 0 ok",
        "first 1 ok",
        "through 0",
        "through 1",
    ]


def test_stages_that_outlast_the_grace_are_cancelled_by_the_signal():
    source = stages("map(second, passed(before, range(9)))", "for_ever", grace=1)
    with program(source, started=2) as process:
        began = real()
        process.send(signal.SIGTERM)
        status, lines = process.end()
        took = real() - began

    assert status == 143
    assert took >= 1
    assert lines[:2] == ["first 0 ok", "first 1 ok"]
    assert "through" not in str(lines)


def test_what_a_running_job_calls_is_a_part_of_it():
    source = """
    async def inner(number):
        await asyncio.sleep(0.01)
        return number

    async def outer(number):
        say("started")
        await drained()
        mapped = await client.map(inner, range(3))
        return sum(mapped) + await client.call(inner, number)

    async def main():
        global client
        async with runner() as jobs, sr.Runner("client") as client:
            say(await jobs.map(outer, [7]))
            try:
                await client.call(inner, 1)
            except sr.SpanrunError as error:
                say(type(error).__name__)
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "[10]", "ShuttingDown"]


def test_batches_that_were_all_admitted_are_finished_and_returned():
    source = """
    async def batch(numbers):
        await job(drained)
        return numbers

    async def main():
        async with runner() as jobs:
            say(await jobs.map_batches(batch, [3, 4, 5], size=2))
    sr.run(main())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "1 ok", "[3, 4, 5]"]
