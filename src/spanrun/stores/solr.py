"""`SolrStore`: documents in a Solr collection, found by vector and by words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores import _checks as check
from spanrun.stores import _solr_documents as solr
from spanrun.stores.base import Chunk, Hit, Where
from spanrun.stores.fusion import DEPTH, fuse

if TYPE_CHECKING:
    from spanrun.clients.solr import AsyncSolrClient

_MAX_DIMENSION: Final = 4096
_PAGE: Final = 1000
_VISIBLE_WITHIN: Final = 1000  # ms, also for others and after a crash
_LOOKS: Final = 3
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
        check.dimension_of("SolrStore", dimension, _MAX_DIMENSION)
        check.model_of("SolrStore", model)
        self.dimension = dimension
        self.model = model
        self._client: Final = client
        self._fields: Final = solr.Fields(text, title, vector)
        self._turn: Final = asyncio.Lock()  # of who looks at the schema, or commits
        self._is_checked = False
        self._has_changed = False
        self._is_closing = False
        self._active = 0
        self._idle: Final = asyncio.Event()

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
                mark, before = _extra(answer, "nextCursorMark"), mark
        return hashes

    async def count(self) -> tuple[int, int]:
        """How many documents and how many chunks are stored."""
        async with self._reading():
            kinds = await self._values_of(solr.KIND)
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

        See `VectorStore.upsert`. Lone surrogates in texts are stored as "?".
        """
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
        check.at_most(k)
        numbers: Sequence[float] = ()
        if len(vector):
            numbers = check.vector(vector, self.dimension, "the query's vector")
        wanted = {
            _FIELDS.get(field, field): values
            for field, values in check.where_of(where).items()
        }
        asked = numbers, text, max(k, DEPTH), wanted
        async with self._reading():
            near, worded = await self._ask(*asked)
            for _ in range(_LOOKS):
                if not _mixed([*near, *worded]):
                    break
                near, worded = await self._ask(*asked)
        # A document that is replaced all the time: as the second query saw it.
        mixed = _mixed([*near, *worded])
        near = [each for each in near if each.hit.document_id not in mixed]
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

    async def _ask(
        self,
        vector: Sequence[float],
        text: str,
        depth: int,
        where: dict[str, list[str]],
    ) -> tuple[list[solr.Found], list[solr.Found]]:
        """Both rankings, asked for at the same time."""
        where = {**where, solr.KIND: [solr.CHUNK]}
        client, fields = self._client, self._fields

        async def near() -> list[solr.Found]:
            if not len(vector):
                return []
            answer = await client.search_vector(
                vector, fields.vector, where=where, rows=depth, fl=fields.shown
            )
            return [solr.Found.of(fields, told) for told in answer.response.docs]

        async def worded() -> list[solr.Found]:
            answer = await client.search_text(
                text,
                (fields.text, fields.title),
                where=where,
                rows=depth,
                fl=fields.shown,
            )
            return [solr.Found.of(fields, told) for told in answer.response.docs]

        try:
            async with asyncio.TaskGroup() as group:
                rankings = group.create_task(near()), group.create_task(worded())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return rankings[0].result(), rankings[1].result()

    async def _values_of(self, field: str) -> dict[str, int]:
        """The values of a field, and how many have each one."""
        answer = await self._client.search_where(
            {},
            rows=0,
            **{"facet": True, "facet.field": field, "facet.mincount": 1},
        )
        told = _extra(answer, "facet_counts")["facet_fields"][field]
        return dict(zip(told[::2], told[1::2], strict=True))

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
        self._active += 1
        try:
            async with self._turn:
                if not self._is_checked:
                    await self._check()
                    self._is_checked = True
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def _check(self) -> None:
        schema = await self._client.schema()
        missing = [
            name for name in (*solr.OWN, *self._fields) if schema.type_of(name) is None
        ]
        if missing:
            raise ConfigurationError(
                f"{self!r}: the schema lacks {', '.join(missing)}: add them, as "
                "docs/how-to/store-in-solr.md shows"
            )
        kind = schema.type_of(self._fields.vector) or {}
        found = (
            str(kind.get("class", "")).rpartition(".")[2],
            str(kind.get("vectorDimension")),
            kind.get("similarityFunction"),
        )
        if found != ("DenseVectorField", str(self.dimension), "cosine"):
            raise ConfigurationError(
                f"{self!r}: the field {self._fields.vector!r} must be a "
                f"DenseVectorField of {self.dimension} dimensions with cosine "
                f"similarity, not {' '.join(map(str, found))}"
            )
        await self._client.commit(soft=True)  # what another store has just written
        others = await self._values_of(solr.MODEL)
        if others.keys() - {self.model}:
            raise ConfigurationError(
                f"{self!r}: the collection holds vectors of "
                f"{', '.join(map(repr, others))}: use that model, or name another "
                "collection and ingest anew"
            )


def _mixed(found: Iterable[solr.Found]) -> set[str]:
    """The documents that were replaced between the two queries."""
    states: dict[str, str] = {}
    return {
        each.hit.document_id
        for each in found
        if states.setdefault(each.hit.document_id, each.content_hash)
        != each.content_hash
    }


def _extra(answer: Any, name: str) -> Any:
    """A part of Solr's answer that has no type of its own."""
    extra = answer.model_extra
    if name not in extra:
        raise StoreError(f"Solr's answer has no {name}")
    return extra[name]
