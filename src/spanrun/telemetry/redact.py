"""Keep secrets and giants out of telemetry, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from spanrun.secret_forms import SECRET_KEY
from spanrun.text import (
    HIDDEN,
    MAX_CHARACTERS,
    harmless,
    redact,
    remember,
    text_of,
)

__all__ = [
    "HIDDEN",
    "MAX_CHARACTERS",
    "redact",
    "redact_attributes",
    "redact_value",
    "text_of",
]

_SHORT: Final = 256
_MAX_DEPTH: Final = 32


_fine_keys: Final[dict[str, None]] = {}
"""Keys in which there was nothing, and which don't say that their value is secret."""
_SAFE: Final = frozenset((int, float, bool, type(None)))


def redact_value(key: str, value: Any, limit: int = MAX_CHARACTERS) -> Any:
    """A plain value of an attribute, also a container, without credentials.

    Texts are redacted, the keys of mappings as well. Under a key such as
    ``http.request.header.authorization`` or ``db.password`` all of it is hidden.

    Returns:
        ``value`` itself, if there is nothing to hide.
    """
    if isinstance(value, int | float) or value is None:
        return value
    return _value(key, value, 0, limit)


def redact_attributes(
    attributes: Mapping[str, Any], limit: int = MAX_CHARACTERS
) -> Mapping[str, Any]:
    """Attributes with plain values, without credentials.

    Returns:
        ``attributes`` itself, if there is nothing to hide.
    """
    clean: dict[str, Any] = {}
    same = True
    for key, value in attributes.items():
        kind = value.__class__
        if key in _fine_keys and (value in harmless if kind is str else kind in _SAFE):
            clean[key] = value
            continue
        name, shown = redact(key), redact_value(key, value, limit)
        clean[name] = shown
        if name is not key or shown is not value:
            same = False
        elif not _is_secret(key):
            remember(_fine_keys, key)
    return attributes if same else clean


def _value(key: str, value: Any, depth: int, limit: int) -> Any:
    if depth > _MAX_DEPTH:  # deeper than `values.clean` lets anything through
        return HIDDEN
    if isinstance(value, str):
        return HIDDEN if value and _is_secret(key) else redact(value, limit)
    if isinstance(value, bytes):
        return _bytes(key, value, limit)
    if isinstance(value, list | tuple):
        return _sequence(key, cast("list[Any]", value), depth, limit)
    if isinstance(value, dict):
        return _mapping(key, cast("dict[str, Any]", value), depth, limit)
    return value


def _bytes(key: str, value: bytes, limit: int) -> bytes:
    if value and _is_secret(key):
        return HIDDEN.encode()
    try:
        text, form = value.decode(), "utf-8"
    except UnicodeDecodeError:
        text, form = value.decode("latin-1"), "latin-1"
    clean = redact(text, limit)
    if len(text) > limit:
        clean = clean.removesuffix("…")  # which is a sign of texts
    return value if clean == text else clean.encode(form, "ignore")


def _sequence(key: str, value: list[Any], depth: int, limit: int) -> Any:
    if len(value) == 2 and isinstance(value[0], str) and _is_secret(value[0]):  # noqa: PLR2004 -- a pair
        # As headers are often kept: the first of a pair names the second.
        clean = (redact(value[0]), _value(value[0], value[1], depth + 1, limit))
    else:
        clean = tuple(_value(key, each, depth + 1, limit) for each in value)
    return value if _same(clean, value) else clean


def _mapping(key: str, value: dict[Any, Any], depth: int, limit: int) -> Any:
    clean: dict[Any, Any] = {}
    named = _named(value)
    for name, each in value.items():
        inner = name if isinstance(name, str) else ""
        place = key if _is_secret(key) else named if inner == "value" else inner
        clean[redact(inner) if inner else name] = _value(place, each, depth + 1, limit)
    same = all(clean.get(name) is each for name, each in value.items())
    return value if same else clean


def _named(value: dict[Any, Any]) -> str:
    """What ``{"name": "password", "value": "x"}`` says of its value."""
    named = value.get("name", value.get("key"))
    return named if isinstance(named, str) else "value"


def _same(clean: tuple[Any, ...], value: list[Any]) -> bool:
    return all(one is other for one, other in zip(clean, value, strict=True))


def _is_secret(key: str) -> bool:
    if key in _fine_keys:
        return False
    return SECRET_KEY.match(key[:_SHORT]) is not None
