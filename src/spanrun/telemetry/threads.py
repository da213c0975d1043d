"""`Worker`: a thread of telemetry's own, which goes on whatever is raised in it."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import Counter
from collections.abc import Callable, Generator
from typing import Final

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage] -- there is no other way to say it
    _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage] -- the same
    attach,
    detach,
    set_value,
)

from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_PAUSE: Final = 0.1  # seconds before work that failed begins again; they double
_MAX_PAUSE: Final = 10.0

restarts: Final[Counter[str]] = Counter()
"""How often the work of each thread failed and began again, by the thread's name."""


class Worker:
    """A daemon thread that does ``work`` until it returns.

    The application's code runs in it too: handlers of its log, callbacks of its
    instruments, texts of its values. What that raises, `SystemExit` included, ends no
    thread: it is counted in `restarts` and logged, and after a pause ``work`` is
    called again.

    It runs in a context of its own, in which other libraries' instrumentation is
    switched off: what it sends makes no spans.

    Args:
        name: Of the thread, behind ``spanrun-``.
        work: May be called again at any time, so it keeps its state elsewhere.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work: Final = work
        self._ending: Final = threading.Event()
        self._thread: Final = threading.Thread(
            target=self._run, name=f"spanrun-{name}", daemon=True
        )
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the work hasn't returned yet."""
        return self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether this is called from within the work."""
        return self._thread is threading.current_thread()

    def join(self, timeout: float) -> None:
        """Wait for the end of the work, which isn't begun again from now on."""
        self._ending.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        contextvars.Context().run(self._guarded)

    def _guarded(self) -> None:
        with uninstrumented():
            pause = _PAUSE
            while True:
                try:
                    self._work()
                except BaseException as error:  # noqa: BLE001 -- see the class
                    restarts[self._thread.name] += 1
                    _log.error(
                        "thread %s failed, and begins again in %.1f s",
                        *(self._thread.name, pause),
                        error=error,
                    )
                else:
                    return
                if self._ending.wait(pause):
                    return
                pause = min(2 * pause, _MAX_PAUSE)


@contextlib.contextmanager
def uninstrumented() -> Generator[None]:
    """Switch other libraries' instrumentation off in here: telemetry's own I/O."""
    context = set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True)
    context = set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, value=True, context=context)
    token = attach(context)
    try:
        yield
    finally:
        detach(token)
