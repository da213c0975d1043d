"""What a pipeline saves: ``python -m bench.ingest``.

The chapters of Python's language reference are split, described, embedded by a service
in another process, and stored in SQLite: one after another by a plain loop, and by
pipelines of more and more workers. Every run has a new store; the order of the
contestants is another one in each round. ``--write`` puts the tables into the docs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.report import _spread as spread
from bench.report import _table as table
from bench.report import machine

from spanrun.clients.embeddings import Embeddings
from spanrun.ingest.documents import Document, read_documents, topics
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.stores.base import Chunk
from spanrun.stores.sqlite import SqliteStore
from spanrun.testing import EmbeddingServer

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "ingest-files.md"
BEGIN = "<!-- measured: begin (python -m bench.ingest --write) -->"
END = "<!-- measured: end -->"
BATCH, MODEL, DIMENSION = 16, "bench", 32


@dataclass(frozen=True)
class Contestant:
    """A way to ingest: ``workers`` 0 is the plain loop."""

    title: str
    workers: int
    requests: int


CONTESTANTS = (
    Contestant("a loop: one document, one request after another", 0, 1),
    Contestant("pipeline, 1 worker a stage, 1 request at a time", 1, 1),
    Contestant("pipeline, 4 workers, 4 requests", 4, 4),
    Contestant("pipeline, 4 workers, 16 requests", 4, 16),
)


@dataclass
class Run:
    """One measurement."""

    seconds: float
    again: float
    chunks: int
    requests: int
    repeated: int
    stages: Counter[str]


class Stages:
    """An observer that sums up how long the jobs of each stage took, waits apart."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def run_opened(self, run) -> None:
        """Nothing."""

    def run_closed(self, run) -> None:
        """Nothing."""

    def job_ended(self, run, outcome) -> None:
        """Add it up."""
        timings = outcome.timings
        self.seconds[run.runner] += timings.busy + timings.service


async def loop(documents, embeddings, store) -> int:
    """What one writes first."""
    split, title, summary = Split(), Title(), Summary()
    hashes, chunks = await store.content_hashes(), 0
    for document in documents:
        if hashes.get(document.id) == document.content_hash:
            continue
        parts = (await split(document))["chunks"]
        texts, vectors = [chunk.text for chunk in parts], []
        for at in range(0, len(texts), BATCH):
            batch = texts[at : at + BATCH]
            vectors += await embeddings.runner.call(embeddings.embed, batch)
        await store.upsert(
            document.id,
            content_hash=document.content_hash,
            source=document.source,
            title=(await title(document)).get("title"),
            summary=(await summary(document))["summary"],
            chunks=[
                Chunk(chunk.document_id, chunk.index, chunk.text, vector)
                for chunk, vector in zip(parts, vectors, strict=True)
            ],
        )
        chunks += len(parts)
    return chunks


async def ingest(contestant, documents, embeddings, store, observers) -> int:
    """One run; returns the number of chunks that were stored."""
    if not contestant.workers:
        return await loop(documents, embeddings, store)
    pipeline = Pipeline(
        [Split(), parallel(Title(), Summary()), Embed(embeddings), Store(store)]
    )
    done = await pipeline.arun(
        documents, num_workers=contestant.workers, observers=observers
    )
    assert not done.failures
    return done.chunks


class Counted:
    """An embedder that counts its requests, and the seconds that they took."""

    def __init__(self, embeddings) -> None:
        self.model, self.dimension = MODEL, DIMENSION
        self.batch, self.runner = embeddings.batch, embeddings.runner
        self.requests, self.seconds = 0, 0.0
        self._embeddings = embeddings

    async def embed(self, texts):
        """One request."""
        self.requests += 1
        began = time.perf_counter()
        try:
            return await self._embeddings.embed(texts)
        finally:
            self.seconds += time.perf_counter() - began


async def measure(contestant, documents, url) -> Run:
    """A first run, and a second one over the same store."""
    stages = Stages()
    with tempfile.TemporaryDirectory(prefix="spanrun-bench-") as folder:
        async with (
            Embeddings(
                url, model=MODEL, batch=BATCH, limit=contestant.requests
            ) as embeddings,
            SqliteStore(Path(folder) / "store.db", DIMENSION, MODEL) as store,
        ):
            embedder = Counted(embeddings)
            began = time.perf_counter()
            chunks = await ingest(contestant, documents, embedder, store, [stages])
            seconds, requests = time.perf_counter() - began, embedder.requests
            stages.seconds["embed"] = embedder.seconds
            began = time.perf_counter()
            await ingest(contestant, documents, embedder, store, ())
            again = time.perf_counter() - began
    repeated = embedder.requests - requests
    return Run(seconds, again, chunks, requests, repeated, stages.seconds)


