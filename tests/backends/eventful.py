"""A run in which all happens that a dashboard shows; or, with `--clean`, nothing bad.

    python tests/backends/eventful.py [--clean] [--solr URL]

Started as a program of its own, with `OTEL_*` telling where telemetry goes. It ends
with one JSON object: the ledger of all its jobs, for the tests to compare with.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from typing import Any

from opentelemetry import metrics

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import StoreError
from spanrun.telemetry.observe import RunInfo
from spanrun.testing import EmbeddingServer

parser = argparse.ArgumentParser(description="A run in which all happens.")
parser.add_argument("--clean", action="store_true", help="nothing bad happens")
parser.add_argument("--solr", metavar="URL", help="of a core that takes documents")
OPTIONS = parser.parse_args()
CLEAN: bool = OPTIONS.clean

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


@sr.instrumented
async def fetch(number: int) -> int:
    await asyncio.sleep(0.05)
    if CLEAN:
        return number
    if number % 10 == 3:
        raise ConnectionResetError(number)  # retried, in vain
    if number % 40 == 7:
        raise LookupError(number)
    if number % 40 == 21:
        await asyncio.sleep(5)  # runs out of time
    return number


async def hold_the_loop(number: int) -> None:
    if not CLEAN:
        time.sleep(0.25)  # noqa: ASYNC251 -- that is the fault to be seen
    await asyncio.sleep(0.05)


async def embed(url: str, model: str, ledger: Ledger) -> None:
    async with Embeddings(url, model=model, batch=8, observers=[ledger]) as client:
        for third in (TEXTS[:80], TEXTS[80:160], TEXTS[160:]):
            await client.runner.map_batches(
                client.embed, third, size=8, errors="collect"
            )
            await asyncio.sleep(
                0.5
            )  # a client's series is in a rate from its 2nd export


async def fetch_all(ledger: Ledger) -> None:
    async with sr.Runner(
        "fetch",
        limit=16,
        rate=sr.RateLimit(40),
        retry=sr.Retry(on=ConnectionError, attempts=2, base=0.05, cap=0.2),
        timeout=sr.Timeout(attempt=0.5),
        observers=[ledger],
    ) as runner:
        halves = FETCHES[::2], FETCHES[1::2]
        await asyncio.gather(
            *(runner.map(fetch, half, errors="collect") for half in halves)
        )


async def ask(number: int) -> None:
    await asyncio.sleep(0.02 if CLEAN or number % 9 else 0.2)
    if not CLEAN and 100 <= number < 120:
        raise ConnectionResetError(number)  # the breaker opens


async def guard(ledger: Ledger) -> None:
    async with sr.Runner(
        "guard",
        limit=sr.AdaptiveLimit(start=2, max=8),
        hedge=sr.Hedge(at=0.1, share=0.2),
        breaker=sr.Breaker(failures=3, ratio=0, open_for=0.2),
        observers=[ledger],
    ) as runner:
        await runner.map(ask, range(400), errors="collect")


async def block(ledger: Ledger) -> None:
    async with sr.Runner("block", limit=2, observers=[ledger]) as runner:
        await runner.map(hold_the_loop, range(8))


async def index(url: str, ledger: Ledger) -> None:
    documents = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    async with AsyncSolrClient(url, observers=[ledger]) as solr:
        await solr.add(documents)
        await solr.commit()
        for _ in range(8):
            await solr.search_text("sailing", ["text"])
            if not CLEAN:
                with contextlib.suppress(StoreError):
                    await solr.search({"q": "nowhere:1"})
            await asyncio.sleep(0.5)


async def fetch_as_another_library() -> None:
    """What an instrumentation of OpenTelemetry's own reports, by the old convention."""
    meter = metrics.get_meter("opentelemetry.instrumentation.requests")
    took = meter.create_histogram("http.client.duration", unit="ms")
    for _ in range(8):
        peer = {"net.peer.name": "127.0.0.1", "net.peer.port": 80}
        took.record(20, {**peer, "http.status_code": 200})
        await asyncio.sleep(0.5)


async def main() -> None:
    ledger = Ledger()
    faults = (0, 0) if CLEAN else (0.2, 0.1)
    with EmbeddingServer(rate_limited=faults[0], unavailable=faults[1]) as server:
        await asyncio.gather(
            embed(f"{server.url}/v1", server.model, ledger),
            fetch_all(ledger),
            block(ledger),
            guard(ledger),
            fetch_as_another_library(),
            *([index(OPTIONS.solr, ledger)] if OPTIONS.solr else ()),
        )
    if not sr.shutdown(120):  # a slow machine sends as much
        raise SystemExit("not everything was delivered")
    print(json.dumps({"jobs": ledger.jobs, "phases": ledger.phases}))  # noqa: T201 -- for the test


sr.configure()
sr.run(main())
