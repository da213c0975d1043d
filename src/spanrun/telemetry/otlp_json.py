"""`message_of`: OTLP's JSON as its messages, by OTLP's own rules.

Ids are hexadecimal digits, where protobuf's JSON has base 64; names that aren't known
are passed over. Measured for a span with twelve attributes: 60 µs, where
``google.protobuf.json_format`` takes 800.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple, cast

_IDS: Final = ("trace_id", "span_id", "parent_span_id", "profile_id")
_MESSAGE: Final = 10  # its CppType
_BYTES: Final = 12  # its type, as its CppType is that of texts


class _Field(NamedTuple):
    """A field of a message: its name in Python, and what makes its value."""

    name: str
    convert: Callable[[Any], Any]
    is_repeated: bool


def message_of(kind: Any, value: object) -> Any:
    """A message of the class ``kind``.

    Raises:
        TypeError: A value isn't of the type that it must have.
        ValueError: The same, or it is beyond the type's range.
        RecursionError: It is too deep.
    """
    return kind(**_fields_of(kind.DESCRIPTOR, value))


def _fields_of(descriptor: Any, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.60} is no {descriptor.name}")
    known = _known(descriptor)
    found: dict[str, Any] = {}
    for key, each in cast("dict[str, Any]", value).items():
        field = known.get(key)
        if field is None or each is None:
            continue
        try:
            found[field.name] = (
                [field.convert(one) for one in _list(each)]
                if field.is_repeated
                else field.convert(each)
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{key}: {error}") from error
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.60} is no list")
    return cast("list[object]", value)


@cache
def _known(descriptor: Any) -> dict[str, _Field]:
    """The fields by their names, in JSON and in the definition."""
    known: dict[str, _Field] = {}
    for each in descriptor.fields:
        field = _Field(each.name, _convert(each), each.is_repeated)
        known[each.json_name] = known[each.name] = field
    return known


def _convert(field: Any) -> Callable[[Any], Any]:
    kind = field.cpp_type
    if kind == _MESSAGE:
        inner = field.message_type
        return lambda value: _fields_of(inner, value)
    if field.type == _BYTES:
        return bytes.fromhex if field.name in _IDS else _bytes
    return _CONVERT[kind]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value % 1):
        raise TypeError(f"{value!r} is no integer")
    return int(value)


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is neither true nor false")
    return value


def _named(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r:.60} is neither a number nor a name")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


_CONVERT: Final[dict[int, Callable[[Any], Any]]] = {
    **dict.fromkeys((1, 2, 3, 4), _whole),
    **dict.fromkeys((5, 6), _double),
    7: _truth,
    8: _named,
    9: _text,
}
"""By the number that protobuf has for what a type is in C++."""
