"""`Embedder`: what the embedding stage needs, and the one that works in-process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from spanrun import extras
from spanrun.ingest import local_model
from spanrun.runner.runner import Runner
from spanrun.telemetry.observe import Observer


class Embedder(Protocol):
    """Makes vectors of texts. Each request is a job of its ``runner``.

    Attributes:
        model: Names the vector space; a store holds one.
        dimension: Of its vectors; None while nobody knows it.
        batch: Texts in one request.
        runner: Open while the embedder is.
    """

    @property
    def model(self) -> str: ...  # noqa: D102 -- see above

    @property
    def dimension(self) -> int | None: ...  # noqa: D102 -- see above

    @property
    def batch(self) -> int: ...  # noqa: D102 -- see above

    @property
    def runner(self) -> Runner: ...  # noqa: D102 -- see above

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One request: a vector for each text, in order."""
        ...

    async def aget_query_embedding(self, query: str) -> list[float]:
        """The vector of a query."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class LocalEmbedder:
    """Static embeddings computed in this process, in threads: no network, no key.

    Raises:
        ConfigurationError: The extra ``ingest`` isn't installed.
    """

    batch = 64

    def __init__(self, *, limit: int = 2, observers: Sequence[Observer] = ()) -> None:
        extras.require(*local_model.EXTRA)
        self.runner: Final = Runner("embed", limit=limit, observers=observers)

    @property
    def model(self) -> str:
        """The name of the model that the package carries."""
        return local_model.NAME

    @property
    def dimension(self) -> int:
        """Of its vectors."""
        return local_model.DIMENSION

    async def __aenter__(self) -> Self:
        await self.runner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.runner.__aexit__(kind, error, trace)

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One request: a vector for each text, in order."""
        return await asyncio.to_thread(local_model.embed, texts)

    async def aget_query_embedding(self, query: str) -> list[float]:
        """The vector of a query."""
        return (await self.runner.call(self.embed, [query]))[0]
