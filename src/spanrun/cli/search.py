"""``spanrun search QUERY``: by vector and by words, over what was ingested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.cli.ingest import choose_embedder, open_store
from spanrun.ingest.embedder import Embedder
from spanrun.runner.bridge import run
from spanrun.runner.runner import Runner
from spanrun.stores.base import Hit, VectorStore

_WIDTH: Final = 160


def search(
    query: Annotated[str, typer.Argument(help="Words, or a question.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Hits at most.")] = 5,
    store: session.StoreFolder = None,
    embeddings_url: session.EmbeddingsUrl = None,
    model: session.Model = None,
    timeout: session.Patience = session.TIMEOUT,
    *,
    as_json: session.AsJson = False,
) -> None:
    """Find the passages that answer a query best."""
    if not query.strip():
        fail(Exit.USAGE, f"{query!r}: an empty query", "Say what to look for.")
    kept = session.folder(store)
    if not (kept / session.DOCUMENTS).exists():
        fail(Exit.INPUT, f"{kept} has no documents", "First: spanrun ingest PATH…")
    embedder = choose_embedder(kept, embeddings_url, model, timeout)
    with session.telemetry(kept):
        (hits,) = run(_search(embedder, kept, [query], k))
    if as_json:
        answer = {"query": query, "hits": [asdict(hit) for hit in hits]}
        console.give(json.dumps(answer))
    else:
        console.give(show(hits) if hits else "no hits")


async def _search(
    embedder: Embedder, folder: Path, queries: Sequence[str], k: int
) -> list[list[Hit]]:
    async with embedder, await open_store(embedder, folder) as store:
        return await find(embedder, store, queries, k)


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
        name = console.line(hit.title or hit.source)
        lines.append(f"  {rank}. {name}  ({console.line(hit.source)})")
        lines.append(f"     {console.line(hit.text, _WIDTH)}")
    return "\n".join(lines)
