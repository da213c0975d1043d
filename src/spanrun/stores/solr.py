"""`SolrStore`: documents in a Solr collection, found by vector and by words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from spanrun.checks import offers
from spanrun.checks import text as text_of
from spanrun.errors import StoreError
from spanrun.stores import _checks as check
from spanrun.stores import _solr_collection as solr
from spanrun.stores._solr_search import both_rankings
from spanrun.stores.base import Chunk, Hit, Where
from spanrun.stores.fusion import DEPTH, fuse

if TYPE_CHECKING:
    from spanrun.clients.solr import AsyncSolrClient

_MAX_DIMENSION: Final = 4096
_CLIENT: Final = "an AsyncSolrClient"
_PAGE: Final = 1000
_MOST: Final = 2**31 - 1  # more documents than a core of Solr's can have
_VISIBLE_WITHIN: Final = 1000  # ms, also for others and after a crash
_FIELDS: Final = {"document_id": solr.ID, "source": solr.SOURCE}


class SolrStore:
    """A `VectorStore` in a Solr collection of its own.

    Search asks for the nearest vectors (cosine, approximate: Solr's HNSW graph) and
    for the best worded chunks (edismax: any of the query's words, as the fields'
    analyzers see them), and fuses the two rankings by reciprocal rank. What this
    store wrote, it finds at once; others find it a second later at most.

    The first call checks the live schema. It needs the fields named here, a
    DenseVectorField of this dimension with cosine similarity, ``_root_``, and
    ``*_s``, ``*_i`` and ``*_t`` as dynamic fields of strings, whole numbers and text.

    Args:
        client: Of the collection. The store closes it.
        dimension: Of all vectors.
        model: The name of what makes the vectors. A store remembers it, and refuses
            to be opened with another: the distances would mean nothing.
        text: The field of a chunk's text.
        title: The field of its document's title, searched as well.
        vector: The DenseVectorField.

    Raises:
        ConfigurationError: An argument is wrong; from the first call: the schema
            doesn't fit, or the collection holds vectors of another model.
    """

    def __init__(
        self,
        client: AsyncSolrClient,
        dimension: int,
        model: str,
        *,
        text: str = "text",
        title: str = "title",
        vector: str = "embedding",
    ) -> None:
        self.dimension = check.dimension_of("SolrStore", dimension, _MAX_DIMENSION)
        self.model = text_of("SolrStore", "model", model)
        offers("SolrStore", "client", client, "search_where add close", _CLIENT)
        self._client: Final = client
        for name, value in (("text", text), ("title", title), ("vector", vector)):
            text_of("SolrStore", name, value)
        self._fields: Final = solr.Fields(text, title, vector)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()  # of who looks at the schema, or commits
        self._is_checked = False
        self._has_changed = False
        self._is_closing = False
        self._active = 0
        self._idle = asyncio.Event()

    async def content_hashes(self) -> dict[str, str]:
        """The content hash of each stored document, by the document's id."""
        hashes: dict[str, str] = {}
        mark, before = "*", None
        async with self._reading():
            while mark != before:
                answer = await self._client.search_where(
                    {solr.KIND: solr.DOCUMENT},
                    rows=_PAGE,
                    fl=f"{solr.ID},{solr.HASH}",
                    sort="id asc",
                    cursorMark=mark,
                )
                for told in answer.response.docs:
                    hashes[told[solr.ID]] = told.get(solr.HASH, "")
                mark, before = solr.part_of(answer, "nextCursorMark"), mark
        return hashes

    async def count(self) -> tuple[int, int]:
        """How many documents and how many chunks are stored."""
        async with self._reading():
            kinds = await solr.values_of(self._client, solr.KIND)
        return kinds.get(solr.DOCUMENT, 0), kinds.get(solr.CHUNK, 0)

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

        See `VectorStore.upsert`. Lone surrogates in texts are stored as "?". A
        document that is larger than 4 MiB as JSON waits in a temporary file until
        it is sent.
        """
        check.upserted(document_id, content_hash, source, title, summary)
        chunks = check.chunks(document_id, chunks)
        described = {
            solr.ID: document_id,
            solr.HASH: content_hash,
            solr.SOURCE: source,
            self._fields.title: title,
            solr.SUMMARY: summary,
        }
        document = solr.as_solr(
            self._fields, self.dimension, self.model, described, chunks
        )
        async with self._using():
            try:
                await self._client.add([document], commitWithin=_VISIBLE_WITHIN)
            finally:  # also where no answer came: it may have happened
                self._has_changed = True

    async def delete(self, document_ids: Iterable[str]) -> int:
        """Remove documents. Returns how many there were; each one vanishes whole."""
        ids = check.documents(document_ids)
        async with self._reading():
            if not ids:
                return 0
            found = await self._client.search_where(
                {solr.KIND: solr.DOCUMENT, solr.ID: ids}, rows=0
            )
            roots = [solr.root_id(document_id) for document_id in ids]
            try:
                await self._client.delete_by_id(roots, commitWithin=_VISIBLE_WITHIN)
            finally:
                self._has_changed = True
        return found.response.num_found

    async def search(
        self,
        vector: Sequence[float],
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
    ) -> list[Hit]:
        """The ``k`` best chunks, the best first. See `VectorStore.search`.

        ``where`` also knows every field of the schema.
        """
        k = check.at_most(k)
        check.query(text, vector)
        numbers: Sequence[float] = ()
        if len(vector):
            numbers = check.vector(vector, self.dimension, "the query's vector")
        wanted = {
            _FIELDS.get(field, field): values
            for field, values in check.where_of(where).items()
        }
        depth = min(max(k, DEPTH), _MOST)
        async with self._reading():
            near, worded = await both_rankings(
                self._client, self._fields, numbers, text, depth, wanted
            )
        found = {each.key: each.hit for each in [*near, *worded]}
        scores = fuse([[each.key for each in ranking] for ranking in (near, worded)])
        best = sorted(scores, key=lambda key: (-scores[key], key))[:k]
        return [replace(found[key], score=scores[key]) for key in best]

    async def aclose(self) -> None:
        """Finish what was begun, then close the client. May be called again."""
        self._is_closing = True
        while self._active:
            self._idle.clear()
            await self._idle.wait()
        await self._client.close()

    async def __aenter__(self) -> Self:
        """Look at the schema now, so that what is wrong with it is known at once."""
        try:
            async with self._using():
                pass
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return (
            f"SolrStore({self._client!r}, dimension={self.dimension}, "
            f"model={self.model!r})"
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[None]:
        """Hold the store open, and let what it wrote be found."""
        async with self._using():
            async with self._turn:
                if self._has_changed:
                    self._has_changed = False
                    try:
                        await self._client.commit(soft=True)
                    except BaseException:
                        self._has_changed = True
                        raise
            yield

    @asynccontextmanager
    async def _using(self) -> AsyncGenerator[None]:
        """Hold the store open, after its schema was looked at."""
        if self._is_closing:
            raise StoreError(f"{self!r} is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a lock that was waited for belongs to its loop
            self._loop, self._turn, self._idle = loop, asyncio.Lock(), asyncio.Event()
        self._active += 1
        try:
            async with self._turn:
                if not self._is_checked:
                    await solr.fit(
                        self._client, self._fields, self.dimension, self.model
                    )
                    self._is_checked = True
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
