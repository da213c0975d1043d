"""`VectorStore`: what every store of documents can do, and the values it trades in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeAlias, runtime_checkable

Where: TypeAlias = Mapping[str, str | Collection[str]]
"""Fields, and the value or values that a document must have in each one."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document, as it is embedded and found.

    Attributes:
        document_id: The id of the document it belongs to.
        index: Its place in the document, from 0, without gaps.
        text: A verbatim slice of the document's text.
        vector: Its embedding; empty while there is none yet.
    """

    document_id: str
    index: int
    text: str
    vector: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found.

    Attributes:
        document_id: The id of its document.
        chunk: Its index in the document, from 0.
        text: Its text.
        title: The document's title, where it has one.
        source: Where a person finds the document: a path or a URL.
        score: Higher is better. Comparable within one search of one store only.
    """

    document_id: str
    chunk: int
    text: str
    title: str | None
    source: str
    score: float


@runtime_checkable
class VectorStore(Protocol):
    """Documents in chunks, found by vector and by words.

    A store is an async context manager: leaving it closes it. Its methods may
    be called concurrently. They raise `StoreError` when the store fails, and
    when they are called after `aclose`; a store that has a time limit raises
    `DeadlineExceeded` when it is up. None of them blocks the event loop.

    **Cancellation.** A call that is cancelled has either happened whole, or not
    at all: there is never half a document.
    """

    async def content_hashes(self) -> dict[str, str]:
        """The content hash of each stored document, by the document's id."""
        ...

    async def upsert(
        self,
        document_id: str,
        *,
        content_hash: str,
        source: str,
        title: str | None,
        summary: str | None,
        chunks: Sequence[Chunk],
    ) -> None:
        """Store a document with all its chunks, in place of what it had before.

        Atomic: other readers see the old document or the new one.

        Args:
            document_id: Identifies the document; not empty.
            content_hash: What `content_hashes` gives back for it.
            source: Where a person finds it: a path or a URL.
            title: What it is called, where that is known.
            summary: What it says, where that is known.
            chunks: Indexes 0, 1, 2, … in this order, each with a vector of the
                store's dimension. May be empty: a document without text.

        Raises:
            StoreError: The chunks aren't as described above (nothing was
                changed), or the store failed.
        """
        ...

    async def delete(self, document_ids: Iterable[str]) -> int:
        """Remove documents. Returns how many there were; unknown ids count nothing."""
        ...

    async def search(
        self,
        vector: Sequence[float],
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
    ) -> list[Hit]:
        """The ``k`` best chunks, the best first, for a vector and for words.

        A document is found as it was or as it is, never partly so.

        Args:
            vector: The query's embedding; empty to search by words alone.
            text: The query's words, taken literally: no query language, whatever
                it contains; the first 64 different ones count. Empty to search by
                vector alone.
            k: How many hits at most, ≥ 1. There are fewer only where fewer chunks
                are stored, wanted or, without a vector, have one of the words.
            where: Of which documents: every store knows the fields
                ``document_id`` and ``source``. It chooses before the ``k`` do.

        Raises:
            ConfigurationError: ``k`` is less than 1, or a field isn't known.
            StoreError: The vector can't be one of the store's.
        """
        ...

    async def count(self) -> tuple[int, int]:
        """How many documents and how many chunks are stored."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun, then release everything. May be called again."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
