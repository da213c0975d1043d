"""What a fork does to us, and what it must not cut off.

A child has none of its parent's threads, and locks that one of them held are never
released there. With the parent's random numbers it would draw the parent's next ids,
and what the parent has in its queues is not the child's to send. So whatever holds one
of these asks to be told (`tell_after_fork`), and begins anew.

Python tells of its own forks. One by C goes past it, as uWSGI's may. So `notice_fork`
looks whether this is another process: when the first span is started in it, which the
compiled part knows at no cost, and where something is done now and then, such as a
thread being woken. Without that part only there: what a child has done until then may
be lost.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from spanrun.telemetry.log import Log

_log: Final = Log(__name__)


class Forked(Protocol):
    """Has something to put right in a child process."""

    def after_fork(self) -> None:
        """Called in the child, before it does anything with telemetry."""
        ...


_watched: Final[weakref.WeakSet[Forked]] = weakref.WeakSet()
_unforkable: Final = threading.RLock()
# By process, since the parent's may be held by a thread that isn't here.
_noticing: Final[dict[int, threading.RLock]] = {}


class _Process:
    hooked = False
    pid = 0  # of the process in which all is in order
    begins = 0  # of the one in which that is being done


def tell_after_fork(watched: Forked) -> None:
    """Call ``watched.after_fork`` in each forked child, as long as it lives.

    The interpreter never forgets what it is to call after a fork. So it is told
    once, of a function that knows who is still alive.
    """
    _watched.add(watched)
    _hook()


def no_fork() -> AbstractContextManager[Any]:
    """To be held by a thread of ours for something short: a fork waits for its end.

    A child that is forked amid another thread's import never gets that module: its
    lock is held by a thread that isn't there. A program that forks its workers right
    after `configure` did so each time. (What the standard library imports on its own,
    as sockets do `encodings.idna`, is to be loaded before.) Amid a transaction of
    SQLite the child believes for ever that the file is locked. A fork by C waits for
    nothing.
    """
    _hook()
    return _unforkable


def _hook() -> None:
    if _Process.hooked or not hasattr(os, "register_at_fork"):
        return
    _Process.hooked = True
    _Process.pid = os.getpid()
    os.register_at_fork(
        before=_unforkable.acquire,
        after_in_parent=_unforkable.release,
        after_in_child=notice_fork,
    )


def is_unnoticed_child() -> bool:
    """Whether this is a child of which `notice_fork` doesn't know yet."""
    return _Process.hooked and os.getpid() != _Process.pid


def notice_fork() -> bool:
    """Begin anew, if this is a child that was not told so. At the cost of `os.getpid`.

    Returns:
        Whether it was one.
    """
    if not is_unnoticed_child():
        return False
    pid = os.getpid()
    with _noticing.setdefault(pid, threading.RLock()):
        if pid in (_Process.pid, _Process.begins):
            return False
        _Process.begins = pid
        # Whoever held it isn't here. It can't be released instead: a fork by C may tell
        # Python of its child, and have told it of nothing before.
        _unforkable._at_fork_reinit()  # type: ignore[attr-defined] # noqa: SLF001 -- as `logging` does
        for watched in tuple(_watched):
            try:
                watched.after_fork()
            except Exception as error:  # noqa: BLE001 -- the others have theirs to do
                _log.error("%s is not right after a fork", watched, error=error)
        _Process.pid = pid
    return True
