"""Promises 1 and 4 while a collector, a Solr and an embedding service restart.

All three are real, each behind a proxy that ends its connections and refuses new ones
for a while, as a restart does. When that is, is drawn by a seed, and counted in jobs.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from instrumentation.backends import servers
from tests import solr
from tests.backends.conftest import needs
from tests.backends.test_solr_faults import Proxy

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.telemetry import setup
from spanrun.testing import EmbeddingServer

pytestmark = pytest.mark.foreign_clock
solr_server, solr_url = solr.solr_server, solr.solr_url

JOBS = 10_000 if os.environ.get("SPANRUN_SOAK") else 1_000
RESTARTS = 4
"""Of each server."""
AWAY = 40
"""Jobs that begin, or attempts that fail, until a server is there again."""
EACH = 10
"""Of so many jobs one adds a document."""


class Restarts:
    """Restarts servers, at numbers of events that are drawn by a seed."""

    def __init__(self, proxies: dict[str, Proxy]) -> None:
        chance = random.Random(22)
        self._proxies = proxies
        self._events = 0
        self._at: Counter[int] = Counter()
        self._plan: dict[int, list[tuple[str, bool]]] = {}
        for name in proxies:
            step = JOBS // RESTARTS
            for first in range(0, JOBS, step):
                begins = first + chance.randrange(1, step - AWAY)
                self._plan.setdefault(begins, []).append((name, False))
                self._plan.setdefault(begins + AWAY, []).append((name, True))

    def event(self) -> None:
        """A job begins, or an attempt fails."""
        self._events += 1
        for name, up in self._plan.pop(self._events, ()):
            self._proxies[name].set(up=up)

    def failed(self, error: Exception) -> bool:
        """Whether another attempt is worth it."""
        self.event()
        return isinstance(error, sr.ServiceError | httpx.TransportError)


@pytest.fixture
def proxies(solr_url: str) -> Iterator[dict[str, Proxy]]:
    needs("toxiproxy")
    needs("otelcol")
    with ExitStack() as stack:
        api = stack.enter_context(servers.toxiproxy()).url
        collector = stack.enter_context(servers.collector())
        embed = lambda texts: ([[float(len(text))] for text in texts], len(texts))
        service = stack.enter_context(
            EmbeddingServer(
                embed=embed,
                latency=0,
                jitter=0,
                rate_limited=0,
                unavailable=0,
            )
        )
        targets = {
            "collector": collector.otlp_http,
            "embeddings": service.url,
            "solr": solr_url,
        }
        made = {name: Proxy(api, url, name) for name, url in targets.items()}
        for proxy in made.values():
            stack.callback(proxy.remove)
        yield made


async def jobs(proxies: dict[str, Proxy], restarts: Restarts) -> list[Any]:
    retry = sr.Retry(on=restarts.failed, attempts=200, base=0.01, cap=0.05, budget=None)
    url = f"{proxies['embeddings'].url}v1"
    async with (
        Embeddings(url, model="m", batch=1, retry=retry) as embeddings,
        AsyncSolrClient(proxies["solr"].url, retry=retry) as client,
        sr.Runner("jobs", limit=16) as runner,
    ):

        async def job(number: int) -> float:
            restarts.event()
            (vector,) = await embeddings.aget_text_embedding_batch(["x" * number])
            if number % EACH == 0:
                await client.add([{"id": f"job {number}"}])
            return vector[0]

        found = await runner.map(job, range(1, JOBS + 1), errors="collect")
        await client.commit()
        kept = await client.search({"q": "*:*", "rows": 0})
    assert kept.response.num_found == JOBS // EACH
    return found


def test_jobs_outlast_servers_that_restart(
    proxies: dict[str, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPANRUN_SPOOL", str(tmp_path / "spool"))
    sr.configure(endpoint=proxies["collector"].url, store="none")
    try:
        found = sr.run(jobs(proxies, Restarts(proxies)))
        telemetry = setup.telemetry()
        assert telemetry is not None
    finally:
        sr.shutdown(timeout=60)
    errors = [str(each.error) for each in found if isinstance(each, sr.Err)]
    assert not errors[:3]
    values = [each.value for each in found]
    assert values == [float(number) for number in range(1, JOBS + 1)]
    account = telemetry.account
    assert account.produced["traces"] > JOBS
    assert account.produced["traces"] == (
        account.delivered["traces"] + account.spooled["traces"]
    )
    assert not account.dropped
