"""What a job costs in another process, and what is lost when workers are killed.

    python -m bench.engines [process|ray] [--quick]

In one run each: jobs that do nothing, by the size of their chunks; jobs that sleep, and
jobs that compute, in one process and in two; and 100,000 jobs, some of which kill their
worker, whose results, counts and histograms must be those of a local run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import spanrun as sr
from spanrun import semconv
from spanrun.engines import ProcessEngine, RayEngine
from spanrun.testing import capture

ENGINES = {"process": ProcessEngine, "ray": RayEngine}
WORKERS = 2


class Item(NamedTuple):
    """A number, and the folder of the marks of those that have killed their worker."""

    number: int
    folder: str = ""


async def nothing(item: Any) -> Any:
    return item


async def sleep(_: int) -> None:
    await asyncio.sleep(0.01)


async def compute(_: int) -> None:
    until = time.thread_time() + 0.002
    while time.thread_time() < until:
        pass


async def killing(item: Item) -> int:
    if item.folder and is_first(item):
        os.kill(os.getpid(), signal.SIGKILL)
    if item.number % 7 == 3:
        raise KeyError(item.number % 2)
    return item.number * 2


def is_first(item: Item) -> bool:
    """Whether it runs for the first time."""
    try:
        Path(item.folder, str(item.number)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def timed(runner: sr.Runner, function: Any, items: Any) -> float:
    async with runner:
        await runner.map(function, range(len(items) // 10))
        since = time.perf_counter()
        await runner.map(function, items)
        return time.perf_counter() - since


async def costs(make: Any, jobs: int) -> None:
    for chunk in (1, 10, 100, 1_000, None):
        runner = sr.Runner("bench", limit=128, engine=make(WORKERS, chunk=chunk))
        many = jobs // 20 if chunk == 1 else jobs
        seconds = await timed(runner, nothing, range(many))
        told = "as many as is good" if chunk is None else chunk
        print(f"no-op, chunks of {told}: {seconds / many * 1e6:.1f} µs a job")


async def gains(make: Any, jobs: int) -> None:
    for name, function, limit, many in (
        ("10 ms of sleep", sleep, 64, jobs),
        ("2 ms of CPU", compute, 1, jobs // 5),
    ):
        one = await timed(sr.Runner("bench", limit=limit), function, range(many))
        engine = make(WORKERS)
        both = sr.Runner("bench", limit=limit * WORKERS, engine=engine)
        two = await timed(both, function, range(many))
        print(f"{name}: {one / two:.2f} × one process with {WORKERS} workers")


async def hang(log: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        # The clock is one for all processes of the machine.
        file = os.open(log, os.O_APPEND | os.O_WRONLY)
        os.write(file, f"{time.monotonic()}\n".encode())
        os.close(file)


async def raise_now(item: int) -> None:
    if item:
        await asyncio.Event().wait()
    raise KeyError(time.monotonic())


async def answers(make: Any, jobs: int) -> None:
    """Say how soon a cancellation is there, and an error here."""
    cancelled: list[float] = []
    errors: list[float] = []
    engine = make(WORKERS, lost_after=60)
    async with sr.Runner("bench", limit=8, engine=engine) as runner:
        await runner.map(nothing, range(100))
        for _ in range(max(5, jobs // 500)):
            with tempfile.NamedTemporaryFile("r") as log:
                task = asyncio.create_task(runner.map(hang, [log.name] * 8))
                await asyncio.sleep(0.1)
                since = time.monotonic()
                task.cancel()
                await asyncio.wait({task})
                cancelled += [float(line) - since for line in log]
            try:
                await runner.map(raise_now, range(8))
            except KeyError as error:
                errors.append(time.monotonic() - error.args[0])
    for name, seconds in (("a cancellation", cancelled), ("the first error", errors)):
        middle, most = sorted(seconds)[len(seconds) // 2], max(seconds)
        print(f"{name} arrives after {middle * 1e3:.1f} ms, at most {most * 1e3:.1f}")


async def gaps(make: Any, jobs: int) -> None:
    """Say for how long no outcome came, while a worker was killed."""
    with tempfile.TemporaryDirectory() as folder:
        items = [Item(number, folder * (number == jobs // 2)) for number in range(jobs)]
        runner = sr.Runner("bench", limit=64, engine=make(WORKERS, lost_after=60))
        async with runner, runner.stream(slow, items, ordered=False) as stream:
            moments = [time.monotonic() async for _ in stream]
        killed = sum(1 for _ in os.scandir(folder))
    most = max(later - moment for moment, later in pairwise(moments))
    print(
        f"{jobs:,} jobs of 2 ms, {killed} worker killed: at most {most * 1e3:.0f} ms "
        f"without an outcome (load {os.getloadavg()[0]:.0f})"
    )


async def slow(item: Item) -> int:
    await asyncio.sleep(0.002)
    return await killing(item._replace(number=0)) if item.folder else item.number


async def outcomes(runner: sr.Runner, items: list[Item]) -> tuple[Any, ...]:
    with capture() as captured:
        async with runner:
            found = await runner.map(killing, items, errors="collect")
    told = [
        each.value if isinstance(each, sr.Ok) else str(each.error) for each in found
    ]
    durations = semconv.METRIC_SPANRUN_JOB_DURATION.name
    by = (semconv.SPANRUN_JOB_OUTCOME, semconv.ERROR_TYPE)
    counts = [captured.totals(semconv.METRIC_SPANRUN_JOBS.name, each) for each in by]
    return told, *counts, captured.count(durations)


async def kills(make: Any, jobs: int) -> None:
    plain = [Item(number) for number in range(jobs)]
    local = await outcomes(sr.Runner("bench", limit=64), plain)
    with tempfile.TemporaryDirectory() as folder:
        every = jobs // 5
        items = [
            Item(number, folder if number % every == every // 2 else "")
            for number in range(jobs)
        ]
        remote = await outcomes(
            sr.Runner("bench", limit=64, engine=make(WORKERS)), items
        )
        killed = sum(1 for _ in os.scandir(folder))
    same = [
        "equal" if a == b else "DIFFERENT" for a, b in zip(local, remote, strict=True)
    ]
    print(
        f"{jobs:,} jobs, {killed} workers killed: results {same[0]}, job counts "
        f"{same[1]}, errors {same[2]}, durations {same[3]}"
    )


async def endless(make: Any, jobs: int) -> None:
    def numbers() -> Iterator[int]:
        yield from range(jobs)

    async with (
        sr.Runner("bench", limit=64, engine=make(WORKERS)) as runner,
        runner.stream(nothing, numbers()) as stream,
    ):
        begun = 0
        async for outcome in stream:
            if outcome.index == jobs // 10:
                begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
    print(f"{jobs:,} jobs of a stream: the driver grew by {grown / 1024:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", nargs="?", choices=sorted(ENGINES), default="process")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the jobs")
    options = parser.parse_args()
    make, jobs = ENGINES[options.engine], 1_000 if options.quick else 100_000
    for measure, many in (
        (costs, jobs),
        (gains, jobs // 10),
        (answers, jobs // 10),
        (gaps, jobs // 10),
        (kills, jobs),
    ):
        sr.run(measure(make, many))
    sr.run(endless(make, 10 * jobs))


if __name__ == "__main__":
    main()
