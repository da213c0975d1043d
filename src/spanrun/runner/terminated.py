"""SIGTERM while no `run` listens: a `SystemExit`, so that what is open is closed.

Small, as the command line imports it before everything else: that takes a while, in
which the signal may come.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STATUS: Final = 128 + signal.SIGTERM
"""The exit status of a program that SIGTERM has ended."""


def raise_exit(_: int, __: FrameType | None) -> None:
    """End the program in order; the handler that `listening` sets.

    Raises:
        SystemExit: With `STATUS`.
    """
    raise SystemExit(STATUS)


@contextmanager
def listening() -> Generator[None]:
    """Have SIGTERM raise in a block, unless it has a handler or is ignored.

    `run` has its own way with it, for as long as it runs.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is raise_exit:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
