"""The stages of a pipeline: what happens to a document on its way into a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from spanrun.ingest import extract
from spanrun.ingest.documents import Document
from spanrun.ingest.embedder import Embedder
from spanrun.ingest.split import split
from spanrun.outcome import Err, Ok
from spanrun.runner.groups import aclose
from spanrun.runner.run import Trace
from spanrun.runner.runner import Runner
from spanrun.stores.base import Chunk, VectorStore
from spanrun.telemetry.instrument import unit
from spanrun.telemetry.observe import Observer

Changes: TypeAlias = Mapping[str, Any]
"""Fields of a `Document` and their new values."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that did not get through, and why."""

    document_id: str
    stage: str
    error: Exception


@dataclass(slots=True)
class Setting:
    """What the stages of one run share; the last two are known once all are open."""

    observers: Sequence[Observer]
    failed: Callable[[Failure], None]
    total: int = 0
    trace: Trace = "child"


class Stage(Protocol):
    """Takes documents and gives documents, some fewer, in any order."""

    name: str

    async def open(self, setting: Setting, stack: AsyncExitStack) -> None:
        """Get ready; what must be closed goes on ``stack``."""
        ...

    def has(self, document: Document) -> bool:
        """Whether ``document``, as it is, has been through already."""
        ...

    def process(self, documents: AsyncIterator[Document]) -> AsyncIterator[Document]:
        """The documents that got through. Pulls only as fast as it works."""
        ...


class Transform(Protocol):
    """Works out some fields of a document."""

    name: str

    async def __call__(self, document: Document) -> Changes:
        """The changes to ``document``."""
        ...


class Split:
    """Cuts the text into chunks: see `spanrun.ingest.split`."""

    name = "split"

    def __init__(self, size: int = 200, overlap: int = 40) -> None:
        self._size: Final = size
        self._overlap: Final = overlap

    async def __call__(self, document: Document) -> Changes:
        """The chunks, without vectors."""
        texts = await asyncio.to_thread(split, document.text, self._size, self._overlap)
        return {
            "chunks": tuple(
                Chunk(document.id, index, text) for index, text in enumerate(texts)
            )
        }


class Title:
    """Finds a title in the text, unless the document brought one."""

    name = "title"

    async def __call__(self, document: Document) -> Changes:
        """The title."""
        if document.title:
            return {}
        return {"title": await asyncio.to_thread(extract.title, document.text)}


class Summary:
    """Draws the sentences that say most."""

    name = "summary"

    async def __call__(self, document: Document) -> Changes:
        """The summary."""
        return {"summary": await asyncio.to_thread(extract.summary, document.text)}


