"""How documents flow through one run: what its stages share, and two kinds of stage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias

from spanrun.checks import wrong
from spanrun.ingest.documents import Document
from spanrun.ingest.embedder import Embedder
from spanrun.outcome import Err, Ok
from spanrun.runner.groups import aclose
from spanrun.runner.run import Trace
from spanrun.runner.runner import Runner
from spanrun.telemetry.observe import Observer

Changes: TypeAlias = Mapping[str, Any]
"""Fields of a `Document` and their new values."""

Flow: TypeAlias = Callable[[AsyncIterator[Document]], AsyncIterator[Document]]
"""Takes documents and gives those that got through, in any order.

It pulls only as fast as it works.
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that did not get through, and why."""

    document_id: str
    stage: str
    error: Exception


@dataclass(slots=True)
class Setting:
    """What the stages of one run share.

    Attributes:
        observers: Told of every run and job.
        failed: Takes note of a document that doesn't get through.
        workers: Documents at once in the stage of a name.
        recipe: What is done to each document, as a short text: another recipe makes
            another document of the same text.
        stored: Content hashes by document id, one mapping for each store: known once
            all stages are open, like what follows.
        total: Documents to come; None where nobody knows.
        trace: Where the jobs' spans belong.
    """

    observers: Sequence[Observer]
    failed: Callable[[Failure], None]
    workers: Callable[[str], int]
    recipe: str = ""
    stored: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    total: int | None = None
    trace: Trace = "child"

    def stamp(self, document: Document) -> str:
        """What a store keeps as the content hash: of the text, and of the recipe."""
        return f"{document.content_hash}-{self.recipe}"

    def is_stored(self, document: Document) -> bool:
        """Whether each store has it, made of this very text in this way."""
        stamp = self.stamp(document)
        return bool(self.stored) and all(
            hashes.get(document.id) == stamp for hashes in self.stored
        )


class Transform(Protocol):
    """Works out some fields of a document.

    It may have a ``recipe``: a text that differs when it would make something else
    of the same document. A document whose stages' recipes have changed is done anew.
    """

    name: str

    async def __call__(self, document: Document) -> Changes:
        """The changes to ``document``."""
        ...


class Stage(Protocol):
    """A part of a pipeline that isn't just a transform. It keeps nothing of a run."""

    name: str

    async def open(self, setting: Setting, stack: AsyncExitStack) -> Flow:
        """Get ready for one run; what must be closed goes on ``stack``."""
        ...


def check_transform(where: str, name: str, stage: object) -> None:
    """Refuse what isn't a `Transform`, such as a plain function."""
    if (
        isinstance(stage, type)
        or not callable(stage)
        or not isinstance(getattr(stage, "name", None), str)
    ):
        raise wrong(
            where,
            name,
            stage,
            "must be a stage, such as Split(); one of your own is an object with a "
            "name and `async def __call__(self, document)`",
        )


def recipe_of(stage: object) -> str:
    """What ``stage`` does, as a text: its ``recipe``, or else its class."""
    told = getattr(stage, "recipe", None)
    return told if isinstance(told, str) else type(stage).__qualname__


def recipe(stages: Sequence[object]) -> str:
    """What all ``stages`` do, as eight hexadecimal digits."""
    told = "\n".join(map(recipe_of, stages)).encode()
    return hashlib.blake2b(told, digest_size=4).hexdigest()


async def transformed(
    transform: Transform, setting: Setting, stack: AsyncExitStack
) -> Flow:
    """A stage that runs ``transform`` on each document, in a runner of its own."""
    name = transform.name
    runner = await stack.enter_async_context(
        Runner(name, limit=setting.workers(name), observers=setting.observers)
    )

    async def apply(document: Document) -> Document:
        return replace(document, **await transform(document))

    async def flow(documents: AsyncIterator[Document]) -> AsyncIterator[Document]:
        async with runner.stream(
            apply,
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
                    setting.failed(Failure(outcome.key, name, outcome.error))

    return flow


def embedded(name: str, embedder: Embedder, max_wait: float, setting: Setting) -> Flow:
    """A stage that gives each chunk its vector, in batches across the documents."""

    async def flow(documents: AsyncIterator[Document]) -> AsyncIterator[Document]:
        waiting = _Waiting(name, setting.failed)
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
        self.vectors: list[Sequence[float]] = [()] * self.missing
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
            self._failed(Failure(document.id, self._stage, partial.error))
            return
        chunks = tuple(
            replace(chunk, vector=vector)
            for chunk, vector in zip(document.chunks, partial.vectors, strict=True)
        )
        self._complete.append(replace(document, chunks=chunks))
