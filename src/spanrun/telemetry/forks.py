"""`no_fork`: what our threads do that no fork may cut off."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any, Final

_lock: Final = threading.RLock()
_hooked: Final[list[bool]] = []


def no_fork() -> AbstractContextManager[Any]:
    """To be held by a thread of ours for something short: a fork waits for its end.

    A child that is forked amid another thread's import never gets that module: its
    lock is held by a thread that isn't there. A program that forks its workers right
    after `configure` did so each time. (What the standard library imports on its own,
    as sockets do `encodings.idna`, is to be loaded before.) Amid a transaction of
    SQLite the child believes for ever that the file is locked.
    """
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked.append(True)
        os.register_at_fork(
            before=_lock.acquire,
            after_in_parent=_lock.release,
            after_in_child=_lock.release,
        )
    return _lock
