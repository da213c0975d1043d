"""`ErrorTypes`: a bounded number of values for the label ``error.type``."""

from __future__ import annotations

from typing import Final

_MAX_ERROR_TYPES: Final = 64
_MAX_LENGTH: Final = 256  # of a class's name, in characters
_OTHER: Final = "_OTHER"


class ErrorTypes:
    """Names of error classes, at most 64 of them, so that the label stays bounded.

    Classes of one name count as one, and none is kept alive.
    """

    def __init__(self) -> None:
        self._names: Final[set[str]] = set()

    def name(self, error: BaseException) -> str:
        """The value of ``error.type`` for ``error``."""
        kind = type(error)
        name = kind.__qualname__[:_MAX_LENGTH]
        if kind.__module__ not in ("builtins", "asyncio.exceptions"):
            name = f"{kind.__module__}.{name}"
        return self.bounded(name)

    def bounded(self, name: str) -> str:
        """``name``, which another process gave to its error; or ``_OTHER``."""
        name = name[: 2 * _MAX_LENGTH]
        if name not in self._names:
            if len(self._names) >= _MAX_ERROR_TYPES:
                return _OTHER
            self._names.add(name)
        return name
