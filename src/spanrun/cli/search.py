"""``spanrun search QUERY``: by vector and by words, over what was ingested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spanrun.cli import console, session
from spanrun.cli.exits import Exit, fail
from spanrun.cli.ingest import choose_embedder, open_store
from spanrun.ingest.embedder import Embedder
from spanrun.ingest.retrieval import Answer, aquery, aretrieve
from spanrun.runner.bridge import run
from spanrun.stores.base import Hit, VectorStore
from spanrun.text import one_line

_STORE: Final = "documents"
_WIDTH: Final = 160
_ANSWER: Final = 2_000


def search(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="Words, or a question.")
    ],
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=1000, help="Hits at most.")
    ] = 5,
    store: session.StoreFolder = None,
    embeddings_url: session.EmbeddingsUrl = None,
    model: session.Model = None,
    timeout: session.Patience = session.TIMEOUT,
    *,
    answer: Annotated[
        bool,
        typer.Option("--answer", help="Sentences that answer, and the cited hits."),
    ] = False,
    as_json: session.AsJson = False,
) -> None:
    """Find the passages that answer a query best.

    With --answer their sentences that have most of the query's words come first.
    """
    if not query.strip():
        fail(Exit.USAGE, f"{query!r}: an empty query", "Say what to look for.")
    kept = session.folder(store)
    if not (kept / session.DOCUMENTS).exists():
        fail(Exit.INPUT, f"{kept} has no documents", "First: spanrun ingest PATH…")
    embedder = choose_embedder(kept, embeddings_url, model, timeout)
    with session.telemetry(kept):
        found = run(_query(embedder, kept, query, k))
    hits = found.retrieved.hits
    if as_json:
        told: dict[str, Any] = {"query": query, "hits": [asdict(hit) for hit in hits]}
        if answer:
            told |= {"answer": found.text, "citations": list(found.citations)}
        console.give(json.dumps(told))
        return
    if answer and found.text:
        console.give(f"{one_line(found.text, _ANSWER)}\n")
    console.give(show(hits) if hits else "no hits")


async def _query(embedder: Embedder, folder: Path, query: str, k: int) -> Answer:
    async with embedder, await open_store(embedder, folder) as store:
        return await aquery(query, {_STORE: store}, k, embedder=embedder)


async def find(
    embedder: Embedder, store: VectorStore, queries: Sequence[str], k: int
) -> list[list[Hit]]:
    """The hits of each query; the queries run at the same time."""
    found = await aretrieve(queries, {_STORE: store}, k, embedder=embedder)
    return [list(each.hits) for each in found]


def show(hits: Sequence[Hit]) -> str:
    """Hits as lines: rank, title and source, then the beginning of the passage.

    They are the user's own documents: nothing in them is hidden.
    """
    lines: list[str] = []
    for rank, hit in enumerate(hits, 1):
        name = one_line(hit.title or hit.source)
        lines.append(f"  {rank}. {name}  ({one_line(hit.source)})")
        lines.append(f"     {one_line(hit.text, _WIDTH)}")
    return "\n".join(lines)
