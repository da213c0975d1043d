"""Waiting for a condition: no test waits for a time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 120.0
"""Real seconds, whatever ``--speed`` says. Only a test that fails uses them up."""
_EVERY: Final = 0.002


def until(true: Callable[[], object], what: str = "the condition") -> None:
    """Wait until ``true()``, which another thread or program makes so."""
    for _ in _rounds(true, what):
        time.sleep(_EVERY)


async def becomes(true: Callable[[], object], what: str = "the condition") -> None:
    """Wait until ``true()``, and let the event loop run meanwhile."""
    for _ in _rounds(true, what):
        await asyncio.sleep(_EVERY)


async def turns(rounds: int = 100) -> None:
    """Let the event loop go round, before a test looks at what didn't happen."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@contextmanager
def killed_when_late(
    process: subprocess.Popen[Any], patience: float = PATIENCE
) -> Generator[None]:
    """Kill ``process`` when the block takes too long. It leaves no thread behind."""
    timer = threading.Timer(patience, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def killed_when_stuck(
    process: subprocess.Popen[Any], progress: Callable[[], object]
) -> Generator[None]:
    """Kill ``process`` when ``progress()`` stays the same for too long in the block."""
    over = threading.Event()

    def watch() -> None:
        seen, since = progress(), real()
        while not over.wait(1):
            found = progress()
            if found != seen:
                seen, since = found, real()
            elif real() - since > PATIENCE:
                process.kill()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def files_below(root: Path) -> list[Path]:
    """The files in ``root`` while others make and remove some, and folders too."""
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names]


def _rounds(true: Callable[[], object], what: str) -> Iterator[None]:
    end = real() + PATIENCE
    while not true():
        assert real() < end, f"{what} has not become true in {PATIENCE:g} s"
        yield


def real() -> float:
    """Read the clock that other programs have, whatever ``--speed`` says."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
