"""Documents as Solr takes them: a copy, with what JSON doesn't know turned into it."""

from __future__ import annotations

import datetime
import io
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Final, TypeGuard, cast

from spanrun import checks
from spanrun.errors import ConfigurationError, StoreError

_IN_MEMORY: Final = 4 * 2**20  # bytes of a request's body
_JSON: Final = frozenset({str, float, int, bool, type(None)})


class _AsWritten:
    """A sequence whose items are prepared one by one, whenever they are written."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items: Final = items

    def __iter__(self) -> Iterator[Any]:
        return map(_plain, self._items)


def prepared(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of ``documents`` that can be written as JSON.

    Dates become texts in UTC, as Solr writes them; one without a zone is in UTC.
    Arrays and scalars of numpy become Python's, bytes are decoded as UTF-8. All of
    that also inside of lists and mappings. Other sequences are read when they are
    written, so that they may make their items then.

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

    Raises:
        ConfigurationError: It can't be written so.
    """
    return "".join(_pieces(data))


def body(data: object) -> IO[bytes]:
    """``data`` as JSON, to be read and closed: in memory, or in a file if it is large.

    The vectors of one document can be hundreds of megabytes of digits. The file has
    no name, and goes when it is closed.

    Raises:
        ConfigurationError: It can't be written so.
        StoreError: The file can't be written.
    """
    kept: IO[bytes] = io.BytesIO()
    try:
        for piece in _pieces(data):
            kept.write(piece.encode())
            if isinstance(kept, io.BytesIO) and kept.tell() > _IN_MEMORY:
                whole = kept.getvalue()
                kept = tempfile.TemporaryFile()  # noqa: SIM115 -- its reader closes it
                kept.write(whole)
        kept.seek(0)
    except OSError as why:
        kept.close()
        raise StoreError(
            f"a request of more than {_IN_MEMORY} bytes waits in a temporary file, "
            f"which can't be written: {why}: make room, or set TMPDIR",
            final=True,
        ) from why
    except BaseException:
        kept.close()
        raise
    return kept


def _pieces(data: object) -> Iterator[str]:
    """In pieces: while `json.dumps` is at work, no other thread is."""
    try:
        yield from _written(data)
    except (TypeError, ValueError, OverflowError, RecursionError) as why:
        raise ConfigurationError(f"can't be sent to Solr as JSON: {why}") from why


def _written(data: Any) -> Iterator[str]:
    if _is_mapping(data):
        yield "{"
        for place, key in enumerate(data):
            yield f"{',' if place else ''}{json.dumps(str(key))}:"
            yield from _written(data[key])
        yield "}"
    elif isinstance(data, _AsWritten) or (
        _is_list(data) and any(map(_is_mapping, data))
    ):
        each: Iterable[Any] = data
        yield "["
        for place, item in enumerate(each):
            if place:
                yield ","
            yield from _written(item)
        yield "]"
    else:
        yield json.dumps(data, allow_nan=False)


def _document(place: int, document: object) -> dict[str, Any]:
    if not _is_mapping(document):
        raise ConfigurationError(
            f"documents[{place}]: must be a mapping, not {type(document).__name__}"
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
    other = isinstance(value, Sequence) and not isinstance(value, str | memoryview)
    return _AsWritten(cast("Sequence[Any]", value)) if other else _from_numpy(value)


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
