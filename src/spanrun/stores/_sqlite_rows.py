"""What a store does with its tables: plain functions on an open database."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, cast

from spanrun.errors import StoreError
from spanrun.stores._sqlite_open import Database, transaction
from spanrun.stores.base import Chunk, Hit

# G. V. Cormack, C. L. A. Clarke and S. Büttcher, "Reciprocal rank fusion outperforms
# Condorcet and individual rank learning methods", SIGIR 2009: k = 60.
_RRF = 60
_DEPTH = 100  # of each ranking, at least: what is deeper adds less than 1/160
_VEC_LIMIT = 4096  # sqlite-vec's own bound
_QUERY_WORDS = 64
# What isn't ASCII is left to FTS5's tokenizer, which knows marks in all scripts.
_WORD = re.compile(r"(?:\w|[^\x00-\x7f\s])+")

_UPSERT = """
insert into documents(id, content_hash, source, title, summary) values(?, ?, ?, ?, ?)
on conflict(id) do update set
    content_hash = excluded.content_hash,
    source = excluded.source,
    title = excluded.title,
    summary = excluded.summary
returning rowid
"""
_INSERT_CHUNK = "insert into chunks(document, position, text) values(?, ?, ?)"
_UPDATE_CHUNK = "update chunks set text = ? where rowid = ?"
_INSERT_VECTOR = "insert into vectors(rowid, embedding) values(?, ?)"
_UPDATE_VECTOR = "update vectors set embedding = ? where rowid = ?"
_REPLACE_WORDS = "insert or replace into words(rowid, title, text) values(?, ?, ?)"
_FOUND = """
select c.rowid, d.id, c.position, c.text, d.title, d.source
from chunks c join documents d on d.rowid = c.document
where c.rowid in (select value from json_each(?))
"""

Row = tuple[str, str, str, str | None, str | None]
"""A document's id, content hash, source, title and summary."""


def pack(vector: Sequence[float], dimension: int, what: str) -> bytes:
    """The vector as sqlite-vec stores it.

    Raises:
        StoreError: Another length than ``dimension``; not finite, or zero, which
            has no direction, so that no distance to it could be told.
    """
    if len(vector) != dimension:
        raise StoreError(f"{what}: {len(vector)} numbers, the store has {dimension}")
    packed = array("f", vector)
    if not 0 < math.hypot(*packed) < math.inf:
        raise StoreError(f"{what}: must be finite and not zero")
    return packed.tobytes()


def content_hashes(database: Database) -> dict[str, str]:
    """Each document's content hash, by its id."""
    rows = database.execute("select id, content_hash from documents").fetchall()
    return {row[0]: row[1] for row in rows}


def count(database: Database) -> tuple[int, int]:
    """How many documents and chunks."""
    (row,) = database.execute(
        "select (select count(*) from documents), (select count(*) from chunks)"
    ).fetchall()
    return cast("tuple[int, int]", row)


def upsert(
    database: Database, row: Row, chunks: Sequence[Chunk], dimension: int
) -> None:
    """Write one document, all or nothing.

    Rows are written over where there were some: sqlite-vec gives a deleted
    vector's room back only when 1,024 neighbours are gone, too (after 60 times
    replacing a quarter of 2,000 vectors the file had grown to the fivefold).
    """
    vectors = [
        pack(chunk.vector, dimension, f"vector of chunk {chunk.index} of {row[0]!r}")
        for chunk in chunks
    ]
    row = cast("Row", (row[0], *(value and _storable(value) for value in row[1:])))
    with transaction(database):
        document = database.execute(_UPSERT, row).fetchall()[0][0]
        before = _chunk_rows(database, document)
        for position, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True)):
            text = _storable(chunk.text)
            if position < len(before):
                rowid = before[position]
                database.execute(_UPDATE_CHUNK, (text, rowid))
                database.execute(_UPDATE_VECTOR, (vector, rowid))
            else:
                database.execute(_INSERT_CHUNK, (document, position, text))
                rowid = database.last_insert_rowid()
                database.execute(_INSERT_VECTOR, (rowid, vector))
            database.execute(_REPLACE_WORDS, (rowid, row[3], text))
        _delete_chunks(database, before[len(chunks) :])


def delete(database: Database, document_ids: Iterable[str]) -> int:
    """Remove documents, all or none; how many there were."""
    removed = 0
    with transaction(database):
        for document_id in document_ids:
            row = database.execute(
                "select rowid from documents where id = ?", (document_id,)
            ).fetchone()
            if row is not None:
                _delete_chunks(database, _chunk_rows(database, row[0]))
                database.execute("delete from documents where rowid = ?", row)
                removed += 1
    return removed


def search(database: Database, vector: bytes | None, text: str, k: int) -> list[Hit]:
    """The best by reciprocal rank fusion of the nearest and the best worded."""
    depth = max(k, _DEPTH)
    with database:  # one snapshot for all of the queries
        rankings = [
            _nearest(database, vector, depth) if vector else [],
            _worded(database, text, depth),
        ]
        scores: dict[int, float] = {}
        for ranking in rankings:
            for rank, rowid in enumerate(ranking, 1):
                scores[rowid] = scores.get(rowid, 0.0) + 1 / (_RRF + rank)
        best = sorted(scores, key=lambda rowid: (-scores[rowid], rowid))[:k]
        rows = {row[0]: row for row in database.execute(_FOUND, (json.dumps(best),))}
    return [_hit(rows[rowid], scores[rowid]) for rowid in best]


def _hit(row: tuple[Any, ...], score: float) -> Hit:
    _, document_id, chunk, text, title, source = row
    return Hit(document_id, chunk, text, title, source, score)


def _nearest(database: Database, vector: bytes, depth: int) -> list[int]:
    rows = database.execute(
        "select rowid from vectors where embedding match ? and k = ? order by distance",
        (vector, min(depth, _VEC_LIMIT)),
    )
    return [row[0] for row in rows]


def _worded(database: Database, text: str, depth: int) -> list[int]:
    # Words in quotation marks: nothing of FTS5's query language gets through.
    words = list(dict.fromkeys(_WORD.findall(_storable(text))))[:_QUERY_WORDS]
    if not words:
        return []
    rows = database.execute(
        "select rowid from words where words match ? order by rank limit ?",
        (" OR ".join(f'"{word}"' for word in words), depth),
    )
    return [row[0] for row in rows]


def _chunk_rows(database: Database, document: int) -> list[int]:
    rows = database.execute(
        "select rowid from chunks where document = ? order by position", (document,)
    )
    return [row[0] for row in rows]


def _delete_chunks(database: Database, rows: Sequence[int]) -> None:
    for table in ("vectors", "words", "chunks"):
        database.executemany(
            f"delete from {table} where rowid = ?",  # noqa: S608 -- our own names
            [(row,) for row in rows],
        )


def _storable(text: str) -> str:
    """SQLite keeps UTF-8, which has no lone surrogates."""
    return text.encode("utf-8", "replace").decode()
