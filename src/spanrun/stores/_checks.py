"""What every store asks of its arguments, before it is asked anything itself."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores.base import Chunk, Where


def dimension_of(store: str, dimension: int, most: int) -> None:
    """Refuse a dimension that the store can't have."""
    if not 1 <= dimension <= most:
        raise ConfigurationError(f"{store}(dimension={dimension}): must be 1 to {most}")


def model_of(store: str, model: str) -> None:
    """Refuse a model without a name."""
    if not model:
        raise ConfigurationError(f"{store}(model=''): must have a name")


def at_most(k: int) -> None:
    """Refuse a search for nothing."""
    if k < 1:
        raise ConfigurationError(f"search(k={k}): must be ≥ 1")


def where_of(where: Where | None) -> dict[str, list[str]]:
    """The wanted values of each field, as lists."""
    wanted: dict[str, list[str]] = {}
    for field, values in (where or {}).items():
        wanted[field] = [values] if isinstance(values, str) else list(values)
        for value in wanted[field]:
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"where[{field!r}]={value!r}: must be a text")
    return wanted


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
    ids = list(document_ids)
    for document_id in ids:
        document(document_id)
    return ids


def chunks(document_id: str, given: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """The chunks, if they are those of the document, in order."""
    document(document_id)
    for position, chunk in enumerate(given):
        if (chunk.document_id, chunk.index) != (document_id, position):
            raise StoreError(
                f"chunk {chunk.index} of {chunk.document_id!r} can't be chunk "
                f"{position} of {document_id!r}"
            )
    return tuple(given)


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
