"""Where the adaptive limit settles: ``python bench/adaptive.py``.

A simulated service does ``C`` calls at once, 1 s each, and more calls queue (or
are refused after 10 ms). Printed are the limit as a multiple of ``C``, over the
second half of the time; how much of that time it was in [0.7 C, 1.5 C]; the
throughput as a part of what the service can do; and when it first got there.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.queueing import Service, constant, exponential, noisy, simulate

from spanrun.policies._gradient import Gradient

SECONDS = 600.0
SEEDS = range(6)
STARTS = {"C/4": 0.25, "C": 1.0, "4 C": 4.0}


def settle(capacity, factor, seconds, refuses):
    rows = []
    for seed in SEEDS:
        service = Service(capacity, seconds, refuses=refuses, seed=seed)
        limiter = Gradient(max(1, round(capacity * factor)), 1, 4_000)
        history = simulate(service, limiter, SECONDS)
        bounds = 0.7 * capacity, 1.5 * capacity
        rows.append(
            (
                history.mean(SECONDS / 2, SECONDS) / capacity,
                history.share(*bounds, SECONDS / 2, SECONDS),
                service.done / service.now / capacity,
                history.reached(*bounds),
            )
        )
    return [statistics.mean(column) for column in zip(*rows, strict=True)]


def main() -> None:
    print(f"{'calls take':12} {'over C':8} {'C':>4} {'from':>5}", end="")
    print("  limit/C  in bounds  throughput  reached")
    for seconds in (constant, noisy, exponential):
        for refuses, what in ((None, "queue"), (0.01, "refused")):
            for capacity in (4, 16, 64, 200):
                for name, factor in STARTS.items():
                    limit, inside, through, reached = settle(
                        capacity, factor, seconds, refuses
                    )
                    print(
                        f"{seconds.__name__:12} {what:8} {capacity:4} {name:>5}"
                        f" {limit:8.2f} {inside:9.0%} {through:11.0%}"
                        f" {reached:7.0f} s",
                        flush=True,
                    )
    print("\ncapacity changes after 600 s (noisy, queue)")
    for before, after in ((64, 16), (16, 64), (200, 20), (20, 200)):
        service = Service(before, noisy)
        limiter = Gradient(16, 1, 1_000)
        history = simulate(service, limiter, 1_200.0, changes=[(600.0, after)])
        reached = history.reached(0.7 * after, 1.5 * after, 600.0)
        mean = history.mean(900.0, 1_200.0) / after
        print(f"{before:4} to {after:4}: there after {reached:3.0f} s, then {mean:.2f}")


if __name__ == "__main__":
    main()
