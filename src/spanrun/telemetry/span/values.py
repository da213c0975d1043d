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
from spanrun.telemetry.span.wire import double_field, int_field, key_value
from spanrun.text import harmless

_UINT64: Final = (1 << 64) - 1
_SHORT: Final = 256
_MAX_KNOWN: Final = 2_048
_TRIES: Final = {semconv.SPANRUN_JOB_ATTEMPTS: 1, semconv.HTTP_REQUEST_RESEND_COUNT: 0}
"""Attributes that count tries, and the count of the first one."""

_Make: TypeAlias = Callable[[Any], bytes]
_Known: TypeAlias = dict[str, tuple[str, dict[type, _Make]]]
"""By keys: the same, and what makes a field of a value, by its type. That raises where
the value isn't as most are."""


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
        self._known: _Known = {}
        self._room = _MAX_KNOWN

    def set(
        self, kept: dict[str, bytes], items: Collection[tuple[Any, Any]]
    ) -> tuple[int, bool]:
        """Set attributes among those that are ``kept``.

        Args:
            kept: Fields by their keys. What is set last stands last. Each call of its
                methods is one step for other threads.
            items: Keys and values.

        Returns:
            How many were dropped, and whether one says that something was tried again.
        """
        dropped, retried, known = 0, False, self._known
        is_full = len(kept) + len(items) > self._most
        for key, value in items:
            try:
                name, makes = known[key]
                field = makes[type(value)](value)  # pyright: ignore[reportUnknownArgumentType] -- any
            except Exception:  # noqa: BLE001 -- a new one, or users' class of texts
                name, field = self._unusual(key, value)
                retried = retried or _is_retry(name, value)
            if name in kept:
                kept.pop(name, None)
            if name:
                kept[name] = field
            else:
                dropped += 1
            if is_full:
                dropped += self._drop_oldest(kept)
        if len(kept) > self._most:  # by what other threads have set meanwhile
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

    def text(self, name: str, value: str, known: dict[str, bytes]) -> bytes:
        """Return the field of a text, which becomes ``known`` if it has come before."""
        comes_again = value in harmless
        field = self._encoded(name, name, value)
        if comes_again and len(value) <= self._length:
            self._make_room()
            known[value] = field
        return field

    def _unusual(self, key: Any, value: Any) -> tuple[str, bytes]:
        """Return the name and field of any attribute; no name: its key is no text."""
        if not isinstance(key, str):
            return "", b""
        exact = str.__str__(key)  # a subclass may have another idea of texts
        name = exact
        if exact not in self._known:
            name = redact(exact)
            is_secret = SECRET_KEY.fullmatch(exact[:_SHORT]) is not None
            if exact and name == exact and not is_secret and len(exact) <= _SHORT:
                self._make_room()
                self._known[name] = name, self._makes(name)
        return name, self._encoded(exact, name, value) if name else b""

    def _makes(self, name: str) -> dict[type, _Make]:
        """What makes the fields of a key, by the types of its values."""
        tag = self._tag
        of_int: _Make = int_field(tag, name)
        if name in _TRIES:  # of another try, `set` is to hear
            first = {tries: of_int(tries) for tries in range(_TRIES[name] + 1)}
            of_int = first.__getitem__
        booleans = {each: key_value(tag, name, each) for each in (False, True)}
        return {
            bool: booleans.__getitem__,
            float: double_field(tag, name),
            int: of_int,
            str: _Texts(self, name).__getitem__,
        }

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


class _Texts(dict[str, bytes]):
    """The fields of a key whose value is a text that comes often."""

    __slots__ = ("_fields", "_name")

    def __init__(self, fields: Fields, name: str) -> None:
        self._fields: Final = fields
        self._name: Final = name

    def __missing__(self, value: str) -> bytes:
        return self._fields.text(self._name, value, self)


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
