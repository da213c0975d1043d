"""`ErrorTypes`: a bounded number of values for the label ``error.type``."""

from __future__ import annotations

from typing import Final

_MAX_ERROR_TYPES: Final = 64
_OTHER: Final = "_OTHER"


class ErrorTypes:
    """Names of error classes, at most 64 of them, so that the label stays bounded."""

    def __init__(self) -> None:
        self._names: dict[type[BaseException], str] = {}

    def name(self, error: BaseException) -> str:
        """The value of ``error.type`` for ``error``."""
        kind = type(error)
        name = self._names.get(kind)
        if name is None:
            if len(self._names) >= _MAX_ERROR_TYPES:
                return _OTHER
            builtin = kind.__module__ in ("builtins", "asyncio.exceptions")
            prefix = "" if builtin else f"{kind.__module__}."
            name = self._names[kind] = f"{prefix}{kind.__qualname__}"
        return name
