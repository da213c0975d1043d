"""A run in which all happens that a dashboard shows; or, with `--clean`, nothing bad.

    python -m instrumentation.workload.eventful [--clean] [--solr URL]

Started as a program of its own, with `OTEL_*` telling where telemetry goes, it ends
with one JSON object: the ledger of all its jobs, for the tests to compare with. The
workload runs it after its own runners.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opentelemetry import metrics

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import StoreError
from spanrun.stores import Chunk, SqliteStore
from spanrun.telemetry.observe import RunInfo
from spanrun.testing import EmbeddingServer

TEXTS = [f"Sentence number {number} about sailing." for number in range(240)]
FETCHES = range(160)


class Ledger:
    """An observer that adds up what the outcomes say of themselves."""

    def __init__(self) -> None:
        self.jobs: Counter[str] = Counter()
        self.phases: defaultdict[str, float] = defaultdict(float)

    def run_opened(self, run: RunInfo) -> None: ...

    def run_closed(self, run: RunInfo) -> None: ...

    def job_ended(self, run: RunInfo, outcome: sr.Outcome[Any]) -> None:
        self.jobs["ok" if isinstance(outcome, sr.Ok) else "err"] += 1
        for phase, seconds in outcome.timings.phases():
            self.phases[phase] += seconds


class Events:
    """All that happens.

    Args:
        clean: Nothing bad does.
        solr: The URL of a core that takes documents, which is then asked, too.
    """

    def __init__(self, *, clean: bool = False, solr: str | None = None) -> None:
        self.clean = clean
        self.solr = solr
        self.ledger = Ledger()

    async def run(self) -> None:
        """Have all of it happen."""
        faults = (0, 0) if self.clean else (0.2, 0.1)
        with EmbeddingServer(rate_limited=faults[0], unavailable=faults[1]) as server:
            await asyncio.gather(
                self.embed(f"{server.url}/v1", server.model),
                self.fetch_all(),
                self.block(),
                self.guard(),
                self.fetch_as_another_library(),
                self.store(),
                *([self.index(self.solr)] if self.solr else ()),
            )

    @sr.instrumented
    async def fetch(self, number: int) -> int:
        await asyncio.sleep(0.05)
        if self.clean:
            return number
        if number % 10 == 3:
            raise ConnectionResetError(number)  # retried, in vain
        if number % 40 == 7:
            raise LookupError(number)
        if number % 40 == 21:
            await asyncio.sleep(5)  # runs out of time
        return number

    async def hold_the_loop(self, number: int) -> None:
        if not self.clean:
            time.sleep(0.25)  # noqa: ASYNC251 -- that is the fault to be seen
        await asyncio.sleep(0.05)

    async def embed(self, url: str, model: str) -> None:
        async with Embeddings(
            url, model=model, batch=8, observers=[self.ledger]
        ) as client:
            for third in (TEXTS[:80], TEXTS[80:160], TEXTS[160:]):
                await client.runner.map_batches(
                    client.embed, third, size=8, errors="collect"
                )
                # A client's series is in a rate from its second export on.
                await asyncio.sleep(0.5)

    async def fetch_all(self) -> None:
        async with sr.Runner(
            "retried",
            limit=16,
            rate=sr.RateLimit(40),
            retry=sr.Retry(on=ConnectionError, attempts=2, base=0.05, cap=0.2),
            timeout=sr.Timeout(attempt=0.5),
            observers=[self.ledger],
        ) as runner:
            halves = FETCHES[::2], FETCHES[1::2]
            await asyncio.gather(
                *(runner.map(self.fetch, half, errors="collect") for half in halves)
            )

    async def ask(self, number: int) -> None:
        await asyncio.sleep(0.02 if self.clean or number % 9 else 0.2)
        if not self.clean and 100 <= number < 120:
            raise ConnectionResetError(number)  # the breaker opens

    async def guard(self) -> None:
        async with sr.Runner(
            "guard",
            limit=sr.AdaptiveLimit(start=2, max=8),
            hedge=sr.Hedge(at=0.1, share=0.2),
            breaker=sr.Breaker(failures=3, ratio=0, open_for=0.2),
            observers=[self.ledger],
        ) as runner:
            await runner.map(self.ask, range(400), errors="collect")

    async def block(self) -> None:
        async with sr.Runner("block", limit=2, observers=[self.ledger]) as runner:
            await runner.map(self.hold_the_loop, range(8))

    async def index(self, url: str) -> None:
        documents = [
            {"id": str(number), "text": text} for number, text in enumerate(TEXTS)
        ]
        async with AsyncSolrClient(url, observers=[self.ledger]) as solr:
            await solr.add(documents)
            await solr.commit()
            for _ in range(8):
                await solr.search_text("sailing", ["text"])
                if not self.clean:
                    with contextlib.suppress(StoreError):
                        await solr.search({"q": "nowhere:1"})
                await asyncio.sleep(0.5)

    async def store(self) -> None:
        with TemporaryDirectory() as folder:
            async with SqliteStore(Path(folder) / "store.db", 2, "none") as store:
                for number, text in enumerate(TEXTS[:8]):
                    chunk = Chunk(str(number), 0, text, (1.0, float(number)))
                    await store.upsert(
                        str(number),
                        content_hash=text,
                        source=text,
                        title=None,
                        summary=None,
                        chunks=[chunk],
                    )
                    await store.search((1.0, 0.0), "sailing")
                    await asyncio.sleep(0.5)

    async def fetch_as_another_library(self) -> None:
        """What OpenTelemetry's own instrumentation reports, by the old convention."""
        meter = metrics.get_meter("opentelemetry.instrumentation.requests")
        took = meter.create_histogram("http.client.duration", unit="ms")
        for _ in range(8):
            peer = {"net.peer.name": "127.0.0.1", "net.peer.port": 80}
            took.record(20, {**peer, "http.status_code": 200})
            await asyncio.sleep(0.5)


def main() -> None:
    """Configure, run, and print the ledger."""
    parser = argparse.ArgumentParser(description="A run in which all happens.")
    parser.add_argument("--clean", action="store_true", help="nothing bad happens")
    parser.add_argument("--solr", metavar="URL", help="of a core that takes documents")
    asked = parser.parse_args()
    sr.configure()
    events = Events(clean=asked.clean, solr=asked.solr)
    sr.run(events.run())
    if not sr.shutdown(120):  # a slow machine sends as much
        raise SystemExit("not everything was delivered")
    print(json.dumps({"jobs": events.ledger.jobs, "phases": events.ledger.phases}))


if __name__ == "__main__":
    main()
