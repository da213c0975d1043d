"""Kills runs with a checkpoint at points drawn by a seed, and looks what is left.

``python -m tests.faults.kills 50 7`` kills 50 times, by seed 7. Each run is
a process of its own, forked from this one before it has any thread. It kills itself
when it comes to a point for the n-th time: where a job begins and ends, before and
after each statement for the file, and amid them, after so many steps of SQLite.

After each kill the file must be whole, and have all that it had before; what it has is
never run again; and what comes out in the end is what comes out of a run without kills.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import spanrun as sr
from spanrun.runner.checkpoint import file

ITEMS = 150
FAILS = 13
"""Each item that this divides has no result."""
STEPS = 40
"""Of SQLite's machine, from point to point."""
MODES = ("map", "stream", "batches", "keys", "source")


class Points:
    """Counts down to the one at which the process ends."""

    left = 0

    @classmethod
    def pass_one(cls) -> int:
        cls.left -= 1
        if cls.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0


class Watched(sqlite3.Connection):
    """A connection with points around its statements, and in them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_progress_handler(Points.pass_one, STEPS)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        Points.pass_one()
        done = super().execute(*args)
        Points.pass_one()
        return done


class Job:
    """Notes each item that ran to its end, in a file that outlives the process."""

    def __init__(self, log: Path, seed: int) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.random = random.Random(seed)

    async def one(self, item: int) -> Any:
        Points.pass_one()
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)
        os.write(self.log, b"%d\n" % item)
        Points.pass_one()
        if item % FAILS == 0:
            raise ValueError(item)
        return {"item": item, "pair": (item, str(item))}

    async def many(self, items: list[int]) -> list[Any]:
        return [await self.one(item) for item in items]


def name(item: int) -> str:
    return f"item {item}"


async def later(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def outcomes(mode: str, path: Path, job: Job) -> list[sr.Outcome[Any]]:
    items = list(range(ITEMS))
    keyed = mode == "keys"
    if keyed:
        job.random.shuffle(items)
    kept = sr.Checkpoint(path, key=name if keyed else None, max_crashes=None)
    async with sr.Runner("killed", limit=8) as runner:
        if mode == "batches":
            return await runner.map_batches(
                job.many, items, size=8, errors="collect", checkpoint=kept
            )
        if mode == "stream":
            async with runner.stream(
                job.one, items, ordered=False, checkpoint=kept
            ) as given:
                return sorted([each async for each in given], key=lambda o: o.index)
        source = later(items) if mode == "source" else items
        found = await runner.map(job.one, source, errors="collect", checkpoint=kept)
    if not keyed:
        return found
    return [found[items.index(item)] for item in range(ITEMS)]


def run(mode: str, folder: Path, seed: int, point: int) -> bool:
    """Run it in a process of its own; whether that came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Points.left = point
            connect = sqlite3.connect

            def watched(*args: Any, **kwargs: Any) -> Any:
                return connect(*args, **kwargs, factory=Watched)

            file.sqlite3.connect = watched  # type: ignore[assignment]
            job = Job(folder / "log", seed)
            found = asyncio.run(outcomes(mode, folder / "kept", job))
            check(found)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "it failed by itself"
    return True


def check(found: list[sr.Outcome[Any]]) -> None:
    assert len(found) == ITEMS
    for item, outcome in enumerate(found):
        if item % FAILS == 0:
            assert isinstance(outcome, sr.Err), (item, outcome)
            assert str(item) in str(outcome.error)
        else:
            assert isinstance(outcome, sr.Ok), (item, outcome)
            assert outcome.value == {"item": item, "pair": (item, str(item))}


def kept_in(path: Path, *, keyed: bool) -> Counter[int]:
    """The items with a result in the file, which must be whole."""
    if not path.exists():
        return Counter()
    with closing(sqlite3.connect(path)) as db:
        ((whole,),) = db.execute("PRAGMA integrity_check").fetchall()
        assert whole == "ok", whole
        tables = [table for (table,) in db.execute("SELECT name FROM sqlite_schema")]
        if "outcomes" not in tables:
            return Counter()
        which = "key" if keyed else "id"
        rows = db.execute(f"SELECT {which} FROM outcomes WHERE outcome = 'ok'")  # noqa: S608
        return Counter(int(str(item).removeprefix("item ")) for (item,) in rows)


def lines_of(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def scenario(seed: int, most: int) -> int:
    """Kill one run until it comes to its end, ``most`` times at most."""
    chance = random.Random(seed)
    mode = MODES[seed % len(MODES)]
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept: Counter[int] = Counter()
        ran = 0
        ended = False
        while not ended:
            point = chance.randrange(1, 900) if kills < most else 0
            ended = run(mode, folder, chance.randrange(1 << 30), point)
            kills += not ended
            after = kept_in(folder / "kept", keyed=mode == "keys")
            assert max(after.values(), default=1) == 1, "doubled"
            assert kept.keys() <= after.keys(), "lost"
            lines = lines_of(folder / "log")
            assert not kept.keys() & set(lines[ran:]), "run again"
            kept, ran = after, len(lines)
        results = [item for item in range(ITEMS) if item % FAILS]
        assert sorted(kept) == results
    return kills


def main(count: int, seed: int) -> None:
    kills = scenarios = 0
    while kills < count:
        kills += scenario(seed + scenarios, count - kills)
        scenarios += 1
    print(f"{kills} kills in {scenarios} runs: none lost, none doubled, all whole")  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
