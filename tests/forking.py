"""Programs that fork. A test's own process has threads, which a child would miss."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.waiting import killed_when_late

ROOT: Final = Path(__file__).parents[1]
HEAD: Final = """
import os, sys, warnings
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of those it has

def child_of(work):
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return child

def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
"""``work`` is done in the child, whose status is 0 if it was true, 2 if not."""

needs_fork: Final = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="this system has no fork"
)


class Forking:
    """A running program, which may talk with its test, a line at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process: Final = process

    def says(self, words: str) -> None:
        """Read a line, which must be ``words``."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == f"{words}\n", (said, self._process.communicate())

    def go_on(self) -> None:
        """Let its ``input()`` return."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ends(self) -> None:
        """Wait for its end, as a program that said no more and ended well."""
        ended = (*self._process.communicate(), self._process.returncode)
        assert ended == ("", "", 0), ended


@contextmanager
def forking(source: str, *arguments: object) -> Generator[Forking]:
    """Run ``source``, which can import the tests; the block waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(source), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process, killed_when_late(process):
        try:
            running = Forking(process)
            yield running
            running.ends()
        finally:
            process.kill()
