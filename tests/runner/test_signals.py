"""Who hears of a signal, and who has the handlers."""

import asyncio
import os
import signal
import sys

import pytest
from tests.runner.program import program

import spanrun as sr
from spanrun import semconv

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no POSIX signals on Windows"
)


def test_a_run_inside_the_loop_drains_too():
    source = """
    async def inner():
        async with runner() as jobs:
            await jobs.map(job, [drained] * 100)
    async def main():
        try:
            sr.run(inner())
        except BaseException as error:
            say(type(error).__name__)
            raise
    sr.run(main())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "1 ok", "ShuttingDown"]


def test_a_run_in_a_worker_thread_drains_too():
    source = """
    async def inner():
        async with runner() as jobs:
            await jobs.map(job, [drained] * 100)
    async def main():
        await asyncio.to_thread(sr.run, inner())
    sr.run(main())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sum("ok" in line for line in lines) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_spans_name_the_signal_as_who_cancelled(number, spanrun_capture):
    async def main():
        async with sr.Runner("jobs", limit=2) as runner:
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, os.kill, os.getpid(), number)
            await runner.map(asyncio.sleep, [60] * 2)

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        sr.run(main(), grace=0)

    jobs = spanrun_capture.find("job jobs")
    by = [job.attributes[semconv.SPANRUN_JOB_CANCELLED_BY] for job in jobs]
    assert by == ["signal", "signal"]


def test_a_run_that_begins_after_the_signal_is_cancelled_as_the_loop_waits_for_it():
    async def main():
        os.kill(os.getpid(), signal.SIGTERM)
        sr.run(asyncio.sleep(60))

    with pytest.raises(SystemExit, match="143"):
        sr.run(main())


def test_a_run_that_cleans_up_after_the_signal_runs_to_its_end():
    cleaned = []

    async def clean_up():
        async with sr.Runner("cleanup") as runner:
            cleaned.append(await runner.call(asyncio.sleep, 0.01, "cleaned"))

    async def main():
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            sr.run(clean_up())

    with pytest.raises(SystemExit, match="143"):
        sr.run(main())

    assert cleaned == ["cleaned"]


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


async def look() -> list[object]:
    return handlers()


def test_run_puts_the_handlers_back():
    before = handlers()
    inside = sr.run(look())

    assert handlers() == before
    assert all(one != other for one, other in zip(inside, before, strict=True))


def test_run_leaves_a_handler_of_the_program_in_force():
    def mine(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        assert sr.run(look())[1] is mine
        assert signal.getsignal(signal.SIGTERM) is mine
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert sr.run(look())[1] is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_run_keeps_a_handler_that_main_has_set():
    def mine(number: int, frame: object) -> None: ...

    async def main() -> None:
        signal.signal(signal.SIGTERM, mine)

    before = signal.getsignal(signal.SIGTERM)
    try:
        sr.run(main())
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_run_inside_a_loop_sets_no_handler():
    before = handlers()

    assert sr.run(look()) == before


async def test_run_in_a_thread_sets_no_handler():
    before = handlers()

    assert await asyncio.to_thread(lambda: sr.run(look())) == before


async def test_a_runner_sets_no_handler():
    before = handlers()

    async with sr.Runner("quiet") as runner:
        assert await runner.call(look) == before


def test_a_negative_grace_is_refused_by_name():
    with pytest.raises(sr.ConfigurationError, match=r"run\(grace=-1\): must be ≥ 0"):
        sr.run(look(), grace=-1)
