"""Where the adaptive limit settles: ``python bench/adaptive.py``.

A simulated service does ``C`` calls at once, 1 s each, and more calls queue (or
are refused after 10 ms). Printed are the limit as a multiple of ``C``, over the
second half of the time; how much of that time it was in [0.7 C, 1.5 C], and in
the worst of the runs; the throughput as a part of what the service can do; and
when the limit first got there. Then the same with calls that fail at random, of
which the throughput counts none.
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
CHANGES = (
    *((before, 2 * before) for before in (4, 8, 16, 32)),
    *((2 * after, after) for after in (4, 8, 16, 32)),
    *((16, 64), (64, 16), (20, 200), (200, 20)),
)
STARTS = {"C/4": 0.25, "C": 1.0, "4 C": 4.0}


def settle(capacity, factor, seconds, refuses, fails=0.0):
    rows = []
    for seed in SEEDS:
        service = Service(
            capacity, seconds, refuses=refuses, fails=lambda _: fails, seed=seed
        )
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
    limit, inside, through, reached = map(statistics.mean, zip(*rows, strict=True))
    return limit, inside, min(row[1] for row in rows), through, reached


def follow(before, after, seconds):
    reached, limits = [], []
    for seed in SEEDS:
        service = Service(before, seconds, seed=seed)
        limiter = Gradient(16, 1, 1_000)
        history = simulate(service, limiter, 2 * SECONDS, changes=[(SECONDS, after)])
        reached.append(history.reached(0.7 * after, 1.5 * after, SECONDS))
        limits.append(history.mean(1.5 * SECONDS, 2 * SECONDS) / after)
    return statistics.mean(reached), max(reached), statistics.mean(limits)


def scattered():
    print("\n16 calls at once, some of which fail at random")
    for seconds in (noisy, exponential):
        for refuses, what in ((None, "queue"), (0.01, "refused")):
            for fails in (0.01, 0.03, 0.1, 0.3):
                limit, inside, worst, through, _ = settle(
                    16, 1.0, seconds, refuses, fails
                )
                print(
                    f"{seconds.__name__:12} {what:8} {fails:4.0%} fail"
                    f" {limit:8.2f} {inside:9.0%} {worst:6.0%} {through:11.0%}",
                    flush=True,
                )


def main() -> None:
    print(f"{'calls take':12} {'over C':8} {'C':>4} {'from':>5}", end="")
    print("  limit/C  in bounds  worst  throughput  reached")
    for seconds in (constant, noisy, exponential):
        for refuses, what in ((None, "queue"), (0.01, "refused")):
            for capacity in (4, 8, 16, 64, 200):
                for name, factor in STARTS.items():
                    limit, inside, worst, through, reached = settle(
                        capacity, factor, seconds, refuses
                    )
                    print(
                        f"{seconds.__name__:12} {what:8} {capacity:4} {name:>5}"
                        f" {limit:8.2f} {inside:9.0%} {worst:6.0%} {through:11.0%}"
                        f" {reached:7.0f} s",
                        flush=True,
                    )
    scattered()
    print(f"\ncapacity changes after {SECONDS:.0f} s, calls queue")
    for seconds in (noisy, exponential):
        for before, after in CHANGES:
            reached, longest, limit = follow(before, after, seconds)
            print(
                f"{seconds.__name__:12} {before:4} to {after:4}: there after"
                f" {reached:3.0f} s, {longest:3.0f} s at most, then {limit:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
