"""Attributes as spans keep them: plain, bounded, without credentials, and encoded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from spanrun import semconv
from spanrun.secret_forms import SECRET_KEY
from spanrun.telemetry.redact import MAX_CHARACTERS, redact, redact_value
from spanrun.telemetry.span.plain import Plain, text_of
from spanrun.telemetry.span.wire import (
    IS_SMALL,
    SMALL,
    double_field,
    int_prefixes,
    key_value,
    varint,
)
from spanrun.text import harmless

_INT64: Final = 1 << 63
_UINT64: Final = (1 << 64) - 1
_SHORT: Final = 256
_MAX_KNOWN: Final = 2_048
_TRIES: Final = {semconv.SPANRUN_JOB_ATTEMPTS: 1, semconv.HTTP_REQUEST_RESEND_COUNT: 0}
"""Attributes that count tries, and the count of the first one."""

_Known: TypeAlias = tuple[
    str, Callable[[float], bytes], tuple[bytes, ...], int, dict[str | bool, bytes]
]
"""Of a key: itself; what makes the field of a double; what is ahead of an integer, by
its bytes; the number of the first try, if it counts them; fields, by the booleans and
short texts."""


class Fields:
    """Makes attributes plain and encodes them, as fields ``KeyValue`` of one tag.

    What it remembers are keys in which there is no credential, and which name none, and
    texts in which there is none.

    Args:
        tag: Of the fields.
        most: So many are kept; None: all.
        length: Characters of a text that are kept.
        clean: Makes a value plain; see `Scope`.
    """

    def __init__(
        self, tag: int, most: int | None, length: int, clean: Callable[[Any, int], Any]
    ) -> None:
        self._tag: Final = bytes((tag,))
        self._most: Final = sys.maxsize if most is None else most
        self._length: Final = length
        self._looked_at: Final = max(length, MAX_CHARACTERS)
        self._clean: Final = clean
        self._known: dict[str, _Known] = {}
        self._room = _MAX_KNOWN

    def set(  # noqa: C901 -- one loop, in which calls would cost as much as the work
        self, kept: dict[str, bytes], items: Collection[tuple[Any, Any]]
    ) -> tuple[int, bool]:
        """Set attributes among those that are ``kept``. This is most of the work.

        Args:
            kept: Fields by their keys. What is set last stands last. Each call of its
                methods is one step for other threads.
            items: Keys and values.

        Returns:
            How many were dropped, and whether one says that something was tried again.
        """
        dropped, retried, known, most = 0, False, self._known, self._most
        is_full = len(kept) + len(items) > most
        for key, value in items:
            try:
                name, of_double, before_integer, first, fields = known[key]
            except Exception:  # noqa: BLE001 -- a new one, or users' class of texts
                name, field = self._learn(key, value)
                if not name:
                    dropped += 1
                    continue
                retried = retried or _is_retry(name, value)
            else:
                kind = type(value)  # pyright: ignore[reportUnknownVariableType] -- any
                if kind is float:
                    field = of_double(value)
                elif kind is str or kind is bool:
                    field = fields.get(value) or self._text(name, value, fields)
                elif kind is int and -_INT64 <= value < _INT64:
                    number: int = value
                    data = SMALL[number] if 0 <= number < IS_SMALL else varint(number)
                    field = before_integer[len(data)] + data
                    retried = retried or number > first
                else:
                    field = self._encoded(name, name, value)
            if name in kept:
                kept.pop(name, None)
            kept[name] = field
            if is_full:
                dropped += self._drop_oldest(kept)
        if len(kept) > most:  # by what other threads have set meanwhile
            dropped += self._drop_oldest(kept)
        return dropped, retried

    def _drop_oldest(self, kept: dict[str, bytes]) -> int:
        """Drop what is too much; returns how many that was."""
        dropped = 0
        while len(kept) > self._most:
            with suppress(KeyError, RuntimeError, StopIteration):  # others do, too
                del kept[next(iter(kept))]
                dropped += 1
        return dropped

    def _learn(self, key: Any, value: Any) -> tuple[str, bytes]:
        """Return the name and field of what has a new key; no name: it is no key."""
        if not isinstance(key, str):
            return "", b""
        exact = str.__str__(key)  # a subclass may have another idea of texts
        name = redact(exact)
        is_secret = SECRET_KEY.fullmatch(exact[:_SHORT]) is not None
        if exact and name == exact and not is_secret and len(exact) <= _SHORT:
            tag, first = self._tag, _TRIES.get(name, _INT64)
            booleans = {each: key_value(tag, name, each) for each in (False, True)}
            prefixes = double_field(tag, name), int_prefixes(tag, name)
            self._make_room()
            self._known[name] = name, *prefixes, first, cast("Any", booleans)
        return name, self._encoded(exact, name, value) if name else b""

    def _text(self, name: str, value: str, fields: dict[str | bool, bytes]) -> bytes:
        """Return the field of a text, and remember it if it has come before."""
        comes_again = value in harmless
        field = self._encoded(name, name, value)
        if comes_again and len(value) <= self._length:
            self._make_room()
            fields[value] = field
        return field

    def _encoded(self, key: str, name: str, value: Any) -> bytes:
        as_it_is = type(value) is str or type(value) is bytes
        plain = value if as_it_is else self._clean(value, self._length)
        # Redacted before it is cut: half a secret isn't known for one.
        shown = cast("Plain", redact_value(key, plain, self._looked_at))
        if isinstance(shown, str | bytes):
            shown = shown[: self._length]
        return key_value(self._tag, name, shown)

    def _make_room(self) -> None:
        self._room -= 1
        if self._room < 0:
            # Other threads are reading the old ones. What comes often is soon back.
            self._known, self._room = {}, _MAX_KNOWN


def items_of(attributes: Mapping[str, Any]) -> Collection[tuple[Any, Any]] | None:
    """The items of what users give as a mapping; None where they can't be had.

    Of a copy: what is set may run their code, which changes the mapping.
    """
    try:
        if type(attributes) is dict:
            return attributes.copy().items()  # pyright: ignore[reportUnknownVariableType] -- any
        return tuple(attributes.items())
    except Exception:  # noqa: BLE001 -- users' mappings may raise anything
        return None


def _is_retry(name: str, value: Any) -> bool:
    return name in _TRIES and type(value) is int and value > _TRIES[name]


def plain_name(name: Any) -> str:
    """A name or description, whatever is given as one."""
    if type(name) is str:
        return name if name in harmless else redact(name)
    return redact(text_of(name))


def nanoseconds(time: Any) -> int:
    """A time that fits into 64 bits; 0 when it is none. Libraries pass floats."""
    if type(time) is int and 0 <= time <= _UINT64:
        return time
    try:
        return max(0, min(int(time), _UINT64))
    except (TypeError, ValueError, OverflowError):
        return 0
