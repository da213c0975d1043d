"""100,000 jobs over two workers, one of which is killed every few seconds.

    python -m bench.engines_killed [process|ray] [--jobs N] [--every SECONDS]

Their results, counts and histograms must be those of a local run, and the store must
have each job once, with its trace, and no span without the one that it is below.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bench.engines import ENGINES, WORKERS

import spanrun as sr
from spanrun import recordings, semconv
from spanrun.telemetry import setup

JOB = "job killed"


class Item(NamedTuple):
    """A number, and the folder where workers say that they are there."""

    number: int
    folder: str


async def work(item: Item) -> int:
    note(item.folder)
    await asyncio.sleep(0.002)
    if item.number % 7 == 3:
        raise KeyError(item.number % 2)
    return item.number * 2


@cache
def note(folder: str) -> None:
    """Say, once in each process, that it has jobs."""
    Path(folder, str(os.getpid())).touch()


async def kill(folder: Path, every: float) -> None:
    """Kill one of the processes that have jobs, again and again."""
    while True:
        await asyncio.sleep(every)
        kill_one(folder)


def kill_one(folder: Path) -> None:
    known = list(folder.iterdir())
    if known:
        one = random.choice(known)
        with suppress(ProcessLookupError):
            os.kill(int(one.name), signal.SIGKILL)
        one.rename(folder.parent / "killed" / one.name)


class Told(NamedTuple):
    """What a run says of its jobs."""

    results: list[Any]
    counts: dict[str, int]
    observed: int


async def run(runner: sr.Runner, items: list[Item]) -> tuple[Told, list[Any]]:
    """Run them; the counts and the number of durations are the runner's metrics."""
    async with runner:
        outcomes = await runner.map(work, items, errors="collect")
        totals = runner._core.metrics.totals()  # type: ignore[union-attr] # noqa: SLF001
    told = [
        each.value if isinstance(each, sr.Ok) else repr(each.error) for each in outcomes
    ]
    counts = Counter[str]()
    for (outcome, _), count in totals.ended.items():
        counts[outcome] += count
    observed = sum(sum(each[0]) for each in totals.durations)
    return Told(told, dict(counts), observed), outcomes


def read(folder: Path, outcomes: list[Any]) -> None:
    """Say what the store has of the run in workers."""
    with recordings.open(folder / ".spanrun") as recording:
        (remote,) = (each for each in recording.runs() if each.runner == "killed")
        jobs = Counter(each.index for each in recording.jobs(run=remote.id))
        ids: set[str] = set()
        parents: list[str] = []
        traces: dict[int, list[str]] = {}
        for span in recording.spans():
            ids.add(span.span_id)
            if span.parent_id:
                parents.append(span.parent_id)
            if span.name == JOB:
                index = span.attributes[semconv.SPANRUN_JOB_INDEX]
                traces.setdefault(index, []).append(span.trace_id)
    lost = sum(not jobs[each.index] for each in outcomes)
    print(f"in the store: {lost} jobs lost, {jobs.total() - len(jobs)} doubled")
    orphans = sum(each not in ids for each in parents)
    without = sum(
        f"{each.trace_id:032x}" not in traces.get(each.index, ()) for each in outcomes
    )
    twice = sum(len(each) - 1 for each in traces.values())
    print(
        f"spans: {orphans} orphans, {without} outcomes without their trace; "
        f"{twice} bodies ended twice"
    )


async def both(make: Any, jobs: int, every: float, folder: Path) -> list[Any]:
    for name in ("alive", "killed"):
        (folder / name).mkdir()
    here = [Item(number, str(folder)) for number in range(jobs)]
    local, _ = await run(sr.Runner("local", limit=64), here)
    (folder / str(os.getpid())).unlink()
    there = [Item(number, str(folder / "alive")) for number in range(jobs)]
    engine = make(WORKERS, lost_after=60)
    killing = asyncio.create_task(kill(folder / "alive", every))
    remote, outcomes = await run(sr.Runner("killed", limit=64, engine=engine), there)
    killing.cancel()
    killed = len(list((folder / "killed").iterdir()))
    load = os.getloadavg()[0]
    same = {
        name: "equal" if getattr(local, name) == getattr(remote, name) else "DIFFERENT"
        for name in Told._fields
    }
    print(f"{jobs:,} jobs, {killed} workers killed (load {load:.0f}): {same}")
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", nargs="?", choices=sorted(ENGINES), default="process")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--every", type=float, default=3.0, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sr.configure(service_name="driver", store=folder / ".spanrun")
        make = ENGINES[options.engine]
        outcomes = sr.run(both(make, options.jobs, options.every, folder))
        assert setup.telemetry() is not None
        sr.shutdown(timeout=120)
        read(folder, outcomes)


if __name__ == "__main__":
    main()
