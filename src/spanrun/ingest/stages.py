"""The stages of a pipeline: what happens to a document on its way into a store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from spanrun.checks import above, function, offers, text
from spanrun.ingest import extract
from spanrun.ingest._embedding import embedded
from spanrun.ingest._flow import (
    Changes,
    Flow,
    Setting,
    Transform,
    check_transform,
    recipe_of,
    transformed,
)
from spanrun.ingest._in_flight import Failure
from spanrun.ingest.documents import Document
from spanrun.ingest.embedder import Embedder
from spanrun.ingest.split import Count, check_sizes, count_tokens, split
from spanrun.stores.base import Chunk, VectorStore
from spanrun.telemetry.instrument import unit

__all__ = [
    "Embed",
    "Failure",
    "Split",
    "Store",
    "Summary",
    "Title",
    "Transform",
    "parallel",
]


_EMBEDDER: Final = "an embedder, such as Embeddings(…)"
_STORE: Final = "a store, such as SqliteStore(…)"


class Split:
    """Cuts the text into chunks of whole sentences.

    Args:
        size: Tokens in a chunk at most.
        overlap: Tokens at most that a chunk repeats from the one before.
        count: How many tokens a text has; called in a thread.

    Raises:
        ConfigurationError: ``size`` or ``overlap`` is out of its range.
    """

    name = "split"

    def __init__(
        self, size: int = 200, overlap: int = 40, *, count: Count = count_tokens
    ) -> None:
        self._arguments: Final = check_sizes(size, overlap)
        function("Split", "count", count, plain=True)
        self._count: Final = count
        counted = getattr(count, "__qualname__", type(count).__qualname__)
        self.recipe: Final = " ".join(("split", *map(str, self._arguments), counted))

    async def __call__(self, document: Document) -> Changes:
        """The chunks, without vectors."""
        texts = await asyncio.to_thread(
            split, document.text, *self._arguments, count=self._count
        )
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
        self.name = text("parallel", "name", name)
        for place, transform in enumerate(transforms):
            check_transform("parallel", f"transforms[{place}]", transform)
        self.recipe: Final = " ".join(map(recipe_of, transforms))
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
            first = errors.exceptions[0]
            raise first from first.__cause__
        changes: dict[str, Any] = {}
        for task in tasks:
            changes.update(task.result())
        return changes


async def _in_unit(transform: Transform, document: Document) -> Changes:
    with unit(transform.name):
        return await transform(document)


class Embed:
    """Gives each chunk its vector, in batches across the documents.

    As many requests run at once as the embedder's own runner allows.

    Args:
        embedder: Open while the pipeline runs.
        max_wait: Seconds that chunks wait for a batch to fill.
    """

    name = "embed"

    def __init__(self, embedder: Embedder, max_wait: float = 0.2) -> None:
        offers("Embed", "embedder", embedder, "embed model batch runner", _EMBEDDER)
        self._embedder: Final = embedder
        self._max_wait: Final = above("Embed", "max_wait", max_wait, 0)
        self.recipe: Final = f"embed {embedder.model}"

    async def open(self, setting: Setting, stack: AsyncExitStack) -> Flow:  # noqa: ARG002 -- the embedder is opened by its owner
        """What the stage does in one run."""
        return embedded(self.name, self._embedder, self._max_wait, setting)


class Store:
    """Puts documents into a store, in place of what it had of them before.

    Args:
        store: Open while the pipeline runs.
        name: Of the stage's runner; where there are two stores, to tell them apart.
    """

    recipe = ""  # where a document is put doesn't change it

    def __init__(self, store: VectorStore, *, name: str = "store") -> None:
        self.name: Final = text("Store", "name", name)
        offers("Store", "store", store, "upsert content_hashes", _STORE)
        self._store: Final = store

    async def open(self, setting: Setting, stack: AsyncExitStack) -> Flow:
        """Learn what the store has. What the stage does in one run."""
        setting.stored.append(await self._store.content_hashes())
        return await transformed(_Put(self.name, self._store, setting), setting, stack)


class _Put:
    """Stores a document; nothing of it changes."""

    def __init__(self, name: str, store: VectorStore, setting: Setting) -> None:
        self.name = name
        self._store: Final = store
        self._setting: Final = setting

    async def __call__(self, document: Document) -> Changes:
        await self._store.upsert(
            document.id,
            content_hash=self._setting.stamp(document.content_hash),
            source=document.source,
            title=document.title,
            summary=document.summary,
            chunks=document.chunks,
        )
        return {}
