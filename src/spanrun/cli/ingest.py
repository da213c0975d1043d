"""``spanrun ingest PATH…``: the user's files into the embedded store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import httpx
import typer

from spanrun.cli import session, summary
from spanrun.cli.session import Exit
from spanrun.clients.embeddings import Embeddings
from spanrun.errors import ConfigurationError
from spanrun.ingest.documents import Document, Skipped, read_documents
from spanrun.ingest.embedder import Embedder, LocalEmbedder
from spanrun.ingest.pipeline import Pipeline, Report
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.runner.bridge import run
from spanrun.stores.sqlite import SqliteStore
from spanrun.telemetry.observe import Observer

_SHOWN = 20


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    store: session.StoreFolder = None,
    embeddings_url: session.EmbeddingsUrl = None,
    model: session.Model = None,
    *,
    as_json: session.AsJson = False,
    no_progress: session.NoProgress = False,
) -> None:
    """Split, describe, embed and store text files (txt, md, rst, html).

    Unchanged files are not touched again. The same query model is used by
    `spanrun search`.
    """
    kept = session.folder(store)
    found = list(read_documents(paths))
    documents = [item for item in found if isinstance(item, Document)]
    skipped = [item for item in found if isinstance(item, Skipped)]
    for item in skipped[:_SHOWN]:
        typer.echo(f"skipped {item.source}: {item.reason}", err=True)
    if len(skipped) > _SHOWN:
        typer.echo(f"… and {len(skipped) - _SHOWN} more", err=True)
    if not documents:
        session.fail(
            Exit.INPUT,
            "there is nothing to ingest",
            "Name text files (txt, md, rst, html), or folders with some.",
        )
    with session.telemetry(kept) as telemetry:
        watching = session.observers(progress=not no_progress)
        embedder = choose_embedder(embeddings_url, model, watching)
        report = run(into_store(documents, embedder, kept, watching))
        told = summary.tell(telemetry, report, skipped, as_json=as_json)
        typer.echo(told)
        raise typer.Exit(_code(report, skipped))


async def into_store(
    documents: Sequence[Document],
    embedder: Embedder,
    folder: Path,
    watching: Sequence[Observer],
) -> Report:
    """The main job: documents through all stages, into ``folder``."""
    async with (
        embedder,
        await open_store(embedder, folder) as store,
    ):
        return await pipeline(embedder, store).arun(documents, observers=watching)


async def open_store(embedder: Embedder, folder: Path) -> SqliteStore:
    """The store of ``folder``, for the vectors of ``embedder``."""
    probe = await embedder.aget_query_embedding("dimension")
    folder.mkdir(parents=True, exist_ok=True)
    return SqliteStore(
        folder / session.DOCUMENTS, dimension=len(probe), model=embedder.model
    )


def pipeline(embedder: Embedder, store: SqliteStore) -> Pipeline:
    """The stages of the main job."""
    return Pipeline(
        [Split(), parallel(Title(), Summary()), Embed(embedder), Store(store)]
    )


def choose_embedder(
    url: str | None, model: str | None, watching: Sequence[Observer]
) -> Embedder:
    """The endpoint at ``url``, or without one what works in this process.

    Raises:
        ConfigurationError: A model without an endpoint, or the reverse.
    """
    if url is None:
        if model is not None:
            raise ConfigurationError(f"--model {model}: needs --embeddings-url as well")
        return LocalEmbedder(observers=watching)
    if model is None:
        raise ConfigurationError(f"--embeddings-url {url}: needs --model as well")
    return Embeddings(
        url, model=model, api_key=os.environ.get("EMBEDDING_KEY"), observers=watching
    )


def _code(report: Report, skipped: Sequence[Skipped]) -> Exit:
    errors = [failure.error for failure in report.failures]
    if errors and all(isinstance(e, httpx.TransportError) for e in errors):
        return Exit.UNREACHABLE
    named = any(item.kind == "missing" for item in skipped)
    return Exit.SOME_FAILED if errors or named else Exit.OK
