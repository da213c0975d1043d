"""How documents lie in a Solr collection, and whether it is one for them.

A document has its chunks in it, and is replaced as a whole: a document with
the documents in it as one block, and replaces or deletes that as one. There is never
half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores import _checks as check
from spanrun.stores._checks import storable
from spanrun.stores.base import Chunk, Hit

if TYPE_CHECKING:
    from spanrun.clients.solr import AsyncSolrClient
    from spanrun.clients.solr_responses import SolrSelectResponse

KIND: Final = "kind_s"
DOCUMENT: Final = "document"
CHUNK: Final = "chunk"
ID: Final = "document_id_s"
HASH: Final = "content_hash_s"
SOURCE: Final = "source_s"
MODEL: Final = "model_s"
SUMMARY: Final = "summary_t"
INDEX: Final = "chunk_i"
ROOT: Final = "_root_"
OWN: Final = (KIND, ID, HASH, SOURCE, MODEL, SUMMARY, INDEX, ROOT)
"""The fields that a collection must have beside those which `Fields` names."""

_WITHIN: Final = "_childDocuments_"


class Fields(NamedTuple):
    """What the schema's own fields are called."""

    text: str
    title: str
    vector: str

    @property
    def shown(self) -> str:
        """The fields of a hit."""
        return f"{ID},{INDEX},{HASH},{SOURCE},{self.text},{self.title}"


def root_id(document_id: str) -> str:
    """The id in Solr of a document. No chunk has such a one."""
    return f"{DOCUMENT} {document_id}"


def as_solr(
    fields: Fields,
    dimension: int,
    model: str,
    described: Mapping[str, str | None],
    chunks: Sequence[Chunk],
) -> dict[str, Any]:
    """The document with its chunks.

    Each chunk has its document's title and source, so that it can be found by them
    and shown with them. The chunks are made when they are written, one by one: a
    large document's vectors wait in a file.

    Raises:
        StoreError: A vector isn't one that the store takes.
    """
    for chunk in chunks:  # before the first one is written
        check.vector_of(chunk, dimension)
    told = {key: storable(text) for key, text in described.items() if text is not None}
    document_id = told[ID]
    shared = {key: text for key, text in told.items() if key != SUMMARY}

    def of(chunk: Chunk) -> dict[str, Any]:
        return {
            **shared,
            "id": f"{CHUNK} {chunk.index} of {document_id}",
            KIND: CHUNK,
            INDEX: chunk.index,
            fields.text: storable(chunk.text),
            fields.vector: check.vector_of(chunk, dimension).tolist(),
        }

    return {
        **told,
        "id": root_id(document_id),
        KIND: DOCUMENT,
        MODEL: model,
        _WITHIN: _Within(chunks, of),
    }


class _Within(Sequence[dict[str, Any]]):
    """A document's chunks as Solr takes them, each made when it is looked at."""

    def __init__(
        self, chunks: Sequence[Chunk], of: Callable[[Chunk], dict[str, Any]]
    ) -> None:
        self._chunks: Final = chunks
        self._of: Final = of

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self._of(chunk) for chunk in self._chunks[index]]
        return self._of(self._chunks[index])


class Found(NamedTuple):
    """A chunk that Solr found, and of which state of its document."""

    hit: Hit
    content_hash: str

    @classmethod
    def of(cls, fields: Fields, told: Mapping[str, Any]) -> Found:
        """What Solr told of it."""
        hit = Hit(
            told[ID],
            told[INDEX],
            told.get(fields.text, ""),
            told.get(fields.title),
            told.get(SOURCE, ""),
            0.0,
        )
        return cls(hit, told.get(HASH, ""))

    @property
    def key(self) -> tuple[str, int]:
        """Which chunk it is."""
        return self.hit.document_id, self.hit.chunk


async def values_of(client: AsyncSolrClient, field: str) -> dict[str, int]:
    """The values of a field, and how many have each one."""
    answer = await client.search_where(
        {}, rows=0, **{"facet": True, "facet.field": field, "facet.mincount": 1}
    )
    told = part_of(answer, "facet_counts")["facet_fields"][field]
    return dict(zip(told[::2], told[1::2], strict=True))


def part_of(answer: SolrSelectResponse, name: str) -> Any:
    """A part of Solr's answer that has no type of its own."""
    parts = answer.model_extra or {}
    if name not in parts:
        raise StoreError(f"Solr's answer has no {name}")
    return parts[name]


async def fit(
    client: AsyncSolrClient, fields: Fields, dimension: int, model: str
) -> None:
    """Refuse a collection whose schema doesn't fit, or with vectors of another model.

    Raises:
        ConfigurationError: It says what is wrong, and what to do.
    """
    schema = await client.schema()
    missing = [name for name in (*OWN, *fields) if schema.type_of(name) is None]
    if missing:
        raise ConfigurationError(
            f"{client!r}: the schema lacks {', '.join(missing)}: add them, as "
            "docs/how-to/store-in-solr.md shows"
        )
    kind = schema.type_of(fields.vector) or {}
    found = (
        str(kind.get("class", "")).rpartition(".")[2],
        str(kind.get("vectorDimension")),
        kind.get("similarityFunction"),
    )
    if found != ("DenseVectorField", str(dimension), "cosine"):
        raise ConfigurationError(
            f"{client!r}: the field {fields.vector!r} must be a "
            f"DenseVectorField of {dimension} dimensions with cosine similarity, not "
            f"{' '.join(map(str, found))}"
        )
    await client.commit(soft=True)  # what another store has just written
    others = await values_of(client, MODEL)
    if others.keys() - {model}:
        raise ConfigurationError(
            f"{client!r}: holds vectors of {', '.join(map(repr, others))}, not of "
            f"{model!r}: use that model, or name another collection and ingest anew"
        )
