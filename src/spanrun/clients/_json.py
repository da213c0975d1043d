"""Looking into decoded JSON of which nothing is known."""

from __future__ import annotations

import json
from typing import Any, Final, TypeGuard, cast

MOST: Final = 10**9
"""What a request can count, of tokens: more is nonsense."""
_REASON: Final = 64 * 1024  # bytes: a longer page says it nowhere


def of_error(body: bytes) -> Any:
    """The JSON of an error's body, if it is some."""
    try:
        return json.loads(body) if len(body) <= _REASON else None
    except (ValueError, RecursionError):
        return None


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a list, of whatever."""
    return isinstance(value, list)


def at(value: Any, key: str, default: Any = None) -> Any:
    """What an object has under ``key``; ``default`` if it is no object at all."""
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return fields.get(key, default)


def count_at(value: Any, key: str) -> int | None:
    """A whole number from 0 to `MOST` under ``key``, if there is one."""
    found = at(value, key)
    return found if type(found) is int and 0 <= found <= MOST else None


def text_at(value: Any, key: str) -> str | None:
    """A text under ``key``, if there is one."""
    found = at(value, key)
    return found if isinstance(found, str) else None
