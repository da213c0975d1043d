"""`Log`: what telemetry says of itself in the application's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from spanrun.text import excerpt, inert, line_of, redact, text_of, traceback_of

_WIDTH: Final = 1_000  # characters of a value
_FROM_CALLER: Final = 3  # frames from the call of `logging` up to whoever says it


class Log:
    """Writes to the logger ``name``; raises nothing, shows no secret, and is inert.

    Handlers and filters are the application's, and may raise. Then the record goes
    to stderr, by the handler that Python has for a program without any.

    Don't call it while a lock is held that `put` of a span needs: a handler has a
    lock of its own, and may end a span under it.

    Args:
        name: As of `logging.getLogger`.
    """

    def __init__(self, name: str) -> None:
        self._logger: Final = logging.getLogger(name)

    def debug(self, message: str, *args: object) -> None:
        """Say it at level DEBUG."""
        self._say(logging.DEBUG, message, args)

    def info(self, message: str, *args: object) -> None:
        """Say it at level INFO."""
        self._say(logging.INFO, message, args)

    def warning(
        self,
        message: str,
        *args: object,
        error: BaseException | None = None,
        stack: str = "",
    ) -> None:
        """Say it at level WARNING, with the traceback of ``error``, or a ``stack``."""
        self._say(logging.WARNING, message, args, error, stack)

    def error(
        self, message: str, *args: object, error: BaseException | None = None
    ) -> None:
        """Say it at level ERROR, with the traceback of ``error``."""
        self._say(logging.ERROR, message, args, error)

    def _say(
        self,
        level: int,
        message: str,
        args: tuple[object, ...],
        error: BaseException | None = None,
        stack: str = "",
    ) -> None:
        values = tuple(_shown(value) for value in args)
        try:
            if error is not None:
                # As text: a formatter would show the secrets in it.
                stack = traceback_of(error)
            if stack:
                message, values = f"{message}\n%s", (*values, inert(redact(stack)))
            self._logger.log(level, message, *values, stacklevel=_FROM_CALLER)
        except Exception:  # noqa: BLE001 -- of a handler or a filter: said elsewhere
            _by_last_resort(self._logger.name, level, message, values)


class Seldom:
    """Lets one of many lines through, and says how many were held back before it.

    Args:
        pause: Seconds from one line to the next.
        now: Reads the clock.
    """

    def __init__(self, pause: float, now: Callable[[], float] = time.monotonic) -> None:
        self._pause: Final = pause
        self._now: Final = now
        self._quiet_until = float("-inf")
        self._held_back = 0

    def __call__(self) -> str | None:
        """Return what to add to a line: nothing, or how often it is left out.

        None: it isn't the time for one.
        """
        now = self._now()
        if now < self._quiet_until:
            self._held_back += 1
            return None
        self._quiet_until = now + self._pause
        held_back, self._held_back = self._held_back, 0
        return f"; {held_back} more since the last line" if held_back else ""


def _shown(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if isinstance(value, BaseException):
        return line_of(value)
    return excerpt(text_of(value), _WIDTH)


def _by_last_resort(
    name: str, level: int, message: str, values: tuple[object, ...]
) -> None:
    handler = logging.lastResort
    if handler is not None and level >= handler.level:
        handler.handle(
            logging.LogRecord(name, level, __file__, 0, message, values, None)
        )
