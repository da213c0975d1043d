"""Four runners over services on the loopback: `make workload`.

    python -m instrumentation.workload [--jobs 1000] [--seed 1]

| runner | over its service, in which 5 % are slow and 2 % fail | |
|---|---|---|
| `fetch` | as it is, and one job blocks the loop | so its p95 is what is slow |
| `paced` | with a rate limit | tokens are waited for |
| `hedged` | with a hedge | a second call is sent for what is slow |
| `broken` | with a breaker, and a service that is down for a while | it opens |

`OTEL_*` say where the telemetry goes; a tenth of the traces is drawn. What really
happened is printed in the end, as one JSON object: the truth for whoever asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx

import spanrun as sr
from instrumentation.workload.services import Services, fate
from spanrun.clients import Transport

RUNNERS = ("fetch", "paced", "hedged", "broken")
BLOCKED = 7
"""The job of `fetch` that blocks the loop."""
HOLD = 0.4  # seconds
PAUSE = 0.005  # seconds between two jobs of `broken`


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
            "hedged": sr.Runner("hedged", limit=16, hedge=sr.Hedge("p90", share=0.1)),
            "broken": sr.Runner(
                "broken",
                limit=4,
                breaker=sr.Breaker(failures=10, open_for=0.5, on=httpx.HTTPStatusError),
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
        name: truth(name, each, seed) for name, each in zip(RUNNERS, found, strict=True)
    }


def calling(client: httpx.AsyncClient, name: str) -> Callable[[int], Awaitable[None]]:
    """The job of a runner."""

    async def call(number: int) -> None:
        answer = await client.get(f"/{name}/{number}")
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


def truth(name: str, found: list[sr.Outcome[Any]], seed: int) -> dict[str, Any]:
    """What happened in a runner."""
    kinds = [type(each.error) for each in found if isinstance(each, sr.Err)]
    errors = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    fates = [fate(seed, name, each.index) for each in found]
    told = {
        "jobs": len(found),
        "ok": sum(isinstance(each, sr.Ok) for each in found),
        "errors": dict(errors),
        "slow": sum(slow for slow, _ in fates),
        "failing": sum(fails for _, fails in fates),
    }
    if name == "fetch":
        told["blocked"] = BLOCKED
    return told


def main() -> None:
    """Configure, run, and print the truth."""
    parser = argparse.ArgumentParser(description="A workload to ask questions about.")
    parser.add_argument("--jobs", type=int, default=1_000, help="of each runner")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "traceidratio")
    os.environ.setdefault("OTEL_TRACES_SAMPLER_ARG", "0.1")
    os.environ.setdefault("OTEL_SERVICE_NAME", "workload")
    sr.configure()
    found = sr.run(workload(asked.jobs, asked.seed))
    delivered = sr.shutdown()
    print(json.dumps({"runners": found, "delivered": delivered}, indent=2))


if __name__ == "__main__":
    main()
