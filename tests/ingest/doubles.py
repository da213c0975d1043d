"""A store, an embedder and documents that cost nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import spanrun as sr
from spanrun.ingest.documents import Document, content_hash
from spanrun.stores.base import Chunk, Hit


class MemoryStore:
    """Keeps documents in a dict; `on_upsert` is awaited before each."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.upserts = 0
        self.on_upsert: Callable[[str], Any] | None = None

    async def content_hashes(self) -> dict[str, str]:
        return {key: kept["content_hash"] for key, kept in self.kept.items()}

    async def upsert(self, document_id: str, **fields: Any) -> None:
        self.upserts += 1
        if self.on_upsert is not None:
            await self.on_upsert(document_id)
        self.kept[document_id] = fields

    async def delete(self, document_ids: Iterable[str]) -> int:
        return sum(self.kept.pop(key, None) is not None for key in document_ids)

    async def search(
        self, vector: Sequence[float], text: str, k: int = 10, *, where: Any = None
    ) -> list[Hit]:
        raise NotImplementedError

    async def count(self) -> tuple[int, int]:
        return len(self.kept), sum(len(kept["chunks"]) for kept in self.kept.values())

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


class LengthEmbedder:
    """The vector of a text is its length; a text with "bad" in it is refused."""

    model = "length"
    dimension = 1

    def __init__(self, batch: int = 4, limit: int = 2) -> None:
        self.batch = batch
        self.runner = sr.Runner("embed", limit=limit)
        self.requests: list[list[str]] = []

    async def embed(self, texts: list[str]) -> list[list[float]]:
        self.requests.append(texts)
        await asyncio.sleep(0)
        if any("bad" in text for text in texts):
            raise ValueError("a bad text")
        return [[float(len(text))] for text in texts]

    async def aget_query_embedding(self, query: str) -> list[float]:
        return (await self.embed([query]))[0]

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


class Lines:
    """Splits a text into its lines, without a thread."""

    name = "split"

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, document: Document) -> dict[str, Any]:
        self.seen.append(document.id)
        await asyncio.sleep(0)
        lines = document.text.splitlines()
        return {
            "chunks": tuple(Chunk(document.id, n, line) for n, line in enumerate(lines))
        }


def document(name: str, text: str) -> Document:
    return Document(name, text, f"/{name}", content_hash(text))


def documents(count: int, lines: int = 1) -> list[Document]:
    return [
        document(f"d{n}", "\n".join(f"{n} {line}" for line in range(lines)))
        for n in range(count)
    ]
