"""`importing`: what our threads import, so that no fork cuts it off."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any, Final

_lock: Final = threading.RLock()
_hooked: Final[list[bool]] = []


def importing() -> AbstractContextManager[Any]:
    """To be held while a thread of ours imports: a fork waits for the end of it.

    A child that is forked in the midst of another thread's import never gets that
    module: its lock is held by a thread that isn't there. A program that forks its
    workers right after `configure` did so each time. (What the standard library
    imports on its own, as sockets do `encodings.idna`, is to be loaded before.)
    """
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked.append(True)
        os.register_at_fork(
            before=_lock.acquire,
            after_in_parent=_lock.release,
            after_in_child=_lock.release,
        )
    return _lock
