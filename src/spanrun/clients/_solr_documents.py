"""Documents as Solr takes them: a copy, with what JSON doesn't know turned into it."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from spanrun import checks
from spanrun.errors import ConfigurationError

_JSON: Final = frozenset({str, float, int, bool, type(None)})


def prepared(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of ``documents`` that can be written as JSON.

    Dates become texts in UTC, as Solr writes them; one without a zone is in UTC.
    Arrays and scalars of numpy become Python's, bytes are decoded as UTF-8. All of
    that also inside of lists and mappings.

    Raises:
        ConfigurationError: There is something else than mappings, bytes that are
            no UTF-8, or a date beyond the year 9999.
    """
    given = checks.each("add", "documents", documents, "mappings")
    return [_document(place, document) for place, document in enumerate(given)]


def can_be_repeated(documents: Sequence[Mapping[str, Any]]) -> bool:
    """Whether adding them twice comes to the same as adding them once.

    Not so for atomic updates, such as ``{"count": {"inc": 1}}``, nor for documents
    that name the ``_version_`` which they replace.
    """
    return not any(
        "_version_" in document
        or any(isinstance(value, Mapping) for value in document.values())
        for document in documents
    )


def encoded(data: object) -> str:
    """``data`` as JSON.

    In pieces: while `json.dumps` is at work, no other thread is, and the vectors of
    one document can be megabytes of digits.

    Raises:
        ConfigurationError: It can't be written so.
    """
    try:
        return _written(data)
    except (TypeError, ValueError, RecursionError) as why:
        raise ConfigurationError(f"can't be sent to Solr as JSON: {why}") from why


def _written(data: Any) -> str:
    if _is_mapping(data):
        fields = (f"{json.dumps(str(key))}:{_written(data[key])}" for key in data)
        return f"{{{','.join(fields)}}}"
    if _is_list(data) and any(map(_is_mapping, data)):
        return f"[{','.join(map(_written, data))}]"
    return json.dumps(data, allow_nan=False)


def _document(place: int, document: object) -> dict[str, Any]:
    if not _is_mapping(document):
        raise ConfigurationError(
            f"documents[{place}]: must be a mapping, not {_kind(document)}"
        )
    ready: dict[str, Any] = {}
    for field, value in document.items():
        try:
            ready[field] = _plain(value)
        except (UnicodeDecodeError, OverflowError, RecursionError) as why:
            raise ConfigurationError(f"documents[{place}][{field!r}]: {why}") from why
    return ready


def _plain(value: Any) -> Any:
    if type(value) in _JSON:
        return value
    if _is_mapping(value):
        return {key: _plain(inner) for key, inner in value.items()}
    if _is_list(value):
        plain = _JSON.issuperset(map(type, value))  # a vector, most likely
        return list(value) if plain else [_plain(inner) for inner in value]
    if isinstance(value, datetime.date):
        return _date(value)
    if isinstance(value, bytes | bytearray):
        return value.decode()
    return _from_numpy(value)


def _from_numpy(value: Any) -> Any:
    """What numpy has in it; anything else as it is."""
    numpy: Any = sys.modules.get("numpy")  # a program without it has none of these
    if numpy is None or not isinstance(value, numpy.ndarray | numpy.generic):
        return value
    if value.dtype.kind == "M":  # finer than microseconds is no datetime
        value = value.astype("datetime64[us]")
    plain = value.tolist()
    # It has no Python number for its longest floats.
    return float(plain) if isinstance(plain, numpy.generic) else _plain(plain)


def _date(date: datetime.date) -> str:
    if not isinstance(date, datetime.datetime):
        return f"{date.isoformat()}T00:00:00Z"
    if date.tzinfo is not None:
        date = date.astimezone(datetime.UTC).replace(tzinfo=None)
    spec = "milliseconds" if date.microsecond >= 1000 else "seconds"  # noqa: PLR2004
    return f"{date.isoformat(timespec=spec)}Z"


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _kind(value: object) -> str:
    return type(value).__name__