def serve(latency: float) -> None:
    """Be the service, until standard input ends."""

    def embed(texts):
        vectors = [
            [1.0 + len(text) % (n + 2) for n in range(DIMENSION)] for text in texts
        ]
        return vectors, sum(map(len, texts)) // 4

    with EmbeddingServer(
        embed=embed, latency=latency, jitter=0, rate_limited=0, unavailable=0
    ) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def measured(documents, rounds: int, latency: float) -> dict[Contestant, list[Run]]:
    """All runs of each contestant."""
    runs: dict[Contestant, list[Run]] = {each: [] for each in CONTESTANTS}
    command = [
        sys.executable,
        "-m",
        "bench.ingest",
        "--serve",
        "--latency",
        str(latency),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        url = f"{server.stdout.readline().strip()}/v1"
        asyncio.run(measure(CONTESTANTS[-1], documents[:4], url))  # warm
        for number in range(rounds):
            order = random.Random(number).sample(CONTESTANTS, len(CONTESTANTS))
            for contestant in order:
                run = asyncio.run(measure(contestant, documents, url))
                runs[contestant].append(run)
                print(f"  {contestant.title}: {run.seconds:.2f} s", file=sys.stderr)
        server.stdin.close()
    return runs


def text(documents, runs, command: str, latency: float) -> str:
    """The tables, as Markdown."""
    about = machine()
    some = next(iter(runs.values()))
    size = sum(len(document.text) for document in documents) / 1e6
    place = f"{about['system']}, {about['cores']} cores, {about['processor']}"
    work = (
        f"{len(documents)} documents, {size:.1f} MB, {some[0].chunks:,} chunks. "
        f"Requests of {BATCH} texts, to a service that takes {latency * 1e3:.0f} ms "
        f"and 0.2 ms a text. {len(some)} rounds, median (range)."
    )
    stages = (
        "Seconds of work in each stage, summed over its workers, and how many were at "
        "work at once, in the mean:"
    )
    return "\n\n".join(
        [
            f"`{command}` · {about['python']} · {place}",
            work,
            table(["", "seconds", "faster", "second run", "its requests"], ways(runs)),
            stages,
            table(
                ["pipeline with", "split", "extract", "embed", "store", "at once"],
                parts(runs),
            ),
        ]
    )


def ways(runs) -> list[list[str]]:
    """How long each took, beside the loop in the same round."""
    base = [run.seconds for run in runs[CONTESTANTS[0]]]
    rows = []
    for contestant, each in runs.items():
        ratios = [first / run.seconds for first, run in zip(base, each, strict=True)]
        rows.append(
            [
                contestant.title,
                spread([run.seconds for run in each], 2),
                f"{median(ratios):.1f} ×",
                f"{median(run.again for run in each) * 1e3:.0f} ms",
                str(max(run.repeated for run in each)),
            ]
        )
    return rows


def parts(runs) -> list[list[str]]:
    """Where each pipeline's time went."""
    rows = []
    for contestant, each in runs.items():
        if contestant.workers:
            seconds = [
                median(run.stages[name] for run in each)
                for name in ("split", "extract", "embed", "store")
            ]
            at_once = median(sum(run.stages.values()) / run.seconds for run in each)
            title = contestant.title.removeprefix("pipeline, ")
            rows.append([title, *(f"{n:.2f}" for n in seconds), f"{at_once:.1f}"])
    return rows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files and folders in place of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.05, help="of the service, s")
    parser.add_argument("--write", action="store_true", help="into the docs")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.latency)
        return
    documents = topics()
    if options.paths:
        found = read_documents(options.paths)
        documents = [each for each in found if isinstance(each, Document)]
    runs = measured(documents, options.rounds, options.latency)
    command = " ".join(["python -m bench.ingest", *sys.argv[1:]])
    tables = text(documents, runs, command, options.latency)
    print(tables)
    if options.write:
        page = PAGE.read_text("utf-8")
        before, rest = page.split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
