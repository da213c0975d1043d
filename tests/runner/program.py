"""Real programs that real signals are sent to."""

import contextlib
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Generator

import pytest
from tests import programs
from tests.waiting import killed_when_late

PRELUDE = """
import asyncio, signal, sys, time
import spanrun as sr
from spanrun.runner.core import cores

def say(*words):
    print(*words, flush=True)

class Watch:
    def run_opened(self, run): pass
    def run_closed(self, run): pass
    def job_ended(self, run, outcome):
        say(outcome.index, getattr(outcome, "error", "ok"))

def runner(limit=2):
    return sr.Runner("jobs", limit=limit, observers=[Watch()])

in_order = asyncio.Lock()  # two that look by themselves may see it the other way round

async def drained():
    async with in_order:
        while not any(core.draining for core in cores):
            await asyncio.sleep(0.005)

async def job(until):
    say("started")
    await until()

async def for_ever():
    await asyncio.Event().wait()

def echo(*numbers):
    for number in numbers:
        def handled(*given, handler=signal.getsignal(number)):
            handler(*given)
            say("handled")
        signal.signal(number, handled)
"""
"""What each program begins with: jobs that end when they are drained, or never."""
LOOPS = ["asyncio", "uvloop"]


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

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """The exit status, and what it said, without the jobs' starts."""
        assert self._process.stdout is not None
        self._seen += self._process.stdout.read().splitlines()
        lines = [line for line in self._seen if line not in {"started", "handled"}]
        return self._process.wait(), lines


@contextlib.contextmanager
def program(
    source: str, loop: str = "asyncio", *, started: int = 1
) -> Generator[Program]:
    """A running program, of which so many jobs have started."""
    if loop == "uvloop":
        if importlib.util.find_spec("uvloop") is None:
            pytest.skip("uvloop is not installed")
        source = f"import uvloop; uvloop.install()\n{textwrap.dedent(source)}"
    process = programs.start(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with killed_when_late(process):
        try:
            running = Program(process)
            for _ in range(started):
                running.wait_for("started")
            yield running
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
