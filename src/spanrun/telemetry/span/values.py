"""Attributes as spans keep them: plain, bounded, and without credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from spanrun.secret_forms import SECRET_KEY
from spanrun.telemetry.redact import MAX_CHARACTERS, redact, redact_value
from spanrun.telemetry.span.plain import Plain, text_of

Clean: TypeAlias = Callable[[Any, int], Any]

_INT64: Final = 1 << 63
_UINT64: Final = (1 << 64) - 1
_SHORT: Final = 256
_MAX_KNOWN: Final = 4_096
_AS_IT_IS: Final = frozenset((float, bool, type(None)))

_harmless: Final[dict[str, None]] = {}
"""Keys in which there is no credential, and which name none."""


def plain_attributes(
    attributes: Mapping[str, Any], clean: Clean, length: int
) -> tuple[dict[str, Plain], int]:
    """A copy fit to be exported, and how many had no usable key.

    Args:
        attributes: May be anything that users give as a mapping.
        clean: Makes a value plain; see `Scope`.
        length: Characters of a text that are kept.
    """
    try:
        items = tuple(attributes.items())
    except Exception:  # noqa: BLE001 -- users' mappings may raise anything
        return {}, 1
    return plain_items(items, clean, length)


def plain_items(
    items: Iterable[tuple[Any, Any]], clean: Clean, length: int
) -> tuple[dict[str, Plain], int]:
    """The same of keys and values."""
    plain: dict[str, Plain] = {}
    dropped = 0
    most = length if length > MAX_CHARACTERS else MAX_CHARACTERS  # noqa: FURB136 -- faster
    for key, value in items:
        name = key
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] -- anything
        if type(key) is not str or key not in _harmless:
            shown_name = _name_of(key)
            if shown_name is None:
                dropped += 1
                continue
            name = shown_name
            if name not in _harmless:  # it may be a secret's, or is too long to know
                plain[name] = _other(key, value, clean, length)
                continue
        if kind is str:
            shown = redact(value, most)
            # Redacted before it is cut: half a secret isn't known for one.
            plain[name] = shown if len(shown) <= length else shown[:length]
        elif kind in _AS_IT_IS or (kind is int and -_INT64 <= value < _INT64):
            plain[name] = value
        else:
            plain[name] = _other(key, value, clean, length)
    return plain, dropped


def newest(
    attributes: dict[str, Plain], limit: int | None
) -> tuple[dict[str, Plain], int]:
    """The last ``limit`` of ``attributes``, and how many others there were."""
    over = 0 if limit is None else len(attributes) - limit
    if over <= 0:
        return attributes, 0
    return dict(islice(attributes.items(), over, None)), over


def plain_name(name: Any) -> str:
    """A name or description, whatever is given as one."""
    return redact(name if type(name) is str else text_of(name))


def nanoseconds(time: Any) -> int:
    """A time that fits into 64 bits; 0 when it is none. Libraries pass floats."""
    if type(time) is int and 0 <= time <= _UINT64:
        return time
    try:
        return max(0, min(int(time), _UINT64))
    except (TypeError, ValueError, OverflowError):
        return 0


def _other(key: str, value: Any, clean: Clean, length: int) -> Plain:
    """A value that isn't among the simple ones, or whose key isn't harmless."""
    as_it_is = type(value) is str or type(value) is bytes
    plain = value if as_it_is else clean(value, length)
    shown = cast("Plain", redact_value(key, plain, max(length, MAX_CHARACTERS)))
    return shown[:length] if isinstance(shown, str | bytes) else shown


def _name_of(key: Any) -> str | None:
    """``key`` without credentials; None if it is empty, or no text."""
    if not isinstance(key, str):
        return None
    exact = str.__str__(key)  # a subclass may have another idea of texts
    if not exact:
        return None
    name = redact(exact)
    is_secret = SECRET_KEY.fullmatch(exact[:_SHORT]) is not None
    if name == exact and not is_secret and len(exact) <= _SHORT:
        if len(_harmless) >= _MAX_KNOWN:
            _harmless.clear()  # what comes often is soon back
        _harmless[exact] = None
    return name
