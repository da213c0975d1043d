"""Whether the process, or the system, has file descriptors left."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Final, TypeVar

from spanrun.causes import origins

T = TypeVar("T")

AGAIN: Final = 0.05
"""Seconds after which it is worth another try, if nothing was given back."""

NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Of the process, and of the system."""
_NEEDED: Final = 8
"""As many as a library takes for a look-up, a database or a process, generously."""


def exhausted(error: BaseException) -> bool:
    """Whether ``error`` came because no descriptor was left.

    It is looked for in all that ``error`` was made of. A failed look-up of a name
    says only that it failed: then it counts if there are hardly any left.
    """
    for each in origins(error):
        if isinstance(each, socket.gaierror):
            if not available(_NEEDED):
                return True
        elif isinstance(each, OSError) and each.errno in NONE_LEFT:
            return True
    return False


def available(count: int = _NEEDED) -> bool:
    """Whether ``count`` descriptors can be had at this moment."""
    held: list[int] = []
    try:
        held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))
    except OSError as error:
        return error.errno not in NONE_LEFT
    finally:
        for each in held:
            os.close(each)
    return True


def patiently(
    use: Callable[[], T],
    seconds: float,
    *,
    lacking: Callable[[Exception], bool] = exhausted,
    wait: Callable[[float], object] = time.sleep,
) -> T:
    """Call ``use``, again and again while it fails for want of descriptors.

    It blocks: for threads.

    Args:
        use: Opens what it needs, and leaves nothing open where it fails.
        seconds: After these, its error is raised.
        lacking: Whether its error came for want of descriptors.
        wait: Waits some seconds; what it raises ends the waiting.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return use()
        except Exception as error:
            if time.monotonic() >= until or not lacking(error):
                raise
        wait(AGAIN)
