"""What each worker is given, by what has come back from it, in virtual time."""

import asyncio
from itertools import groupby
from types import SimpleNamespace

import pytest

from spanrun.policies.limit import Limit
from spanrun.runner.core import Core, Policies
from spanrun.runner.dispatch import Dispatcher
from spanrun.runner.engine import Done, Item, Report
from spanrun.runner.leases import Leases

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

JOB = 0.002
REPORTED = 10
"""Jobs in a report of a worker that has more to do."""
_NOTHING = (0.0,) * 7


class Workers:
    """A pool whose workers run one job after another, each of the same length.

    Args:
        held: By worker: how many reports come together, as they do where the transport
            or a busy driver is late.
    """

    def __init__(self, *held):
        self.held = held
        self.jobs = [asyncio.Queue() for _ in held]
        self.given = [0] * len(held)
        self.ended_at = [0.0] * len(held)
        self.chunks = 0
        self.tasks = []

    async def start(self, place):
        self.tasks.append(asyncio.create_task(self.work(place)))
        return str(place)

    def say(self, place, *what): ...

    async def send(self, place, _, chunk, take):
        self.chunks += 1
        self.given[place] += len(chunk.items)
        over = asyncio.get_running_loop().create_future()
        for item in chunk.items:
            last = item is chunk.items[-1]
            self.jobs[place].put_nowait((chunk.id, item, take, over if last else None))
        await over

    async def work(self, place):
        ended, jobs = [], self.jobs[place]
        while True:
            job = await jobs.get()
            await asyncio.sleep(JOB)
            ended.append(job)
            if jobs.empty() or len(ended) == REPORTED * self.held[place]:
                self.ended_at[place] = asyncio.get_running_loop().time()
                for rows in batched(ended, REPORTED):
                    self.report(rows)
                ended = []

    def report(self, rows):
        for chunk, of_chunk in groupby(rows, lambda row: row[0]):
            rows = list(of_chunk)
            done = [
                Done(item.place, "ok", b"", 1, _NOTHING, 0, 0, None)
                for _, item, *_ in rows
            ]
            *_, take, over = rows[-1]
            take(Report(chunk, done, {}, 1))
            if over is not None:
                over.set_result(None)

    async def close(self):
        for each in self.tasks:
            each.cancel()
        await asyncio.wait(self.tasks)


def batched(rows, size):
    return [rows[at : at + size] for at in range(0, len(rows), size)]


class Run:
    """Has jobs sent, as many as the workers have room for."""

    spec = SimpleNamespace(id="a")

    def __init__(self, jobs):
        self.left = jobs
        self.ended = set()
        self.dispatcher = None
        self.over = asyncio.Event()
        self.jobs = jobs

    def pull(self):
        while self.left and self.jobs - self.left - len(self.ended) < self.room:
            self.left -= 1
            job = SimpleNamespace(index=self.left, priority=0)
            self.dispatcher.add(self, job)

    def resized(self, room):
        self.room = room
        self.pull()

    def item_of(self, job):
        return Item(job.index, b"", None, 0, None)

    def open_chunk(self, *_):
        return None

    def carrier_in(self, _):
        return {}

    def returned(self, job, _):
        self.ended.add(job.index)
        self.pull()
        if len(self.ended) == self.jobs:
            self.over.set()


async def work(clock, workers, jobs):
    """Have so many jobs run by ``workers``, as many at once as there are of these."""
    run = Run(jobs)
    count = len(workers.held)
    core = Core("driver", Policies(Limit(count)), (), clock)
    dispatcher = run.dispatcher = Dispatcher(
        workers,
        [1] * count,
        None,
        leases=Leases(core.layers, workers.say, count, clock.now),
        lends=True,
        now=clock.now,
        cancels=core.cancels,
        runner="driver",
        resized=run.resized,
        retried=lambda *_: None,
    )
    await dispatcher.open()
    await run.over.wait()
    await dispatcher.close()
    core.close()


@pytest.mark.parametrize("held", [(1, 2), (2, 1), (2, 2)])
async def test_a_worker_whose_reports_come_together_is_given_no_more(fake_clock, held):
    """The jobs all take the same time: none has many to do when another has none."""
    workers = Workers(*held)
    await work(fake_clock, workers, 400)
    assert sum(workers.given) == 400
    one, two = workers.ended_at
    assert abs(one - two) <= 10 * JOB


async def test_jobs_are_sent_many_at_a_time(fake_clock):
    workers = Workers(1, 1)
    await work(fake_clock, workers, 1_000)
    assert sum(workers.given) == 1_000
    assert workers.chunks <= 60
