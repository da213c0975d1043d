"""What an outage of a service costs a long run: ``python -m bench.service_outage``.

In virtual time, so the figures are the same on each machine but for the draws: the
embeddings client with its defaults, 20,000 texts, and a service that refuses
connections for a while from second 1 on; and 2,000 jobs against 10 s of 503 that are
there at once, at several limits.
"""

from __future__ import annotations

import asyncio
import json
import logging

import httpx

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.errors import ServiceError
from spanrun.testing import FakeClock

LATENCY = 0.1
ROW = "{:<44}{:>8}{:>10}{:>10}{:>12}{:>8}"


class Service(httpx.AsyncBaseTransport):
    """Answers after `LATENCY`, but not for ``seconds`` from ``begins`` on."""

    def __init__(self, clock: FakeClock, begins: float, seconds: float) -> None:
        self.clock = clock
        self.begins = begins
        self.back = begins + seconds
        self.asked: list[float] = []

    def ask(self) -> bool:
        """Note a request; whether the service is there."""
        self.asked.append(self.clock.now())
        return not self.begins <= self.clock.now() < self.back

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.ask():
            raise httpx.ConnectError("refused")
        await asyncio.sleep(LATENCY)
        texts = json.loads(await request.aread())["input"]
        rows = [{"embedding": [1.0, 2.0]} for _ in texts]
        return httpx.Response(200, json={"data": rows})

    async def job(self, item: int) -> int:
        """A job of a runner's own."""
        there = self.ask()
        await asyncio.sleep(LATENCY)
        if not there:
            raise ServiceError("down", status=503)
        return item


def show(title: str, service: Service, jobs: int, lost: int) -> None:
    down = sum(service.begins <= at < service.back for at in service.asked)
    back = [at for at in service.asked if at >= service.back]
    recovered = f"{min(back) - service.back:.1f} s" if back else "never"
    print(ROW.format(title, jobs, len(service.asked), down, recovered, lost))


async def embed(clock: FakeClock, seconds: float, batch: int) -> None:
    service = Service(clock, 1, seconds)
    texts = [f"text {n}" for n in range(20_000)]
    async with Embeddings(
        "http://host/v1", model="m", batch=batch, transport=service, clock=clock
    ) as embeddings:
        try:
            vectors = await embeddings.aget_text_embedding_batch(texts)
            lost = len(texts) - len(vectors)
        except ServiceError as error:
            lost = (error.partial or []).count(None)
    title = f"20,000 texts, {batch} a request, {seconds:g} s gone"
    show(title, service, -(-len(texts) // batch), lost)


async def plain(clock: FakeClock, seconds: float, limit: int, retry: sr.Retry) -> None:
    service = Service(clock, 0, seconds)
    async with sr.Runner("jobs", limit=limit, retry=retry, clock=clock) as runner:
        ends = await runner.map(service.job, range(2_000), errors="collect")
    lost = sum(isinstance(each, sr.Err) for each in ends)
    outage = f"outage={retry.outage:g}" if retry.outage else "no outage="
    show(f"2,000 jobs, limit {limit}, {outage}", service, 2_000, lost)


def main() -> None:
    logging.disable()
    print(ROW.format("", "jobs", "requests", "of them", "the first", "lost"))
    print(ROW.format("", "", "", "in vain", "after it", ""))
    for seconds, batch in ((3, 64), (60, 64), (60, 1), (90, 64)):
        clock = FakeClock()
        clock.run(embed(clock, seconds, batch))
    for limit in (8, 64, 2_000):
        for outage in (None, 60.0):
            clock = FakeClock()
            retry = sr.Retry(on=ServiceError, attempts=5, cap=5, outage=outage)
            clock.run(plain(clock, 10, limit, retry))


if __name__ == "__main__":
    main()
