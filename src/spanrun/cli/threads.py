"""`Threads`: an executor whose calls keep no program from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class Threads(ThreadPoolExecutor):
    """Makes calls in at most ``most`` threads, and ends when the program does.

    Python waits at its end for the threads of its own executor, however long their
    calls take, and Ctrl-C doesn't change that. These are daemons: `wait` waits for
    their calls, and is interrupted by Ctrl-C.

    Args:
        most: Calls at once.
    """

    # The base is what asyncio wants of a default executor; nothing of it is used.

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._most: Final = most
        self._calls: Final[SimpleQueue[_Call | None]] = SimpleQueue()
        self._changed: Final = threading.Condition()
        self._started = self._idle = 0
        self._open = 0

    @property
    def running(self) -> int:
        """How many calls have not returned."""
        return self._open

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Make a call as soon as a thread is free."""
        future: Future[T] = Future()
        with self._changed:
            self._open += 1
            self._calls.put((future, lambda: fn(*args, **kwargs)))
            if self._idle:
                self._idle -= 1
            elif self._started < self._most:
                self._started += 1
                name = f"spanrun-job-{self._started}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        return future

    def wait(self) -> None:
        """Wait until all calls have returned."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 -- its signature
        """Have each thread end after its call; `wait` is who waits for them."""
        with self._changed:
            for _ in range(self._started):
                self._calls.put(None)

    def _work(self) -> None:
        while True:
            given = self._calls.get()
            if given is None:
                return
            _make(*given)
            del given  # not kept while the next one is waited for
            with self._changed:
                self._open -= 1
                self._changed.notify_all()
                if self._calls.empty():
                    self._idle += 1


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(value)
