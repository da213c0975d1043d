"""`AtExit`: have something called at the end of a process, however it ends.

`atexit` is what the interpreter does at its end. A process that `multiprocessing` made
doesn't come so far: it ends by `os._exit`, after the finalizers of that module. And a
worker of a `billiard` pool (Celery) ends by `os._exit` without those: it calls what it
was given as ``on_exit``.

Nothing at all is called at `os._exit` otherwise, at `os.execv`, or at a signal without
a handler.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import sys
from collections.abc import Callable
from typing import Any, Final

_LAST: Final = -100  # behind what multiprocessing itself finishes, such as its queues


class AtExit:
    """Calls ``end`` when this process ends, or a child that is forked from it.

    Args:
        end: Called more than once where several ways lead there.
    """

    def __init__(self, end: Callable[[], object]) -> None:
        self._end: Final = end
        atexit.register(end)
        # This may be a child of multiprocessing, at work already. The children of
        # this process forget the finalizers when they begin, and call this then.
        multiprocessing.util.register_after_fork(self, AtExit._enter)
        self._enter()

    def cancel(self) -> None:
        """Don't."""
        atexit.unregister(self._end)
        self._finalizer.cancel()

    def _enter(self) -> None:
        self._finalizer = multiprocessing.util.Finalize(
            None, self._end, exitpriority=_LAST
        )
        worker = _billiard_worker()
        if worker is not None:
            given = worker.on_exit

            def on_exit(pid: int, code: int) -> None:
                try:
                    if given is not None:
                        given(pid, code)
                finally:
                    self._end()

            worker.on_exit = on_exit


def _billiard_worker() -> Any:
    """What this process does, if it is a worker of a `billiard` pool; else None."""
    pool: Any = sys.modules.get("billiard.pool")
    process: Any = sys.modules.get("billiard.process")
    if pool is None or process is None:
        return None
    target = getattr(process.current_process(), "_target", None)
    return target if isinstance(target, pool.Worker) else None
