"""How documents flow through one run: what its stages share, and two kinds of stage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from spanrun.checks import wrong
from spanrun.ingest._in_flight import Failure, InFlight
from spanrun.ingest.documents import Document
from spanrun.outcome import Ok
from spanrun.runner.run import Trace
from spanrun.runner.runner import Runner
from spanrun.telemetry.observe import Observer

Changes: TypeAlias = Mapping[str, Any]
"""Fields of a `Document` and their new values."""

Flow: TypeAlias = Callable[[AsyncIterator[Document]], AsyncIterator[Document]]
"""Takes documents and gives those that got through, in any order.

It pulls only as fast as it works.
"""


@dataclass(slots=True)
class Setting:
    """What the stages of one run share.

    Attributes:
        observers: Told of every run and job.
        in_flight: Is told of each document that doesn't get through.
        workers: Documents at once in the stage of a name.
        recipe: What is done to each document, as a short text: another recipe makes
            another document of the same text.
        stored: Content hashes by document id, one mapping for each store: known once
            all stages are open, like what follows.
        total: Documents to come; None where nobody knows.
        trace: Where the jobs' spans belong.
    """

    observers: Sequence[Observer]
    in_flight: InFlight
    workers: Callable[[str], int]
    recipe: str = ""
    stored: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    total: int | None = None
    trace: Trace = "child"

    def stamp(self, content_hash: str) -> str:
        """What a store keeps as the content hash: of the text, and of the recipe."""
        return f"{content_hash}-{self.recipe}"

    def is_stored(self, document_id: str, content_hash: str) -> bool:
        """Whether each store has it, made of this very text in this way."""
        stamp = self.stamp(content_hash)
        return bool(self.stored) and all(
            hashes.get(document_id) == stamp for hashes in self.stored
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
        changed = replace(document, **await transform(document))
        if changed.id != document.id:
            setting.in_flight.renamed(document.id, changed.id)
        return changed

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
                    setting.in_flight.failed(Failure(outcome.key, name, outcome.error))

    return flow
