"""A program to which one thing happens: ``python -m tests.faults.program NAME FOLDER``.

It does all that production does at once: jobs that succeed, fail and are retried, with
a checkpoint, telemetry for a collector, and the local store. `FAULTS` has what happens
to it, by name; the table in ``test_table.py`` says which promises hold then. At its end
it writes what it has seen to ``facts.json``.
"""

from __future__ import annotations

import os

if "SPANRUN_TEST_SPEED" in os.environ:
    from tests import speed  # noqa: F401 -- before anything else has bound a clock

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import spanrun as sr
from spanrun.clients.http import HttpClient
from spanrun.telemetry import setup

JOBS = 300
FAILS = 13
"""Each item that this divides has no result."""
AMID = 100
"""The item during whose job it happens, where it happens once."""
MANY = 1_000_000 if os.environ.get("SPANRUN_SOAK") else 10_000
FEW = 48


class Nothing:
    """Nothing happens. The others say what they change."""

    jobs = JOBS
    limit = 16
    progress = False

    def begin(self) -> None:
        """Before spanrun is used."""

    def inside(self) -> None:
        """In the event loop, before the jobs."""

    async def job(self, item: int) -> None:
        """In each job."""
        await asyncio.sleep(0)

    def end(self) -> None:
        """After the jobs."""


class ManyJobs(Nothing):
    jobs = MANY
    limit = 64


class ClockSet(Nothing):
    """Somebody sets the wall clock."""

    by = 0.0

    async def job(self, item: int) -> None:
        await asyncio.sleep(0)
        if item == AMID:
            seconds, nanoseconds = time.time, time.time_ns
            time.time = lambda: seconds() + self.by
            time.time_ns = lambda: nanoseconds() + int(self.by * 1e9)


class ClockForward(ClockSet):
    by = 3600.0


class ClockBack(ClockSet):
    by = -3600.0


class Forks(Nothing):
    """Jobs fork, and their children free what they don't need."""

    async def job(self, item: int) -> None:
        await asyncio.sleep(0)
        if item % 50 == 1:
            child = os.fork()
            if not child:
                gc.collect()
                os._exit(0)
            os.waitpid(child, 0)  # noqa: ASYNC222 -- it ends at once


class StderrClosed(Nothing):
    progress = True

    def begin(self) -> None:
        os.close(2)
        sys.stderr = None


class StderrBroken(Nothing):
    """Whoever read what it says has gone, as in ``program 2>&1 | head``."""

    progress = True

    def begin(self) -> None:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        os.close(reader)


class StderrLost(StderrBroken):
    """It goes amid the run, and amid a line."""

    def begin(self) -> None:
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        self.reader = reader

    async def job(self, item: int) -> None:
        await asyncio.sleep(0)
        if item == AMID:
            os.close(self.reader)


class PoolExhausted(Nothing):
    """The loop's threads have other things to do until the jobs have ended."""

    def inside(self) -> None:
        self.over = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        self.busy = loop.run_in_executor(None, self.over.wait)

    def end(self) -> None:
        self.over.set()


class LoopBlocked(Nothing):
    """A job blocks the event loop for 10 s. The clocks run fast in this program."""

    async def job(self, item: int) -> None:
        await asyncio.sleep(0)
        if item == AMID:
            time.sleep(10)  # noqa: ASYNC251 -- that is the fault


class FewDescriptors(Nothing):
    """All jobs ask a service at once, and there are few descriptors."""

    limit = JOBS

    def begin(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, most))

    def inside(self) -> None:
        self.client = HttpClient(os.environ["SERVICE"])

    async def job(self, item: int) -> None:
        body = {"model": "m", "input": [str(item)]}
        await self.client.post("/v1/embeddings", body)


class Terminated(Nothing):
    """It is told to end."""

    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def job(self, item: int) -> None:
        await asyncio.sleep(0)
        if item == AMID:
            self.happen()


class Interrupted(Terminated):
    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Killed(Terminated):
    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[], Nothing]] = {
    "nothing happens": Nothing,
    "many jobs": ManyJobs,
    "the collector is dead": Nothing,
    "the clock is set forward": ClockForward,
    "the clock is set back": ClockBack,
    "jobs fork": Forks,
    "standard error is closed": StderrClosed,
    "the outputs are broken pipes": StderrBroken,
    "standard error breaks": StderrLost,
    "the thread pool is exhausted": PoolExhausted,
    "the loop is blocked for 10 s": LoopBlocked,
    "48 descriptors for 300 requests": FewDescriptors,
    "SIGTERM": Terminated,
    "SIGINT": Interrupted,
    "SIGKILL": Killed,
}


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def tasks() -> int:
    """How many are left."""
    return len(asyncio.all_tasks())


async def work(fault: Nothing, folder: Path, facts: dict[str, Any]) -> None:
    """Run the jobs, and look what is left."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fault.inside()

    async def job(item: int) -> int:
        await fault.job(item)
        os.write(log, b"%d\n" % item)
        if item % FAILS == 0:
            raise ValueError(item)
        return 2 * item

    retry = sr.Retry(on=ValueError, attempts=2, base=1e-4, budget=None)
    options = {"errors": "collect", "progress": fault.progress}
    try:
        async with sr.Runner("faults", limit=fault.limit, retry=retry) as runner:
            kept = sr.Checkpoint(folder / "run.checkpoint")
            found: list[Any] = await runner.map(
                job, range(fault.jobs), checkpoint=kept, **options
            )
            if hasattr(fault, "client"):
                await fault.client.aclose()
    finally:
        fault.end()
        facts["tasks"] = await tasks()
        os.close(log)
    facts["jobs"] = len(found)
    facts["outcomes"] = dict(Counter(_outcome(each) for each in found))
    errors = [each.error for each in found if isinstance(each, sr.Err)]
    facts["errors"] = Counter(
        f"{type(error).__name__}: {error}"
        for error in errors
        if not isinstance(error, ValueError)
    ).most_common(3)
    facts["in order"] = [each.index for each in found] == list(range(fault.jobs))
    facts["right"] = all(
        isinstance(each, sr.Err)
        if item % FAILS == 0
        else isinstance(each, sr.Ok) and each.value == 2 * item
        for item, each in enumerate(found)
    )


def _outcome(each: Any) -> str:
    return "ok" if isinstance(each, sr.Ok) else str(each.outcome)


def account() -> list[int]:
    """Of spans: how many were made, and how many ended where, the lost ones last."""
    telemetry = setup.telemetry()
    assert telemetry is not None
    sr.shutdown()
    found = telemetry.account
    made = found.produced["traces"] + found.recovered["traces"]
    gone = [
        found.delivered["traces"],
        found.spooled["traces"],
        found.sampled_out["traces"],
        sum(n for (kind, _), n in found.dropped.items() if kind == "traces"),
    ]
    return [made, *gone]


def main(name: str, folder: Path) -> None:
    fault = FAULTS[name]()
    facts: dict[str, Any] = {}
    process = os.getpid()
    before = descriptors()
    fault.begin()
    sr.configure(store=folder / "store")
    try:
        sr.run(work(fault, folder, facts))
    finally:
        if os.getpid() == process:  # not a child of a job's, which ends here too
            facts["account"] = account()
            facts["descriptors"] = descriptors() - before
            facts["threads"] = [thread.name for thread in threading.enumerate()]
            (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], Path(sys.argv[2]))
