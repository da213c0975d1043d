"""A test that hangs is ended, and says where it hung."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest
from tests.fuzz.examples import EXAMPLES

HANGS = 300 + EXAMPLES
"""Seconds for all examples of a test, which take some tens of milliseconds each."""


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def hung(_: int, __: FrameType | None) -> None:
        pytest.fail(f"it takes more than {HANGS} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(HANGS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
