"""What every store asks of its arguments, before it is asked anything itself."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence

from spanrun import checks
from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores.base import Chunk, Where


def dimension_of(store: str, dimension: object, most: int) -> int:
    """A dimension that the store can have."""
    return checks.whole(store, "dimension", dimension, 1, most)


def at_most(k: object) -> int:
    """How many hits are searched for."""
    return checks.whole("search", "k", k, 1)


def query(text: object, vector: object) -> None:
    """Refuse a query that is neither words nor numbers."""
    checks.text("search", "text", text, empty=True)
    if isinstance(vector, str | bytes) or not hasattr(vector, "__len__"):
        raise checks.wrong("search", "vector", vector, "must be numbers, or empty")


def where_of(where: Where | None) -> dict[str, list[str]]:
    """The wanted values of each field, as lists."""
    given: Where = where if where is not None else {}
    checks.mapping("search", "where", given, "fields to their values")
    wanted: dict[str, list[str]] = {}
    for field, values in given.items():
        checks.text("search", "where", field)
        name = f"where[{field!r}]"
        listed = [values] if isinstance(values, str) else values
        wanted[field] = list(checks.each("search", name, listed, "texts"))
        for value in wanted[field]:
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"where[{field!r}]={value!r}: must be a text")
    return wanted


def upserted(
    document_id: object,
    content_hash: object,
    source: object,
    title: object,
    summary: object,
) -> None:
    """Refuse what describes no document."""
    checks.text("upsert", "document_id", document_id, empty=True)
    checks.text("upsert", "content_hash", content_hash, empty=True)
    checks.text("upsert", "source", source, empty=True)
    checks.optional(checks.text)("upsert", "title", title, empty=True)
    checks.optional(checks.text)("upsert", "summary", summary, empty=True)


def document(document_id: str) -> None:
    """Refuse an id that can't be kept."""
    if not document_id:
        raise StoreError("a document's id must not be empty")
    try:
        document_id.encode()
    except UnicodeEncodeError:
        raise StoreError(
            f"a document's id must be valid Unicode, not {document_id!r}"
        ) from None


def documents(document_ids: Iterable[str]) -> list[str]:
    """The ids, each one checked."""
    if isinstance(document_ids, str):
        raise StoreError("delete(document_ids=…): wants several ids, got one text")
    if isinstance(document_ids, Mapping):  # such as what `content_hashes` gives
        document_ids = document_ids.keys()
    ids = list(checks.each("delete", "document_ids", document_ids, "ids"))
    for document_id in ids:
        checks.text("delete", "document_ids", document_id, empty=True)
        document(document_id)
    return ids


def chunks(document_id: str, given: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """The chunks, if they are those of the document, in order."""
    document(document_id)
    found = checks.each("upsert", "chunks", given, "chunks")
    for position, chunk in enumerate(found):
        checks.instance("upsert", f"chunks[{position}]", chunk, Chunk, "Chunk(…)")
        if (chunk.document_id, chunk.index) != (document_id, position):
            raise StoreError(
                f"chunk {chunk.index} of {chunk.document_id!r} can't be chunk "
                f"{position} of {document_id!r}"
            )
    return found


def vector(numbers: Sequence[float], dimension: int, what: str) -> array[float]:
    """The vector in single precision, as the stores keep it.

    Raises:
        StoreError: Another length than ``dimension``; not finite, or zero, which
            has no direction, so that no distance to it could be told.
    """
    if len(numbers) != dimension:
        raise StoreError(f"{what}: {len(numbers)} numbers, the store has {dimension}")
    packed = array("f", numbers)
    if not 0 < math.hypot(*packed) < math.inf:
        raise StoreError(f"{what}: must be finite and not zero")
    return packed


def vector_of(chunk: Chunk, dimension: int) -> array[float]:
    """A chunk's vector, likewise."""
    what = f"vector of chunk {chunk.index} of {chunk.document_id!r}"
    return vector(chunk.vector, dimension, what)


def storable(text: str) -> str:
    """``text`` as UTF-8 can keep it, which has no lone surrogates."""
    return text.encode("utf-8", "replace").decode()
