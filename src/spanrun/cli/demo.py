"""``spanrun demo``: the main job on real text, with a real and imperfect service."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spanrun.cli import console, session, summary
from spanrun.cli.exits import Exit
from spanrun.cli.ingest import open_store, pipeline
from spanrun.cli.search import find, show
from spanrun.clients.embeddings import Embeddings
from spanrun.ingest.documents import topics
from spanrun.ingest.pipeline import Report
from spanrun.runner.bridge import run
from spanrun.stores.base import Hit
from spanrun.telemetry.observe import Observer
from spanrun.testing.embedding_server import EmbeddingServer

QUERIES: Final = (
    "what makes an object awaitable",
    "how do I raise an exception",
    "integer literal syntax",
)


def demo(
    store: session.StoreFolder = None,
    *,
    as_json: session.AsJson = False,
    no_progress: session.NoProgress = False,
) -> None:
    """Ingest and search real text, and show where the time went.

    The text is Python's language reference. The embeddings come over HTTP from a
    server on loopback that the demo starts itself. It is slow, limits the rate and
    fails now and then, as real ones do.
    """
    watching = session.observers(progress=not no_progress)
    with (
        session.telemetry(session.folder(store)) as telemetry,
        EmbeddingServer(rate_limited=0.06, unavailable=0.04) as server,
        tempfile.TemporaryDirectory(prefix="spanrun-demo-") as folder,
    ):
        report, hits = run(_demo(server, Path(folder), watching))
    if not as_json:
        for query, found in hits.items():
            console.give(f"\n? {query}\n{show(found)}")
        console.give("")
    console.give(summary.tell(telemetry, report, (), as_json=as_json, hits=hits))
    sys.exit(Exit.SOME_FAILED if report.failures else Exit.OK)


async def _demo(
    server: EmbeddingServer, folder: Path, watching: Sequence[Observer]
) -> tuple[Report, dict[str, list[Hit]]]:
    url, model = f"{server.url}/v1", server.model
    async with (
        Embeddings(url, model=model, batch=16, observers=watching) as embeddings,
        await open_store(embeddings, folder) as store,
    ):
        stages = pipeline(embeddings, store)
        report = await stages.arun(topics(), observers=watching)
        found = await find(embeddings, store, QUERIES, k=2)
    return report, dict(zip(QUERIES, found, strict=True))
