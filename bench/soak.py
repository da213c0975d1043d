"""Whether a process at full rate grows: ``make soak``, ``make soak MINUTES=5``.

Rounds of all kinds of runs, one after another without a pause, each job traced,
delivered and kept in the local store. After each round nothing is open, so what the
process has then should be the same for ever: its memory by a straight line through the
samples after a warm-up (a third of the time), and the number of its descriptors, tasks
and threads to the unit. Telemetry's threads open and close files meanwhile, so of these
it is the least that counts.

``make`` holds glibc's ``MALLOC_MMAP_THRESHOLD_`` where it begins. glibc raises it with
each large block that is freed, and then small blocks come to lie between large ones:
the heap grows by what is free in it, while what is used of it stays the same.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import sink
from bench.clients import serving

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import HttpClient
from spanrun.telemetry import setup

MOST: Final = 1.0
"""MiB an hour that the line may climb."""
EVERY: Final = 5.0
"""Seconds from one sample to the next, at least."""
JOBS: Final = 2_000
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process has between two rounds.

    Attributes:
        seconds: Since the beginning.
        jobs: Done until then.
        mib: Of memory that is resident.
        descriptors: That are open.
        tasks: Of the event loop.
        threads: That are alive.
    """

    seconds: float
    jobs: int
    mib: float
    descriptors: int
    tasks: int
    threads: int


async def nap(number: int) -> int:
    await asyncio.sleep(0)
    if number % 100 == 99:
        raise ValueError(number)
    return number


async def naps(numbers: list[int]) -> list[int]:
    await asyncio.sleep(0)
    return numbers


class Rounds:
    """One round after another, and how many jobs that were."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url: Final = url
        self.folder: Final = folder
        self.jobs = 0

    async def one(self) -> None:
        """All kinds of runs, each once."""
        for kind in (self.maps, self.streams, self.batches, self.policies, self.kept):
            await kind()
        await self.clients()

    async def maps(self) -> None:
        async with sr.Runner("map", limit=64) as runner:
            await runner.map(nap, range(JOBS), errors="collect")
        self.jobs += JOBS

    async def streams(self) -> None:
        async with (
            sr.Runner("stream", limit=64) as runner,
            runner.stream(nap, range(JOBS), ordered=False) as outcomes,
        ):
            async for _ in outcomes:
                self.jobs += 1

    async def batches(self) -> None:
        async with sr.Runner("batches", limit=8) as runner:
            await runner.map_batches(naps, range(JOBS), size=64)
        self.jobs += JOBS

    async def policies(self) -> None:
        async with sr.Runner(
            "policies",
            limit=sr.AdaptiveLimit(start=16, max=64),
            rate=sr.RateLimit(1e6, per=1.0),
            retry=sr.Retry(on=ValueError, attempts=2, base=1e-4, budget=None),
            timeout=sr.Timeout(attempt=30, total=60),
        ) as runner:
            await runner.map(nap, range(JOBS // 4), errors="collect", key=str)
        self.jobs += JOBS // 4

    async def kept(self) -> None:
        path = self.folder / "soak.checkpoint"
        for _ in range(2):  # the second one hands all out again
            async with sr.Runner("kept", limit=64) as runner:
                kept = sr.Checkpoint(path)
                await runner.map(nap, range(JOBS), errors="collect", checkpoint=kept)
        for each in self.folder.glob("soak.checkpoint*"):
            each.unlink()
        self.jobs += JOBS

    async def clients(self) -> None:
        texts = [f"text {number}" for number in range(JOBS // 4)]
        async with Embeddings(self.url, model="m", batch=16) as embeddings:
            await embeddings.aget_text_embedding_batch(texts)
        client = HttpClient(self.url)
        try:
            body = {"model": "m", "input": ["one"]}
            async with sr.Runner("requests", limit=16) as runner:
                await runner.map(
                    lambda _: client.post("/embeddings", body),
                    range(50),
                    errors="collect",
                )
        finally:
            await client.aclose()
        self.jobs += 50 + len(texts) // 16


def resident() -> float:
    """MiB of memory that the process has."""
    gc.collect()
    if trim is not None:
        trim(
            0
        )  # what is free is the system's, or it would pass for a memory that grows
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def now(began: float, jobs: int) -> Sample:
    """What the process has at this moment, once telemetry waits for nothing."""
    pipeline = setup.telemetry()
    assert pipeline is not None
    pipeline.flush(60)
    return Sample(
        time.monotonic() - began,
        jobs,
        resident(),
        len(list(Path("/proc/self/fd").iterdir())),
        len(asyncio.all_tasks()),
        threading.active_count(),
    )


async def soak(rounds: Rounds, minutes: float) -> list[Sample]:
    """Go round until the time is over; the samples."""
    began = time.monotonic()
    samples: list[Sample] = []
    told = 0
    while (passed := time.monotonic() - began) < minutes * 60:
        await rounds.one()
        if not samples or passed - samples[-1].seconds >= EVERY:
            samples.append(now(began, rounds.jobs))
        if passed // 60 >= told:
            told += 1
            show(samples[-1])
    show(samples[-1])
    return samples


def show(sample: Sample) -> None:
    rate = sample.jobs / sample.seconds
    print(
        f"{sample.seconds / 60:6.1f} min · {sample.jobs:12,} jobs · {rate:8,.0f}/s · "
        f"{sample.mib:7.1f} MiB · {sample.descriptors} descriptors · "
        f"{sample.tasks} tasks · {sample.threads} threads",
        flush=True,
    )


def slope(samples: list[Sample]) -> tuple[float, float]:
    """MiB an hour of the line through the samples, and its standard error."""
    hours = [each.seconds / 3600 for each in samples]
    count = len(samples)
    middle = sum(hours) / count
    level = sum(each.mib for each in samples) / count
    spread = sum((hour - middle) ** 2 for hour in hours)
    pairs = list(zip(hours, samples, strict=True))
    climbs = sum((h - middle) * (s.mib - level) for h, s in pairs) / spread
    rest = sum((s.mib - level - climbs * (h - middle)) ** 2 for h, s in pairs)
    return climbs, (rest / max(count - 2, 1) / spread) ** 0.5


def verdict(samples: list[Sample]) -> bool:
    """Print what grows; whether nothing does."""
    after = [each for each in samples if each.seconds > samples[-1].seconds / 3]
    climbs, error = slope(after)
    flat = climbs < MOST
    print(f"memory: {climbs:+.2f} MiB/h (± {error:.2f}), and {MOST:g} are allowed")
    half = len(after) // 2
    for name in ("descriptors", "tasks", "threads"):
        before, later = (
            min(getattr(each, name) for each in part)
            for part in (after[:half], after[half:])
        )
        print(f"{name}: {before} at least in the first half, {later} in the second")
        flat &= later <= before
    print("nothing grows" if flat else "it grows")
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    if not Path("/proc/self/statm").exists():
        print("the memory of a process is only read on Linux")
        return 1
    with (
        tempfile.TemporaryDirectory() as name,
        sink.running(keeps=False) as endpoint,
        serving() as url,
    ):
        folder = Path(name)
        sr.configure(endpoint=endpoint, store=folder / "store")
        try:
            samples = asyncio.run(soak(Rounds(url, folder), minutes))
        finally:
            sr.shutdown()
    return 0 if verdict(samples) else 1


if __name__ == "__main__":
    sys.exit(main())
