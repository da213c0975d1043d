"""`SqliteStore`: documents in one file, found by vector and by words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from spanrun import semconv
from spanrun.checks import text as text_of
from spanrun.checks import wrong
from spanrun.errors import StoreError
from spanrun.stores import _checks as check
from spanrun.stores import _sqlite_rows as rows
from spanrun.stores._sqlite_open import (
    Database,
    StoredAs,
    connect,
    stored_as,
    translated,
)
from spanrun.stores.base import Chunk, Hit, Where
from spanrun.telemetry.calling import calling
from spanrun.telemetry.units.call import CallKind

__all__ = ["SqliteStore", "StoredAs", "stored_as"]

T = TypeVar("T")

_MAX_DIMENSION = 8192  # sqlite-vec's own bound


class SqliteStore:
    """A `VectorStore` in an SQLite file: sqlite-vec beside full-text search.

    Search is exact, not approximate: the query's vector is compared with each
    chunk's (cosine). Words are matched by FTS5 (stemmed for English, without
    accents, any of the query's words). The two rankings are fused by reciprocal
    rank. Any number of processes may read and write one file; a writer waits up to
    10 s for another one.

    Nothing happens before the first call, which creates the file and its folder.
    SQLite is used from one thread, which `aclose` or `close` ends. Each call is a
    span and counts in ``db.client.operation.duration``, by OpenTelemetry's
    conventions for databases.

    Args:
        path: The file. WAL is used: it doesn't belong on a network drive.
        dimension: Of all vectors, 1 to 8,192.
        model: The name of what makes the vectors. A store remembers both, and
            refuses to be opened with others: the distances would mean nothing.

    Raises:
        ConfigurationError: An argument is wrong; from the first call: the path holds
            something else, or the extra ``ingest`` isn't installed.
    """

    def __init__(self, path: str | PathLike[str], dimension: int, model: str) -> None:
        self.dimension = check.dimension_of("SqliteStore", dimension, _MAX_DIMENSION)
        self.model = text_of("SqliteStore", "model", model)
        # Absolute: SQLite gives names like ":memory:" and "" a meaning of their own.
        if not isinstance(path, str | PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong("SqliteStore", "path", path, "must be the path of a file")
        self.path = Path(path).absolute()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spanrun-sqlite")
        self._kinds: dict[str, CallKind] = {}  # by operation
        self._connection: Database | None = None  # the thread's own
        self._closing: Future[None] | None = None

    async def content_hashes(self) -> dict[str, str]:
        """The content hash of each stored document, by the document's id."""
        return await self._told("content_hashes", rows.content_hashes)

    async def count(self) -> tuple[int, int]:
        """How many documents and how many chunks are stored."""
        return await self._told("count", rows.count)

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
        check.upserted(document_id, content_hash, source, title, summary)
        chunks = check.chunks(document_id, chunks)
        row = (document_id, content_hash, source, title, summary)
        await self._told(
            "upsert", lambda db: rows.upsert(db, row, chunks, self.dimension)
        )

    async def delete(self, document_ids: Iterable[str]) -> int:
        """Remove documents, all or none. Returns how many there were."""
        ids = check.documents(document_ids)
        return await self._told("delete", lambda db: rows.delete(db, ids))

    async def search(
        self,
        vector: Sequence[float],
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
    ) -> list[Hit]:
        """The ``k`` best chunks, the best first. See `VectorStore.search`.

        ``where`` knows the fields ``document_id`` and ``source`` only.
        """
        k = check.at_most(k)
        check.query(text, vector)
        packed = None
        if len(vector):
            packed = check.vector(vector, self.dimension, "the query's vector")
        only = rows.only(check.where_of(where))
        return await self._told(
            "search", lambda db: rows.search(db, packed, text, k, only)
        )

    async def aclose(self) -> None:
        """Finish what was begun, close the file and end the thread.

        May be called again. When it is cancelled, all of this still happens.
        """
        closing = self._begin_closing()
        await asyncio.shield(asyncio.wrap_future(closing))
        self._thread.shutdown()

    def close(self) -> None:
        """`aclose`, but blocking: for use without an event loop."""
        self._begin_closing().result()
        self._thread.shutdown()

    async def __aenter__(self) -> Self:
        """Open the file now, so that what is wrong with it is known at once."""
        try:
            await self._call(lambda _: None)
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
            f"SqliteStore({str(self.path)!r}, dimension={self.dimension}, "
            f"model={self.model!r})"
        )

    async def _told(self, operation: str, work: Callable[[Database], T]) -> T:
        """`_call` as a call to a database, with a span and its metric."""
        kind = self._kinds.get(operation)
        if kind is None:
            kind = self._kinds[operation] = CallKind(
                f"{operation} {self.path.name}",
                semconv.METRIC_DB_CLIENT_OPERATION_DURATION,
                {
                    semconv.DB_SYSTEM_NAME: "sqlite",
                    semconv.DB_NAMESPACE: self.path.name,
                    semconv.DB_OPERATION_NAME: operation,
                },
            )
        with calling(kind):
            return await self._call(work)

    async def _call(self, work: Callable[[Database], T]) -> T:
        if self._closing is not None:
            raise StoreError(f"{self!r} is closed")
        # Cancelled while it waits for the thread, the work is taken off the queue;
        # once begun it runs to its end: a transaction is never cut.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[Database], T]) -> T:
        if self._connection is None:
            self._connection = connect(self.path, self.dimension, self.model)
        try:
            with translated(self.path):
                return work(self._connection)
        except StoreError:
            # Where reading fails amid FTS5, the connection goes on with a count of 0
            # words, and would write it to the file.
            self._close_connection()
            raise

    def _begin_closing(self) -> Future[None]:
        if self._closing is None:
            self._closing = self._thread.submit(self._close_connection)
            self._thread.shutdown(wait=False)
        return self._closing

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with translated(self.path):
                connection.close()
