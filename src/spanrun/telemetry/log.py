"""`Log`: what telemetry says of itself in the application's log."""

from __future__ import annotations

import logging
import traceback
from typing import Final

from spanrun.telemetry.redact import redact, text_of

_FROM_CALLER: Final = 3  # frames from the call of `logging` up to whoever says it


class Log:
    """Writes to the logger ``name``; raises nothing, and shows no secret.

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
        self, message: str, *args: object, error: BaseException | None = None
    ) -> None:
        """Say it at level WARNING, with the traceback of ``error``."""
        self._say(logging.WARNING, message, args, error)

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
    ) -> None:
        values = tuple(_shown(value) for value in args)
        try:
            if error is not None:
                # As text: a formatter would show the secrets in it.
                message, values = f"{message}\n%s", (*values, _traceback(error))
            self._logger.log(level, message, *values, stacklevel=_FROM_CALLER)
        except Exception:  # noqa: BLE001 -- of a handler or a filter: said elsewhere
            _by_last_resort(self._logger.name, level, message, values)


def _shown(value: object) -> object:
    return value if isinstance(value, int | float) else redact(text_of(value))


def _traceback(error: BaseException) -> str:
    return redact("".join(traceback.format_exception(error))).rstrip()


def _by_last_resort(
    name: str, level: int, message: str, values: tuple[object, ...]
) -> None:
    handler = logging.lastResort
    if handler is not None and level >= handler.level:
        handler.handle(
            logging.LogRecord(name, level, __file__, 0, message, values, None)
        )
