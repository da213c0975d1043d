"""Attributes as spans keep them: plain, bounded, and without credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from spanrun.secret_forms import SECRET_KEY
from spanrun.telemetry.redact import HIDDEN, MAX_CHARACTERS, redact, redact_value
from spanrun.telemetry.spans.values import Plain, text_of

Clean: TypeAlias = Callable[[Any, int], Any]

_INT64: Final = 1 << 63
_UINT64: Final = (1 << 64) - 1
_SHORT: Final = 256
_MAX_KNOWN: Final = 4_096
_AS_IT_IS: Final = frozenset((float, bool, type(None)))

_known: Final[dict[str, tuple[str, bool]]] = {}
"""Of a key: the key without credentials, and whether it names a secret."""


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
    """The same of keys and values. What is set last stands last."""
    plain: dict[str, Plain] = {}
    dropped = 0
    most = length if length > MAX_CHARACTERS else MAX_CHARACTERS
    for key, value in items:
        known = (_known.get(key) if type(key) is str else None) or _learn(key)
        if known is None:
            dropped += 1
            continue
        name, is_secret = known
        kind = type(value)
        if kind is str:
            # Redacted before it is cut: half a secret isn't known for one.
            shown: Any = HIDDEN if is_secret and value else redact(value, most)
            if len(shown) > length:
                shown = shown[:length]
        elif kind in _AS_IT_IS or (kind is int and -_INT64 <= value < _INT64):
            shown = value
        else:
            shown = _other(key, value, clean, length)
        if name in plain:
            del plain[name]
        plain[name] = shown
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
    plain = value if type(value) is bytes else clean(value, length)
    shown = cast("Plain", redact_value(key, plain, max(length, MAX_CHARACTERS)))
    return shown[:length] if isinstance(shown, str | bytes) else shown


def _learn(key: Any) -> tuple[str, bool] | None:
    """What `_known` has of a key; None for one that is empty, or no text."""
    if not isinstance(key, str):
        return None
    exact = str.__str__(key)  # a subclass may have another idea of texts
    if not exact:
        return None
    found = redact(exact), SECRET_KEY.fullmatch(exact[:_SHORT]) is not None
    if len(exact) <= _SHORT:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()  # what comes often is soon back
        _known[exact] = found
    return found
