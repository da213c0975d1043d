"""Real programs that real signals are sent to, each bounded in time."""

import contextlib
import importlib.util
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator

import pytest

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
