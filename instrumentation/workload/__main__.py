"""Four runners over services on the loopback: `make workload`.

    python -m instrumentation.workload [--jobs 1000] [--seed 1] [--solr URL]

| runner | over its service, in which 5 % are slow and 2 % fail | |
|---|---|---|
| `fetch` | as it is, and one job blocks the loop | so its p95 is what is slow |
| `paced` | with a rate limit | tokens are waited for |
| `hedged` | with a hedge | a second call is sent for what is slow |
| `broken` | with a breaker, and a service that is down for a while | it opens |

Then comes what else the dashboards show: `eventful.py`. Each answer of 500 is logged.
`OTEL_*` say where the telemetry goes; a tenth of the traces is drawn. What really
happened is printed in the end, as one JSON object: the truth for whoever asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx

import spanrun as sr
from instrumentation.workload.eventful import Events, Ledger
from instrumentation.workload.services import Services, fate
from spanrun.clients import Transport
from spanrun.recordings import RunEvent

RUNNERS = ("fetch", "paced", "hedged", "broken")
BLOCKED = 7
"""The job of `fetch` that blocks the loop."""
HOLD = 0.4  # seconds
PAUSE = 0.005  # seconds between two jobs of `broken`
CALLED: Counter[str] = Counter()
"""Calls of each runner's jobs, with the second ones of hedges."""
WARNED: Counter[str] = Counter()
"""Records that were logged, by runner."""
HEDGED: Counter[str] = Counter()
"""Events of `hedged`, by kind."""
CHANGED: Counter[str] = Counter()
"""Changes of the breaker of `broken`, by the new state."""
log = logging.getLogger("workload")


class Hedges(Ledger):
    """An observer that counts second calls."""

    def happened(self, event: RunEvent) -> None:
        HEDGED[event.kind] += 1


async def workload(jobs: int, seed: int) -> dict[str, Any]:
    """Run it; what happened, by runner."""
    services = Services(seed)
    transport = Transport()
    async with (
        services.open() as url,
        httpx.AsyncClient(base_url=url, transport=transport) as client,
    ):
        per_second = jobs / 4
        runners = {
            "fetch": sr.Runner("fetch", limit=16),
            "paced": sr.Runner(
                "paced", limit=16, rate=sr.RateLimit(per_second, burst=10)
            ),
            "hedged": sr.Runner(
                "hedged",
                limit=16,
                hedge=sr.Hedge("p90", share=0.1),
                observers=[Hedges()],
            ),
            "broken": sr.Runner(
                "broken",
                limit=4,
                breaker=sr.Breaker(
                    failures=10,
                    open_for=0.5,
                    on=httpx.HTTPStatusError,
                    on_change=lambda _, state: CHANGED.update([state]),
                ),
            ),
        }
        found = await asyncio.gather(
            *(
                outcomes(
                    runners[name], calling(client, name), items(name, services, jobs)
                )
                for name in RUNNERS
            )
        )
    return {
        name: truth(name, each, services)
        for name, each in zip(RUNNERS, found, strict=True)
    }


def calling(client: httpx.AsyncClient, name: str) -> Callable[[int], Awaitable[None]]:
    """The job of a runner."""

    async def call(number: int) -> None:
        CALLED[name] += 1
        answer = await client.get(f"/{name}/{number}")
        if answer.is_error:
            WARNED[name] += 1
            log.warning("%s answers %d", answer.url, answer.status_code)
        answer.raise_for_status()
        if name == "fetch" and number == BLOCKED:
            time.sleep(HOLD)  # noqa: ASYNC251 -- that is what is to be found

    return call


async def items(name: str, services: Services, jobs: int) -> AsyncGenerator[int]:
    """The numbers of a runner's jobs; its service goes and comes back meanwhile."""
    for number in range(jobs):
        if name == "broken":
            await asyncio.sleep(PAUSE)
            if number == jobs // 3:
                services.down.add(name)
            elif number == jobs // 2:
                services.down.discard(name)
        yield number


async def outcomes(
    runner: sr.Runner,
    call: Callable[[int], Awaitable[None]],
    numbers: AsyncGenerator[int],
) -> list[sr.Outcome[Any]]:
    """All of a runner's jobs."""
    async with runner:
        return await runner.map(call, numbers, errors="collect")


def truth(
    name: str, found: list[sr.Outcome[Any]], services: Services
) -> dict[str, Any]:
    """What happened in a runner."""
    failed = [each for each in found if isinstance(each, sr.Err)]
    good = [each for each in found if isinstance(each, sr.Ok)]
    kinds = [type(each.error) for each in failed]
    errors = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    phases: Counter[str] = Counter()
    for each in found:
        phases.update(dict(each.timings.phases()))
    fates = [fate(services.seed, name, each.index) for each in found]
    told = {
        "jobs": len(found),
        "ok": len(good),
        "errors": dict(errors),
        "failed": [each.index for each in failed],
        "durations": {each.index: round(each.timings.duration, 6) for each in good},
        "phases": {phase: round(spent, 6) for phase, spent in phases.items()},
        "slow": sum(slow for slow, _ in fates),
        "failing": sum(fails for _, fails in fates),
        "calls": CALLED[name],
        "port": services.port,
        "warned": WARNED[name],
    }
    if name == "fetch":
        told["blocked"] = BLOCKED
    if name == "hedged":
        told["hedges"] = HEDGED["hedge"]
    if name == "broken":
        told["changes"] = dict(CHANGED)
    return told


def main() -> None:
    """Configure, run, and print the truth."""
    parser = argparse.ArgumentParser(description="A workload to ask questions about.")
    parser.add_argument("--jobs", type=int, default=1_000, help="of each runner")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--solr", metavar="URL", help="of a core that takes documents")
    asked = parser.parse_args()
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "traceidratio")
    os.environ.setdefault("OTEL_TRACES_SAMPLER_ARG", "0.1")
    os.environ.setdefault("OTEL_SERVICE_NAME", "workload")
    sr.configure()
    found = sr.run(workload(asked.jobs, asked.seed))
    events = Events(solr=asked.solr)
    sr.run(events.run())
    delivered = sr.shutdown(120)
    others = events.ledger.jobs
    told = {"runners": found, "others": others, "delivered": delivered}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
