"""What each policy costs a job that waits for nothing: ``python bench/policies.py``.

Jobs of ``sleep(0)``, 100 at once, telemetry off. All contestants run in each
round, in another order each time. Printed is the CPU time of a job with only a
limit, and how much more it is with each other policy: median and range of the
differences within a round.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time

import spanrun as sr

JOBS = 20_000
ROUNDS = 15

ON = ConnectionError
CONTESTANTS = {
    "limit only": {},
    "limit only, again": {},
    "adaptive limit": {"limit": sr.AdaptiveLimit(start=100, min=100, max=100)},
    "rate": {"rate": sr.RateLimit(1e9)},
    "retry": {"retry": sr.Retry(on=ON)},
    "retry, outage": {"retry": sr.Retry(on=ON, outage=60)},
    "attempt timeout": {"timeout": sr.Timeout(attempt=60)},
    "hedge at 60 s": {"hedge": sr.Hedge(at=60.0)},
    "hedge at p95": {"hedge": sr.Hedge(at="p95", share=1e-9)},
    "breaker": {"breaker": sr.Breaker()},
    "all of them": {
        "limit": sr.AdaptiveLimit(start=100, min=100, max=100),
        "rate": sr.RateLimit(1e9),
        "retry": sr.Retry(on=ON),
        "timeout": sr.Timeout(attempt=60),
        "hedge": sr.Hedge(at="p95", share=1e-9),
        "breaker": sr.Breaker(),
    },
}


async def job(_) -> None:
    await asyncio.sleep(0)


async def run(options) -> float:
    async with sr.Runner("bench", **{"limit": 100, **options}) as runner:
        gc.collect()
        gc.disable()
        try:
            since = time.process_time()
            await runner.map(job, range(JOBS))
            return (time.process_time() - since) / JOBS * 1e6
        finally:
            gc.enable()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    more: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    base = []
    names = list(CONTESTANTS)
    asyncio.run(run({}))
    for _ in range(rounds):
        random.shuffle(names)
        costs = {name: asyncio.run(run(CONTESTANTS[name])) for name in names}
        base.append(costs["limit only"])
        for name, cost in costs.items():
            more[name].append(cost - costs["limit only"])
    print(f"{JOBS} jobs a round, {rounds} rounds, Python {sys.version.split()[0]}")
    print(f"{'limit only':20} {statistics.median(base):6.2f} µs/job")
    for name, values in more.items():
        if name != "limit only":
            print(
                f"{name:20} {statistics.median(values):+6.2f}"
                f" ({min(values):+.2f} to {max(values):+.2f})"
            )


if __name__ == "__main__":
    main()
