"""`Json`: results as JSON, exact for Python's plain types and numpy's arrays.

JSON itself has no tuples, sets or bytes, and only texts as keys. A value with one of
these is written with tags, as ``{"$tuple": [1, 2]}``, and comes back as it was. An
array alone, and a vector as a list of floats, is its bytes behind a line that tells its
type and shape: nothing is done for each number.
"""

from __future__ import annotations

import base64
import json
import sys
from array import array
from collections.abc import Callable
from typing import Any, Final, cast

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_MARK: Final = "$"
_FLOAT: Final = {float}
_VECTOR: Final = 16
"""Numbers from which on a list of floats is kept as their bytes."""


class Json:
    """The codec where none is given: texts of JSON, and arrays as their bytes."""

    def dumps(self, value: Any) -> str | bytes:
        """``value`` for the file.

        Raises:
            TypeError: Something in it would not come back as it was.
        """
        if type(value) is int:
            return str(value)
        if _is_vector(value):
            return b"\n".join((b"null", array("d", value).tobytes()))
        if is_exact(value):
            return _encode(value)
        if _is_array(value):
            head = _encode([value.dtype.str, value.shape]).encode()
            return b"\n".join((head, value.tobytes()))
        return _encode(tagged(value))

    def loads(self, data: str | bytes) -> Any:
        """What `dumps` was given."""
        if isinstance(data, bytes):
            head, _, numbers = data.partition(b"\n")
            told = json.loads(head)
            if told is None:
                return array("d", numbers).tolist()
            return _array(told[0], told[1], numbers)
        return json.loads(data, object_hook=_untagged if '{"$' in data else None)


def is_exact(value: Any) -> bool:
    """Whether JSON gives ``value`` back as it is."""
    kind = cast("Any", type(value))
    if kind in _SCALARS:
        return True
    if kind is list:
        return set(map(type, value)) <= _SCALARS or all(map(is_exact, value))
    if kind is dict:
        return _has_plain_keys(value) and all(map(is_exact, value.values()))
    return False


def tagged(value: Any) -> Any:
    """``value`` with tags where JSON alone would change it.

    Raises:
        TypeError: There is no tag for something in it.
    """
    kind = cast("Any", type(value))
    if kind in _SCALARS:
        return value
    if kind is list:
        return [tagged(each) for each in value]
    if kind is dict and _has_plain_keys(value):
        return {name: tagged(each) for name, each in value.items()}
    if kind is dict:
        return {"$dict": [[tagged(name), tagged(value[name])] for name in value]}
    if kind in (tuple, set, frozenset):
        return {f"{_MARK}{kind.__name__}": [tagged(each) for each in value]}
    return _tagged_bytes(value, kind)


def _tagged_bytes(value: Any, kind: Any) -> Any:
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if _is_array(value):
        numbers = base64.b64encode(value.tobytes()).decode()
        return {"$array": [value.dtype.str, value.shape, numbers]}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and not _holds(value):
        numbers = base64.b64encode(value.tobytes()).decode()
        return {"$number": [value.dtype.str, numbers]}
    raise TypeError(f"{kind.__qualname__} is not among the types that JSON can keep")


def _untagged(found: dict[str, Any]) -> Any:
    (tag,) = found if len(found) == 1 else ("",)
    made = _MADE.get(tag)
    return found if made is None else made(found[tag])


def _array(kind: str, shape: list[int], numbers: bytes) -> Any:
    import numpy  # noqa: ICN001, PLC0415 -- only where a result is an array

    return numpy.frombuffer(numbers, numpy.dtype(kind)).reshape(shape).copy()


_MADE: Final[dict[str, Callable[[Any], Any]]] = {
    "$dict": dict,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": base64.b64decode,
    "$array": lambda told: _array(told[0], told[1], base64.b64decode(told[2])),
    "$number": lambda told: _array(told[0], [1], base64.b64decode(told[1]))[0],
}


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    return all(type(name) is str and name[:1] != _MARK for name in value)


def _is_vector(value: Any) -> bool:
    """Whether it is a list of so many floats that their bytes are worth it."""
    kind = cast("Any", type(value))
    if kind is not list or len(value) < _VECTOR:
        return False
    return set(map(type, value)) == _FLOAT


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not _holds(value)


def _holds(value: Any) -> bool:
    """Whether a numpy value has objects, or named fields, in it."""
    return cast("bool", value.dtype.hasobject or value.dtype.names is not None)
