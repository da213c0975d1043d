"""Whether a checkpoint grows in memory: ``make bench-rows``, ``ARGS="--rows 2000000"``.

So many rows are streamed, as they come from a source that holds none, through jobs
whose outcomes are kept; then once more, so that all are handed out from the file. What
is printed is the memory that the process has, after each twentieth.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.soak import resident

import spanrun as sr


def source(rows: int) -> Iterator[str]:
    return (f"row {number}" for number in range(rows))


async def length(row: str) -> int:
    return len(row)


async def stream(path: Path, rows: int) -> list[float]:
    """The memory after each twentieth of the rows, in MiB."""
    seen: list[float] = []
    began, done = time.monotonic(), 0
    async with (
        sr.Runner("rows", limit=64) as runner,
        runner.stream(length, source(rows), checkpoint=sr.Checkpoint(path)) as outcomes,
    ):
        async for _ in outcomes:
            done += 1
            if done % (rows // 20) == 0:
                seen.append(resident())
    rate = rows / (time.monotonic() - began)
    size = path.stat().st_size / 2**20  # noqa: ASYNC240 -- all is over
    print(f"{rows:,} rows, {rate:,.0f}/s, a file of {size:,.0f} MiB; MiB of memory:")
    print(" ".join(f"{each:.1f}" for each in seen), flush=True)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--most", type=float, default=1.0, help="MiB that it may grow")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.checkpoint"
        grown = 0.0
        for _ in range(2):
            seen = asyncio.run(stream(path, asked.rows))
            # Rows that wait while the disk is busy come and go: the middle counts.
            grown = max(grown, median(seen[10:]) - median(seen[:10]))
    print(f"it grew by {grown:.1f} MiB, and {asked.most:g} are allowed")
    return 0 if grown <= asked.most else 1


if __name__ == "__main__":
    sys.exit(main())
