"""Real signals to real processes, each bounded in time."""

import asyncio
import contextlib
import importlib.util
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator

import pytest

import spanrun as sr

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no POSIX signals on Windows"
)

PRELUDE = """
import asyncio, signal, sys, time
import spanrun as sr

def say(*words):
    print(*words, flush=True)

class Watch:
    def run_opened(self, run): pass
    def run_closed(self, run): pass
    def job_ended(self, run, outcome):
        say(outcome.index, getattr(outcome, "error", "ok"))

def runner(limit=2):
    return sr.Runner("jobs", limit=limit, observers=[Watch()])

async def job(seconds):
    say("started")
    await asyncio.sleep(seconds)
"""
LOOPS = ["asyncio", "uvloop"]
BOUND = 15.0


class Program:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._seen: list[str] = []

    def wait_for(self, words: str) -> None:
        """Read until the program has said so; its end is a failure."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append(line.rstrip("\n"))
            if self._seen[-1] == words:
                return
        pytest.fail(f"it ended without {words!r}: {self._seen}")

    def send(self, number: int, *, after: float = 0.1) -> None:
        time.sleep(after)
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """The exit status, and what it said, without the jobs' starts."""
        assert self._process.stdout is not None
        self._seen += self._process.stdout.read().splitlines()
        lines = [line for line in self._seen if line != "started"]
        return self._process.wait(), lines


@contextlib.contextmanager
def program(source: str, loop: str = "asyncio") -> Generator[Program]:
    """A running program whose first job has started."""
    if loop == "uvloop":
        if importlib.util.find_spec("uvloop") is None:
            pytest.skip("uvloop is not installed")
        source = f"import uvloop; uvloop.install()\n{textwrap.dedent(source)}"
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    leash = threading.Timer(BOUND, process.kill)
    leash.start()
    try:
        running = Program(process)
        running.wait_for("started")
        yield running
    finally:
        leash.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_sigterm_lets_running_jobs_end_and_starts_no_others(loop):
    source = """
    async def main():
        async with runner() as jobs:
            try:
                await jobs.map(job, [0.5] * 100)
            except BaseException as error:
                say(type(error).__name__)
                raise
    sr.run(main())
    """
    with program(source, loop) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "1 ok", "ShuttingDown"]


def test_a_drained_stream_gives_the_outcomes_of_the_jobs_that_ended():
    source = """
    async def main():
        async with runner() as jobs, jobs.stream(job, iter([0.5] * 100)) as outcomes:
            async for outcome in outcomes:
                await asyncio.sleep(0.05)
                say("saved", outcome.index)
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert [line for line in lines if "saved" in line] == ["saved 0", "saved 1"]


def test_an_async_source_is_closed_when_the_program_drains():
    source = """
    async def items():
        try:
            yield 0.5
            await asyncio.sleep(60)
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
            await jobs.map(job, [60] * 3)
    sr.run(main(), grace=0.2)
    """
    with program(source, loop) as process:
        began = time.monotonic()
        process.send(signal.SIGTERM)
        status, lines = process.end()
        took = time.monotonic() - began

    assert status == 143
    assert took >= 0.2
    assert len(lines) == 2
    assert all("cancelled by" in line and "signal" in line for line in lines)


def test_single_calls_drain_and_later_ones_are_refused():
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.call(job, 0.5)
            try:
                await jobs.call(job, 0)
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
            await jobs.call(job, 0)
            say("idle")
            try:
                await asyncio.sleep(60)
            finally:
                say("cleaned")
    sr.run(main(), grace=60)
    """
    with program(source) as process:
        process.wait_for("idle")
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines[1:] == ["idle", "cleaned"]