class parallel:  # noqa: N801 -- reads as a word in a list of stages
    """Runs transforms of one document at the same time, each in a unit.

    The first error cancels the others, and is the document's, as it was raised.
    """

    def __init__(self, *transforms: Transform, name: str = "extract") -> None:
        self.name = name
        self._transforms: Final = transforms

    async def __call__(self, document: Document) -> Changes:
        """The changes of all of them."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_in_unit(transform, document))
                    for transform in self._transforms
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        changes: dict[str, Any] = {}
        for task in tasks:
            changes.update(task.result())
        return changes


async def _in_unit(transform: Transform, document: Document) -> Changes:
    with unit(transform.name):
        return await transform(document)


class TransformStage:
    """Runs a transform on each document, in a runner of its own."""

    def __init__(self, transform: Transform, workers: int) -> None:
        self.name = transform.name
        self._transform: Final = transform
        self._workers: Final = workers
        self._runner: Runner | None = None
        self._setting: Setting | None = None

    async def open(self, setting: Setting, stack: AsyncExitStack) -> None:
        """Open the runner."""
        runner = Runner(self.name, limit=self._workers, observers=setting.observers)
        self._setting = setting
        self._runner = await stack.enter_async_context(runner)

    def has(self, document: Document) -> bool:  # noqa: ARG002 -- no memory
        """No: it keeps nothing."""
        return False

    async def process(
        self, documents: AsyncIterator[Document]
    ) -> AsyncIterator[Document]:
        """The changed documents, as they are ready."""
        assert self._runner and self._setting  # noqa: S101, PT018 -- opened
        setting = self._setting
        async with self._runner.stream(
            self._apply,
            documents,
            ordered=False,
            total=setting.total,
            trace=setting.trace,
            key=lambda document: document.id,
        ) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, Ok):
                    yield outcome.value
                else:
                    setting.failed(Failure(outcome.key, self.name, outcome.error))

    async def _apply(self, document: Document) -> Document:
        return replace(document, **await self._transform(document))


class Store:
    """Puts documents into a store, in place of what it had of them before."""

    name = "store"

    def __init__(self, store: VectorStore, workers: int = 4) -> None:
        self._store: Final = store
        self._hashes: dict[str, str] = {}
        self._stage: Final = TransformStage(self, workers)

    async def __call__(self, document: Document) -> Changes:
        """Store ``document``; nothing of it changes."""
        await self._store.upsert(
            document.id,
            content_hash=document.content_hash,
            source=document.source,
            title=document.title,
            summary=document.summary,
            chunks=document.chunks,
        )
        return {}

    async def open(self, setting: Setting, stack: AsyncExitStack) -> None:
        """Learn what the store has, and open the runner."""
        self._hashes = await self._store.content_hashes()
        await self._stage.open(setting, stack)

    def has(self, document: Document) -> bool:
        """Whether the store has the document with this very text."""
        return self._hashes.get(document.id) == document.content_hash

    def process(self, documents: AsyncIterator[Document]) -> AsyncIterator[Document]:
        """The stored documents."""
        return self._stage.process(documents)


class Embed:
    """Gives each chunk its vector, in batches across the documents.

    Args:
        embedder: Open while the pipeline runs.
        max_wait: Seconds that chunks wait for a batch to fill.
    """

    name = "embed"

    def __init__(self, embedder: Embedder, max_wait: float = 0.2) -> None:
        self._embedder: Final = embedder
        self._max_wait: Final = max_wait
        self._setting: Setting | None = None

    async def open(self, setting: Setting, stack: AsyncExitStack) -> None:  # noqa: ARG002 -- opened by its owner
        """Take note of the setting."""
        self._setting = setting

    def has(self, document: Document) -> bool:  # noqa: ARG002 -- no memory
        """No: it keeps nothing."""
        return False

    async def process(
        self, documents: AsyncIterator[Document]
    ) -> AsyncIterator[Document]:
        """The documents whose chunks all have a vector, as they are ready."""
        assert self._setting  # noqa: S101 -- opened
        waiting = _Waiting(self._setting.failed)
        async with self._embedder.runner.stream_batches(
            self._embedder.embed,
            waiting.texts(documents),
            size=self._embedder.batch,
            max_wait=self._max_wait,
            ordered=False,
            trace=self._setting.trace,
        ) as outcomes:
            async for outcome in outcomes:
                waiting.take(outcome)
                for document in waiting.complete():
                    yield document
        for document in waiting.complete():
            yield document


class _Partial:
    __slots__ = ("document", "error", "missing", "vectors")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.missing = len(document.chunks)
        self.vectors: list[Sequence[float]] = [()] * self.missing
        self.error: Exception | None = None


class _Waiting:
    """The documents of which some chunks have no vector yet."""

    def __init__(self, failed: Callable[[Failure], None]) -> None:
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
            partial.vectors[index] = outcome.value
        else:
            partial.error = outcome.error
        partial.missing -= 1
        if partial.missing:
            return
        document = partial.document
        if partial.error is not None:
            self._failed(Failure(document.id, Embed.name, partial.error))
            return
        chunks = tuple(
            replace(chunk, vector=vector)
            for chunk, vector in zip(document.chunks, partial.vectors, strict=True)
        )
        self._complete.append(replace(document, chunks=chunks))
