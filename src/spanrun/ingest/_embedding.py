"""The stage that gives each chunk its vector, in batches across the documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Final

from spanrun.ingest._flow import Flow, Setting
from spanrun.ingest._in_flight import Failure
from spanrun.ingest._vectors import Vectors
from spanrun.ingest.documents import Document
from spanrun.ingest.embedder import Embedder
from spanrun.outcome import Err, Ok
from spanrun.runner.groups import aclose


def embedded(name: str, embedder: Embedder, max_wait: float, setting: Setting) -> Flow:
    """A stage that gives each chunk its vector, in batches across the documents."""

    async def flow(documents: AsyncIterator[Document]) -> AsyncIterator[Document]:
        waiting = _Waiting(name, setting.in_flight.failed)
        async with embedder.runner.stream_batches(
            embedder.embed,
            waiting.texts(documents),
            size=embedder.batch,
            max_wait=max_wait,
            ordered=False,
            trace=setting.trace,
        ) as outcomes:
            async for outcome in outcomes:
                waiting.take(outcome)
                for document in waiting.complete():
                    yield document
        for document in waiting.complete():
            yield document

    return flow


class _Partial:
    __slots__ = ("document", "error", "missing", "vectors")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.missing = len(document.chunks)
        self.vectors = Vectors(self.missing)
        self.error: Exception | None = None


class _Waiting:
    """The documents of which some chunks have no vector yet."""

    def __init__(self, stage: str, failed: Callable[[Failure], None]) -> None:
        self._stage: Final = stage
        self._failed: Final = failed
        self._places: dict[int, tuple[_Partial, int]] = {}
        self._complete: list[Document] = []
        self._sent = 0

    async def texts(self, documents: AsyncIterator[Document]) -> AsyncIterator[str]:
        """The texts to embed; each is remembered under its place in the stream."""
        try:
            async for document in documents:
                if not document.chunks:
                    self._complete.append(document)
                partial = _Partial(document)
                for index, chunk in enumerate(document.chunks):
                    self._places[self._sent] = partial, index
                    self._sent += 1
                    yield chunk.text
                del document, partial  # not kept while the next one is waited for
        finally:
            await aclose(documents)  # `async for` doesn't, when we are closed

    def complete(self) -> Iterator[Document]:
        """The documents that lack nothing any more, each once."""
        complete, self._complete = self._complete, []
        return iter(complete)

    def take(self, outcome: Ok[list[float]] | Err) -> None:
        """Note a chunk's vector. With its last chunk, a document is complete."""
        partial, index = self._places.pop(outcome.index)
        if isinstance(outcome, Ok):
            try:
                partial.vectors.put(index, outcome.value)
            except Exception as error:  # noqa: BLE001 -- a full disk costs the document
                partial.error = error
        else:
            partial.error = outcome.error
        partial.missing -= 1
        if partial.missing:
            return
        document = partial.document
        if partial.error is not None:
            self._failed(Failure(document.id, self._stage, partial.error))
            return
        chunks = tuple(
            replace(chunk, vector=vector)
            for chunk, vector in zip(document.chunks, partial.vectors, strict=True)
        )
        self._complete.append(replace(document, chunks=chunks))