def test_a_program_that_ends_within_the_grace_still_says_143():
    source = """
    async def main():
        async with runner() as jobs:
            say(await jobs.map(job, [0.3, 0.3]))
            await asyncio.sleep(0)
    sr.run(main())
    say("never")
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines[-1] == "[None, None]"


def test_an_error_of_its_own_comes_out_of_a_draining_program():
    source = """
    async def bad(_):
        say("started")
        await asyncio.sleep(0.3)
        raise KeyError("mine")
    async def main():
        async with runner() as jobs:
            await jobs.map(bad, range(100))
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 1
    assert lines[-1].startswith("job ")
    assert "KeyError: 'mine'" in lines


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_sigterm_cancels_at_once(loop):
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.map(job, [60] * 3)
    sr.run(main(), grace=60)
    """
    with program(source, loop) as process:
        process.send(signal.SIGTERM)
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sum("signal" in line for line in lines) == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_a_third_sigterm_ends_a_program_whose_jobs_block_the_loop(loop):
    source = """
    async def stuck(_):
        say("started")
        while True:
            time.sleep(0.01)
    async def main():
        async with runner() as jobs:
            await jobs.map(stuck, range(1))
    sr.run(main())
    """
    with program(source, loop) as process:
        for _ in range(3):
            process.send(signal.SIGTERM)
        status, _ = process.end()

    assert status == -signal.SIGTERM


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_cancels_the_jobs_and_is_raised_when_main_has_ended(loop):
    source = """
    async def main():
        try:
            async with runner() as jobs:
                await jobs.map(job, [60] * 3)
        finally:
            await asyncio.sleep(0.05)
            say("cleaned")
    try:
        sr.run(main())
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    with program(source, loop) as process:
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 0
    assert lines[-2:] == ["cleaned", "KeyboardInterrupt"]
    assert sum("signal" in line for line in lines) == 2


def test_ctrl_c_ends_a_drain_at_once():
    source = """
    async def main():
        async with runner() as jobs:
            await jobs.map(job, [60] * 3)
    sr.run(main(), grace=60)
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        process.send(signal.SIGINT, after=0.2)
        status, lines = process.end()

    assert status == 143
    assert sum("signal" in line for line in lines) == 2


def test_a_second_ctrl_c_is_raised_on_the_spot():
    source = """
    async def stuck(_):
        say("started")
        while True:
            time.sleep(0.01)
    async def main():
        async with runner() as jobs:
            await jobs.map(stuck, range(1))
    try:
        sr.run(main())
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    with program(source) as process:
        process.send(signal.SIGINT)
        process.send(signal.SIGINT, after=0.2)
        status, lines = process.end()

    assert status == 0
    assert lines[-1] == "KeyboardInterrupt"


def test_a_run_inside_the_loop_drains_too():
    source = """
    async def inner():
        async with runner() as jobs:
            await jobs.map(job, [0.5] * 100)
    async def main():
        try:
            sr.run(inner())
        except BaseException as error:
            say(type(error).__name__)
            raise
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert lines == ["0 ok", "1 ok", "ShuttingDown"]


def test_a_run_in_a_worker_thread_drains_too():
    source = """
    async def inner():
        async with runner() as jobs:
            await jobs.map(job, [0.5] * 100)
    async def main():
        await asyncio.to_thread(sr.run, inner())
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 143
    assert sum("ok" in line for line in lines) == 2


def test_ctrl_c_in_a_foreign_loop_waits_for_the_inner_cleanup():
    source = """
    async def inner():
        try:
            async with runner() as jobs:
                await jobs.map(job, [60] * 3)
        finally:
            await asyncio.sleep(0.1)
            say("cleaned")
    def cell():
        try:
            sr.run(inner())
        except KeyboardInterrupt:
            say("KeyboardInterrupt")
    async def foreign():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cell()
    asyncio.new_event_loop().run_until_complete(foreign())
    """
    with program(source) as process:
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 0
    assert lines[-2:] == ["cleaned", "KeyboardInterrupt"]
    assert sum("signal" in line for line in lines) == 2


def test_what_was_recorded_before_sigterm_is_kept(tmp_path):
    source = f"""
    sr.configure(store={str(tmp_path)!r})
    async def main():
        async with runner() as jobs:
            await jobs.map(job, [0.3] * 100)
    sr.run(main())
    """
    with program(source) as process:
        process.send(signal.SIGTERM)
        status, _ = process.end()

    assert status == 143
    assert any(path.stat().st_size for path in tmp_path.iterdir())


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
