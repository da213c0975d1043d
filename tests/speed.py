"""``--speed FACTOR``: every clock of the tests runs that many times as fast.

At 10 a sleep of one second takes a tenth of one, so that the code seems ten times as
slow as it is; at 0.1 the code seems ten times as fast. A test that passes at both
isn't decided by the machine's speed. Scaled are `time`'s clocks and sleeps, the waits
of `selectors` (and with them each event loop's timers) and the timeouts of
`threading`. Not scaled: programs that a test starts (how long one takes is measured by
`tests.waiting.real`), sockets' own timeouts, and what ends by itself.

conftest.py imports this file before anything else, since a clock that another module
has bound can't be replaced any more.
"""

from __future__ import annotations

import argparse
import os
import queue
import selectors
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

_VARIABLE: Final = "SPANRUN_TEST_SPEED"
"""Carries the factor from the command line to the workers of pytest-xdist."""


def _asked() -> float:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--speed", default=os.environ.get(_VARIABLE, "1"))
    text = parser.parse_known_args(sys.argv[1:])[0].speed
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.01 <= factor <= 100:
        raise pytest.UsageError(f"--speed={text}: must be a number from 0.01 to 100")
    if factor != 1:
        os.environ[_VARIABLE] = str(factor)
    return factor


FACTOR: Final = _asked()


def add_option(parser: pytest.Parser) -> None:
    """Let pytest know the option, which `FACTOR` has been read from already."""
    parser.addoption(
        "--speed",
        default="1",
        metavar="FACTOR",
        help="let every clock of the tests run FACTOR times as fast",
    )


class Speed:
    """What the plugin does in a run."""

    def pytest_report_header(self) -> str | None:
        """Say how fast the clocks are."""
        return None if FACTOR == 1 else f"clocks: {FACTOR:g} times as fast"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what waits for servers, which have clocks of their own."""
        if FACTOR == 1:
            return
        skip = pytest.mark.skip(reason="--speed: its servers have other clocks")
        for item in items:
            if (
                item.get_closest_marker("foreign_clock")
                or "backends" in item.path.parts
                or "solr_url" in getattr(item, "fixturenames", ())
                or "[solr" in item.name
            ):
                item.add_marker(skip)

    def pytest_runtest_setup(self) -> None:
        """Let the wall clock begin each test at the true time, as files have it."""
        _Wall.began, _Wall.mono = _time_ns(), _monotonic_ns()


class _Wall:
    """Two readings of the true clocks at the same moment."""

    began = time.time_ns()
    mono = time.monotonic_ns()


_time_ns: Final = time.time_ns
_monotonic_ns: Final = time.monotonic_ns


def _scaled(clock: Callable[[], int]) -> Callable[[], int]:
    began = clock()
    return lambda: began + int((clock() - began) * FACTOR)


def _seconds(clock: Callable[[], int]) -> Callable[[], float]:
    return lambda: clock() / 1e9


def _wall() -> int:
    return _Wall.began + int((_monotonic_ns() - _Wall.mono) * FACTOR)


def _shorter(wait: Callable[..., Any]) -> Callable[..., Any]:
    """``wait``, whose first argument but ``self`` is its timeout, in scaled time."""

    def waits(self: Any, timeout: float | None = None) -> Any:
        return wait(self, timeout and timeout / FACTOR)

    return waits


def _start() -> None:
    for name in ("monotonic", "perf_counter"):
        scaled = _scaled(getattr(time, f"{name}_ns"))
        setattr(time, f"{name}_ns", scaled)
        setattr(time, name, _seconds(scaled))
    time.time_ns, time.time = _wall, _seconds(_wall)
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / FACTOR)
    # What was bound before.
    threading._time = queue.time = time.monotonic
    for owner, method in [
        (selectors.DefaultSelector, "select"),
        (threading.Condition, "wait"),
        (threading.Thread, "join"),
    ]:
        setattr(owner, method, _shorter(getattr(owner, method)))


if FACTOR != 1:
    _start()
