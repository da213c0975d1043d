"""How a checkpoint knows an item, and a function, again."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from hashlib import md5
from pathlib import PurePath
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from spanrun.errors import CheckpointError, ConfigurationError
from spanrun.runner.checkpoint.codec import is_exact, tagged
from spanrun.text import one_line

_encode: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
_TEXTS: Final = (PurePath, UUID, Decimal, date, time, timedelta)
_SIZE: Final = 8
_MOST: Final = 1 << 63
_WIDTH: Final = 60


class Ticket(NamedTuple):
    """An item that is to be run.

    Attributes:
        place: Its index in the input.
        key: The user's name for it; None where it is known by its place.
        digest: Of its content; None where it has a key.
        attempts: How many there were in earlier runs.
    """

    place: int
    key: str | int | None
    digest: bytes | None
    attempts: int = 0

    @property
    def item(self) -> str | int:
        """What it is known by."""
        return self.place if self.key is None else self.key


_ticket: Final[Callable[..., Ticket]] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportAssignmentType]
"""Makes one in half of the time."""


def ticket_of(place: int, item: Any, key: Callable[[Any], str | int] | None) -> Ticket:
    """Say what ``item`` is known by.

    Raises:
        CheckpointError: It can't be told from another one.
        ConfigurationError: Its key is neither a text nor a whole number.
    """
    if key is None:
        return _ticket(Ticket, (place, None, _digest(place, item), 0))
    name: object = key(item)
    if type(name) is not str and (type(name) is not int or not -_MOST <= name < _MOST):
        shown = one_line(repr(name), _WIDTH)
        raise ConfigurationError(
            f"Checkpoint(key=…): must give a text or a whole number of 64 bits, not "
            f"{shown}, which it gave for item {place}"
        )
    return Ticket(place, name, None)


def _digest(place: int, item: Any) -> bytes:
    if type(item) is str:
        data = b"s" + item.encode("utf-8", "surrogatepass")
    elif type(item) is int:
        data = b"j%d" % item
    else:
        try:
            plain = item if is_exact(item) else tagged(_plain(item))
            data = b"j" + _encode(plain).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"item {place}, a {type(item).__qualname__}, has no content by which a "
                f"checkpoint knows it again ({error}): give Checkpoint(key=…)"
            ) from error
    # Against mistakes, not attacks; the others take three times as long.
    return md5(data, usedforsecurity=False).digest()[:_SIZE]


def _plain(item: Any) -> Any:
    """``item`` in types that a codec knows, with the names of those that it has not."""
    kind = cast("Any", type(item))
    if kind is list:
        return [_plain(each) for each in item]
    if kind is tuple:
        return tuple(map(_plain, item))
    if kind is dict:
        return {_plain(name): _plain(each) for name, each in item.items()}
    if kind in (set, frozenset):
        return (kind.__name__, sorted(_encode(tagged(_plain(each))) for each in item))
    content = _content(item)
    return item if content is None else (kind.__qualname__, content)


def _content(item: Any) -> Any:
    """What an object of a known kind is made of; None for others."""
    if isinstance(item, Enum):
        return item.name
    if isinstance(item, _TEXTS):
        return str(item)
    if is_dataclass(item):
        return {each.name: _plain(getattr(item, each.name)) for each in fields(item)}
    if isinstance(item, tuple):  # one with names
        return [_plain(each) for each in cast("Any", item)]
    return None


def name_of(function: Any) -> str:
    """The name of ``function``, with its module."""
    found = _innermost(function)
    named = found if hasattr(found, "__qualname__") else cast("Any", type(found))
    module = getattr(named, "__module__", None)
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        module = spec.name if spec is not None else module
    return f"{module}.{named.__qualname__}"


def source_of(function: Any) -> str:
    """The digest of what the function's source says; empty where there is none."""
    found = _innermost(function)
    if not hasattr(found, "__code__"):
        found = cast("Any", type(found))
    try:
        text = inspect.getsource(found)
    except (OSError, TypeError):
        return ""
    return md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _innermost(function: Any) -> Any:
    found = function
    while isinstance(found, partial):
        found = cast("Any", found).func
    found = inspect.unwrap(found)
    return getattr(found, "__func__", found)
