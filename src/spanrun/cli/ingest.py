"""``spanrun ingest PATH…``: the user's files into the embedded store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from spanrun.cli import console, session, summary
from spanrun.cli.exits import AGAIN, Exit, explain, fail
from spanrun.clients.embeddings import Embeddings
from spanrun.ingest.documents import Skipped, gone
from spanrun.ingest.embedder import Embedder, LocalEmbedder
from spanrun.ingest.files import Files
from spanrun.ingest.pipeline import Pipeline, Report
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.policies.timeout import Timeout
from spanrun.runner.bridge import run
from spanrun.stores.sqlite import SqliteStore, stored_as
from spanrun.telemetry.observe import Observer

_SHOWN: Final = 20
_LOST: Final = ("binary", "encoding", "missing", "too_large", "unreadable")
"""Kinds of `Skipped` that somebody will miss; the others are no texts."""


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files and folders.")
    ],
    store: session.StoreFolder = None,
    embeddings_url: session.EmbeddingsUrl = None,
    model: session.Model = None,
    timeout: session.Patience = session.TIMEOUT,
    *,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is no longer in the folders.")
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="Read what symbolic links in folders lead to, wherever that is.",
        ),
    ] = False,
    as_json: session.AsJson = False,
    no_progress: session.NoProgress = False,
) -> None:
    """Split, describe, embed and store text files.

    They are txt, md, rst and html. Unchanged files are not touched again. What can't
    be read is named with the reason, and costs itself alone; so is a symbolic link in
    a folder that leads out of it, without --follow-links. `spanrun search` needs the
    same model.

    With --prune the documents of files that lay in the named folders, and are not
    there any more, are removed from the store.
    """
    kept = session.folder(store)
    watching = session.observers(progress=not no_progress)
    embedder = choose_embedder(kept, embeddings_url, model, timeout, watching)
    files = _look(Files(paths, follow_links=follow_links))
    with session.telemetry(kept) as telemetry:
        left = paths if prune else ()
        report = run(_ingest(files, embedder, kept, watching, left))
    console.give(summary.tell(telemetry, report, files.skipped, as_json=as_json))
    _end(report, [item for item in files.skipped if item.kind in _LOST])


def _look(files: Files) -> Files:
    skipped = files.skipped
    for item in skipped[:_SHOWN]:
        console.say(console.line(f"skipped {item.source}: {item.reason}"))
    if len(skipped) > _SHOWN:
        console.say(f"… and {len(skipped) - _SHOWN} more; --json has them all")
    if not files:
        fail(
            Exit.INPUT,
            "there is nothing to ingest",
            "Name text files (txt, md, rst, html), or folders with some.",
        )
    return files


async def _ingest(
    files: Files,
    embedder: Embedder,
    folder: Path,
    watching: Sequence[Observer],
    left: Sequence[Path],
) -> Report:
    async with embedder, await open_store(embedder, folder) as store:
        report = await pipeline(embedder, store).arun(files, observers=watching)
        if left:
            kept = await store.content_hashes()
            report.pruned = await store.delete(
                await asyncio.to_thread(gone, kept, left)
            )
        return report


async def open_store(embedder: Embedder, folder: Path) -> SqliteStore:
    """The store of ``folder``, for the vectors of ``embedder``.

    Where nobody knows yet how long these are, one is made to see.
    """
    dimension = embedder.dimension
    if dimension is None:
        dimension = len(await embedder.aget_query_embedding("dimension"))
    return SqliteStore(folder / session.DOCUMENTS, dimension, embedder.model)


def pipeline(embedder: Embedder, store: SqliteStore) -> Pipeline:
    """The stages of the main job."""
    return Pipeline(
        [Split(), parallel(Title(), Summary()), Embed(embedder), Store(store)]
    )


def choose_embedder(
    folder: Path,
    url: str | None,
    model: str | None,
    timeout: float,
    watching: Sequence[Observer] = (),
) -> Embedder:
    """The endpoint at ``url``, or without one what works in this process.

    What is in ``folder`` already must have been made by the same model.
    """
    if (url is None) != (model is None):
        given, missing = ("--model", "--embeddings-url")[:: 1 if url is None else -1]
        fail(
            Exit.USAGE, f"{given} {model or url}: not alone", f"Add {missing} as well."
        )
    kept = stored_as(folder / session.DOCUMENTS)
    if url is None or model is None:
        embedder: Embedder = LocalEmbedder(observers=watching)
    else:
        embedder = Embeddings(
            url,
            model=model,
            api_key=os.environ.get("EMBEDDING_KEY", "").strip() or None,
            dimension=kept.dimension if kept else None,
            timeout=Timeout(attempt=timeout, total=4 * timeout),
            observers=watching,
        )
    if kept is not None and kept.model != embedder.model:
        fail(
            Exit.CONFIGURATION,
            f"{folder} has vectors of {kept.model!r}, not of {embedder.model!r}",
            "Use that model, by --embeddings-url and --model, or another --store.",
        )
    return embedder


def _end(report: Report, lost: Sequence[Skipped]) -> NoReturn:
    """Exit with what became of the documents."""
    if report.failures:
        _end_failed(report)
    if lost:
        fail(
            Exit.SOME_FAILED,
            f"{_count(len(lost), 'file')} could not be read, among them "
            f"{lost[0].source}: {lost[0].reason}",
            "Put that right and run the same command again.",
        )
    sys.exit(Exit.OK)


def _end_failed(report: Report) -> NoReturn:
    what = f"{_count(len(report.failures), 'document')} could not be stored"
    told = [explain(failure.error) for failure in report.failures]
    first = told[0]
    if first is None or len({each and each.code for each in told}) > 1:
        fail(Exit.SOME_FAILED, what, AGAIN)
    code = first.code
    if code is Exit.CONFIGURATION and (report.stored or report.unchanged):
        code = Exit.SOME_FAILED  # for others it can work
    fail(code, f"{what}: {first.what}", first.to_do)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
