"""Protobuf by hand: the few wire forms that OTLP attributes are made of.

Written after https://protobuf.dev/programming-guides/encoding/ and
``opentelemetry/proto/common/v1/common.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from spanrun.telemetry.span.plain import Plain, utf8

SMALL: Final[tuple[bytes, ...]] = tuple(
    [bytes((low,)) for low in range(0x80)]
    + [bytes((low | 0x80, high)) for high in range(1, 0x80) for low in range(0x80)]
)
"""The varints of 0 to 16,383: a look-up instead of a loop."""

IS_SMALL: Final = len(SMALL)

_THREE_BYTES: Final = 1 << 21
_CONTINUED: Final = 0x80
_INT64: Final = 1 << 63
_UINT64: Final = (1 << 64) - 1

_double: Final = struct.Struct("<d").pack
_three: Final = struct.Struct("3B").pack


def varint(number: int) -> bytes:
    """``number`` as a varint; a negative one in two's complement of 64 bits.

    Raises:
        OverflowError: It has more than 64 bits.
    """
    if 0 <= number < IS_SMALL:
        return SMALL[number]
    if 0 <= number < _THREE_BYTES:
        return _three(number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14)
    if not -_INT64 <= number < _INT64:
        raise OverflowError(number)
    number &= _UINT64
    encoded = bytearray()
    while number >= _CONTINUED:
        encoded.append(number & 0x7F | _CONTINUED)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def sized(tag: bytes, body: bytes) -> bytes:
    """A field with ``body`` as its content: a text, bytes or a message."""
    return tag + varint(len(body)) + body


def text(tag: bytes, value: str) -> bytes:
    """A field with a text; nothing for an empty one, which is the default."""
    return sized(tag, utf8(value)) if value else b""


def any_value(value: Plain) -> bytes:  # noqa: PLR0911 -- one for each type
    """The content of an ``AnyValue``, of a value that `clean` has made plain."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return sized(b"\x0a", utf8(value))
    if isinstance(value, int):
        return b"\x18" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return sized(b"\x3a", value)
    if isinstance(value, tuple):
        elements = [sized(b"\x0a", any_value(element)) for element in value]
        return sized(b"\x2a", b"".join(elements))
    return sized(b"\x32", b"".join(key_values(b"\x0a", value)))


def key_values(tag: bytes, attributes: Mapping[str, Plain]) -> list[bytes]:
    """One field with a ``KeyValue`` for each of plain ``attributes``."""
    return [key_value(tag, key, value) for key, value in attributes.items()]


def key_value(tag: bytes, key: str, value: Plain) -> bytes:
    """A field with a ``KeyValue``, of a plain key and value."""
    return sized(tag, text(b"\x0a", key) + sized(b"\x12", any_value(value)))


def double_field(tag: bytes, key: str) -> Callable[[float], bytes]:
    """Return what makes a field with a ``KeyValue`` of a double."""
    before = text(b"\x0a", key) + b"\x12\x09\x21"
    before = tag + varint(len(before) + 8) + before
    return partial(struct.Struct(f"<{len(before)}sd").pack, before)


def int_field(tag: bytes, key: str) -> Callable[[int], bytes]:
    """Return what makes a field with a ``KeyValue`` of an integer of 64 bits.

    For any other it raises `OverflowError`.
    """
    name = text(b"\x0a", key)
    before = tuple(  # by the bytes of the integer
        tag + varint(len(name) + 3 + size) + name + bytes((0x12, 1 + size, 0x18))
        for size in range(11)
    )

    def field(value: int) -> bytes:
        data = SMALL[value] if 0 <= value < IS_SMALL else varint(value)
        return before[len(data)] + data

    return field
