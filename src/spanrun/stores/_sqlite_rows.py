"""What a store does with its tables: plain functions on an open database."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from spanrun.errors import ConfigurationError
from spanrun.stores import _checks as check
from spanrun.stores._checks import storable
from spanrun.stores._sqlite_open import Database, transaction
from spanrun.stores.base import Chunk, Hit
from spanrun.stores.fusion import DEPTH, fuse

_VEC_LIMIT = 4096  # the most that sqlite-vec's own search gives
_SQL_LIMIT = 2**63 - 1  # more rows than a table can have
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
_FIELDS = {"document_id": "d.id", "source": "d.source"}
_ONLY = (
    " and rowid in (select c.rowid from chunks c"
    " join documents d on d.rowid = c.document where {})"
)

Row = tuple[str, str, str, str | None, str | None]
"""A document's id, content hash, source, title and summary."""


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
    row = cast("Row", (row[0], *(value and storable(value) for value in row[1:])))
    with transaction(database):
        document = database.execute(_UPSERT, row).fetchall()[0][0]
        before = _chunk_rows(database, document)
        for position, chunk in enumerate(chunks):
            vector = check.vector_of(chunk, dimension).tobytes()  # one at a time
            text = storable(chunk.text)
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


class Only(NamedTuple):
    """Which chunks a search may find: SQL, and its values."""

    sql: str
    values: tuple[str, ...]


def only(where: Mapping[str, Sequence[str]]) -> Only:
    """The chunks of the documents with these values; without any, all.

    Raises:
        ConfigurationError: There is no such field.
    """
    conditions: list[str] = []
    values: list[str] = []
    for field, wanted in where.items():
        if field not in _FIELDS:
            raise ConfigurationError(
                f"where[{field!r}]: SqliteStore knows {' and '.join(_FIELDS)}"
            )
        conditions.append(f"{_FIELDS[field]} in (select value from json_each(?))")  # noqa: S608 -- our own names
        values.append(json.dumps([storable(value) for value in wanted]))
    if not conditions:
        return Only("", ())
    return Only(_ONLY.format(" and ".join(conditions)), tuple(values))


def search(
    database: Database, vector: array[float] | None, text: str, k: int, only: Only
) -> list[Hit]:
    """The best by reciprocal rank fusion of the nearest and the best worded."""
    depth = min(max(k, DEPTH), _SQL_LIMIT)
    with database:  # one snapshot for all of the queries
        scores = fuse(
            [
                _nearest(database, vector.tobytes(), depth, only) if vector else [],
                _worded(database, text, depth, only),
            ]
        )
        best = sorted(scores, key=lambda rowid: (-scores[rowid], rowid))[:k]
        rows = {row[0]: row for row in database.execute(_FOUND, (json.dumps(best),))}
    return [_hit(rows[rowid], scores[rowid]) for rowid in best]


def _hit(row: tuple[Any, ...], score: float) -> Hit:
    _, document_id, chunk, text, title, source = row
    return Hit(document_id, chunk, text, title, source, score)


def _nearest(database: Database, vector: bytes, depth: int, only: Only) -> list[int]:
    if depth <= _VEC_LIMIT:
        rows = database.execute(
            f"select rowid from vectors where embedding match ? and k = ?{only.sql}"  # noqa: S608 -- our own SQL
            " order by distance",
            (vector, depth, *only.values),
        )
    else:  # the same distances, sorted by SQLite
        rows = database.execute(
            f"select rowid from vectors where true{only.sql}"  # noqa: S608 -- our own SQL
            " order by vec_distance_cosine(embedding, ?), rowid limit ?",
            (*only.values, vector, depth),
        )
    return [row[0] for row in rows]


def _worded(database: Database, text: str, depth: int, only: Only) -> list[int]:
    # Words in quotation marks: nothing of FTS5's query language gets through.
    words = list(dict.fromkeys(_WORD.findall(storable(text))))[:_QUERY_WORDS]
    if not words:
        return []
    quoted = " OR ".join(f'"{word}"' for word in words)
    rows = database.execute(
        f"select rowid from words where words match ?{only.sql}"  # noqa: S608 -- our own SQL
        " order by rank limit ?",
        (quoted, *only.values, depth),
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
