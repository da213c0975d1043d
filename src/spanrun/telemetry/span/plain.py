"""Attribute values: whatever users put there becomes plain, small and finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar, cast

MAX_LENGTH: Final = 16 * 1024
"""Characters of a text, or bytes, that are kept where no ``OTEL_*_LIMIT`` says."""

CUT: Final = "…"
"""Stands where a container was cut."""

_MAX_DEPTH: Final = 16  # parsers of protobuf give up at 100 messages in each other
_ELEMENT: Final = 8
_INT64: Final = 1 << 63
_MAX_DIGITS: Final = 4_000  # Python refuses to print integers longer than 4,300

Plain: TypeAlias = (
    "str | bool | int | float | bytes | tuple[Plain, ...] | dict[str, Plain] | None"
)

_T = TypeVar("_T", str, bytes)
_Container: TypeAlias = Sequence[Any] | Mapping[Any, Any]

_object: Final[Any] = object
_ANY_SIZE: Final = frozenset((bool, float, type(None)))


def clean(value: Any, length: int = MAX_LENGTH) -> Plain:
    """A plain value that says what ``value`` says, and never an exception.

    Follows "Mapping Arbitrary Data to OTLP AnyValue" of the OpenTelemetry
    specification, and where that leaves a choice, the Python SDK: sequences
    become tuples, an integer beyond 64 bits its decimal digits, any other
    object its text, or None when its class has none. Texts and bytes are cut at
    ``length``; a container is cut when it is too deep or too large, which also
    ends one that contains itself.
    """
    if type(value) in _ANY_SIZE or (type(value) is str and len(value) <= length):
        plain: Plain = value  # as nearly always
        return plain
    try:
        return _Cleaner(length).plain(value, 0)
    except Exception:  # noqa: BLE001 -- users' classes may raise anything
        return f"<unreadable {type(value).__qualname__}>"


def cleaned(
    attributes: Mapping[str, Any], length: int = MAX_LENGTH, limit: int | None = None
) -> tuple[dict[str, Plain], int]:
    """All of ``attributes`` with plain keys and values, and how many were dropped.

    Where there are more than ``limit``, the oldest are dropped, as in the SDK.
    """
    plain: dict[str, Plain] = {}
    dropped = 0
    for key, value in stable_items(attributes):
        name = _key(key)
        if name is None:
            dropped += 1
        else:
            plain[name] = clean(value, length)
    if limit is not None and (over := len(plain) - limit) > 0:
        plain = dict(islice(plain.items(), over, None))
        dropped += over
    return plain, dropped


def stable_items(attributes: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """The items, though another thread may be adding some at this moment."""
    for _ in range(100):
        try:
            return list(attributes.items())
        except RuntimeError:  # "dictionary changed size during iteration"
            continue
    return []


def utf8(text: str) -> bytes:
    """``text`` in UTF-8; a lone surrogate, which UTF-8 has not, as its escape."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def text_of(value: Any, length: int = MAX_LENGTH) -> str:
    """``value`` where a text belongs."""
    if isinstance(value, str):
        return str.__getitem__(value, slice(length))
    plain = clean(value, length)
    return plain if isinstance(plain, str) else str(plain)[:length]


class _Cleaner:
    """Makes one value plain, within the room for one value."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._room = max(length, MAX_LENGTH)

    def plain(self, value: Any, depth: int) -> Plain:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str | bytes):
            return self._text(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return self._integer(int(value))
        if isinstance(value, Sequence | Mapping):
            return self._container(cast("Any", value), depth + 1)
        return self._text(str(value)) if _has_text(value) else None

    def _text(self, value: str | bytes) -> Plain:
        room = slice(self._length)  # a subclass may have another idea of slices
        if isinstance(value, str):
            return self._take(str.__getitem__(value, room))
        return self._take(bytes.__getitem__(value, room))

    def _container(self, value: _Container, depth: int) -> Plain:
        if depth > _MAX_DEPTH:
            return CUT
        if isinstance(value, Sequence):
            return self._sequence(value, depth)
        return self._mapping(value, depth)

    def _sequence(self, value: Sequence[Any], depth: int) -> Plain:
        elements: list[Plain] = []
        for element in value:
            if not self._room_for_one():
                elements.append(CUT)
                break
            elements.append(self.plain(element, depth))
        return tuple(elements)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Plain:
        plain: dict[str, Plain] = {}
        for key, element in value.items():
            name = _key(key)
            if name is None:
                continue
            if not self._room_for_one():
                plain[CUT] = CUT
                break
            plain[self._take(name)] = self.plain(element, depth)
        return plain

    def _room_for_one(self) -> bool:
        self._room -= _ELEMENT
        return self._room >= 0

    def _take(self, value: _T) -> _T:
        """Let ``value`` use up room, so that many long texts are not one of them."""
        self._room -= len(value)
        return value

    def _integer(self, value: int) -> Plain:
        if -_INT64 <= value < _INT64:
            return value
        if value.bit_length() < _MAX_DIGITS * 3:
            return self._text(str(value))
        return self._text(hex(value))


def _key(key: Any) -> str | None:
    """``key`` as a text; None when it is empty or has no text."""
    try:
        if not key:
            return None
        if isinstance(key, str):
            short = type(key) is str and len(key) <= MAX_LENGTH
            return key if short else str.__getitem__(key, slice(MAX_LENGTH))
        return str(key)[:MAX_LENGTH] if _has_text(key) else None
    except Exception:  # noqa: BLE001 -- users' classes may raise anything
        return None


def _has_text(value: Any) -> bool:
    """Whether its class says how it looks; else it would show as an address."""
    has_text: bool = type(value).__str__ is not _object.__str__
    return has_text or type(value).__repr__ is not _object.__repr__
