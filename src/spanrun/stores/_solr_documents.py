"""How a document lies in Solr: one with its chunks in it, replaced as a whole.

Solr writes a document with the documents in it as one block, and replaces or deletes
that as one: there is never half of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spanrun.stores import _checks as check
from spanrun.stores._checks import storable
from spanrun.stores.base import Chunk, Hit

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
    and shown with them.
    """
    told = {key: storable(text) for key, text in described.items() if text is not None}
    document_id = told[ID]
    shared = {key: text for key, text in told.items() if key != SUMMARY}
    return {
        **told,
        "id": root_id(document_id),
        KIND: DOCUMENT,
        MODEL: model,
        _WITHIN: [
            {
                **shared,
                "id": f"{CHUNK} {chunk.index} of {document_id}",
                KIND: CHUNK,
                INDEX: chunk.index,
                fields.text: storable(chunk.text),
                fields.vector: check.vector_of(chunk, dimension).tolist(),
            }
            for chunk in chunks
        ],
    }


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
