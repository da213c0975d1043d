"""``spanrun search QUERY``: by vector and by words, over what was ingested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spanrun.cli import session
from spanrun.cli.ingest import choose_embedder
from spanrun.cli.session import Exit
from spanrun.ingest.embedder import Embedder
from spanrun.runner.bridge import run
from spanrun.runner.runner import Runner
from spanrun.stores.base import Hit, VectorStore
from spanrun.stores.sqlite import SqliteStore

_WIDTH = 160


def search(
    query: Annotated[str, typer.Argument(help="Words, or a question.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Hits at most.")] = 5,
    store: session.StoreFolder = None,
    embeddings_url: session.EmbeddingsUrl = None,
    model: session.Model = None,
    *,
    as_json: session.AsJson = False,
) -> None:
    """Find the passages that answer a query best."""
    kept = session.folder(store)
    if not (kept / session.DOCUMENTS).exists():
        session.fail(
            Exit.INPUT,
            f"{kept} has no documents",
            "First: spanrun ingest PATH…",
        )
    with session.telemetry(kept):
        embedder = choose_embedder(embeddings_url, model, [])
        (hits,) = run(_search(embedder, kept, [query], k))
    if as_json:
        typer.echo(json.dumps({"query": query, "hits": [asdict(hit) for hit in hits]}))
    else:
        typer.echo(show(hits) if hits else "no hits")


async def _search(
    embedder: Embedder, folder: Path, queries: Sequence[str], k: int
) -> list[list[Hit]]:
    async with embedder:
        dimension = len(await embedder.aget_query_embedding("dimension"))
        path = folder / session.DOCUMENTS
        async with SqliteStore(path, dimension=dimension, model=embedder.model) as kept:
            return await find(embedder, kept, queries, k)


async def find(
    embedder: Embedder, store: VectorStore, queries: Sequence[str], k: int
) -> list[list[Hit]]:
    """The hits of each query; the queries run at the same time."""

    async def one(query: str) -> list[Hit]:
        vector = await embedder.aget_query_embedding(query)
        return await store.search(vector, query, k)

    async with Runner("search", limit=8) as runner:
        return await runner.map(one, queries)


def show(hits: Sequence[Hit]) -> str:
    """Hits as lines: rank, title and source, then the beginning of the passage."""
    lines: list[str] = []
    for rank, hit in enumerate(hits, 1):
        text = " ".join(hit.text.split())
        cut = text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
        lines += [f"  {rank}. {hit.title or hit.source}  ({hit.source})", f"     {cut}"]
    return "\n".join(lines)
