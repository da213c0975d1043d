"""The rate, the pauses and the budget of retries are one for all workers.

Driver and workers are here, in virtual time, and what they say is on its way for as
long as a test says.
"""

import asyncio
import random

import pytest
from tests.engines import jobs
from tests.engines.jobs import Once
from tests.policies.gated import Work

import spanrun as sr
from spanrun import semconv
from spanrun.engines import ProcessEngine
from spanrun.engines.leased import Leased
from spanrun.policies.limit import Limit
from spanrun.policies.rate import Gate
from spanrun.runner.core import Core, Policies
from spanrun.runner.leases import Leases, hears
from spanrun.testing import capture

virtual = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Workers:
    """A driver, and workers that ask it."""

    def __init__(self, clock, count, *, delay=lambda: 0.0, **policies):
        self.now = clock.now
        self.delay, self.latest = delay, {}
        self.began = [[] for _ in range(count)]
        self.granted = [0] * count
        given = Policies(Limit(1_000), **policies)
        self.core = Core("driver", given, (), clock)
        self.leases = Leases(self.core.layers, self.say, count, clock.now)
        self.hears = hears(self.leases)
        self.workers = [self.worker(place, given, clock) for place in range(count)]

    def worker(self, place, given, clock):
        leased = Leased(lambda kind, *what: self.ask(place, kind, *what))
        core = Core(f"worker {place}", leased.policies(given), (), clock)
        leased.attach(core, given)
        return leased, core

    def send(self, way, does, *what):
        """Have it done after the delay, and after what was sent on that way before."""
        at = max(self.now() + self.delay(), self.latest.get(way, 0) + 1e-9)
        self.latest[way] = at
        asyncio.get_running_loop().call_at(at, does, *what)

    def ask(self, place, kind, *what):
        self.send((place, "up"), self.hears[kind], place, *what)

    def say(self, place, kind, *what):
        if kind == "tokens":
            self.granted[place] += what[0]
        leased, _ = self.workers[place]
        does = {"tokens": leased.grant, "pause": leased.pause, "leave": leased.leave}
        self.send((place, "down"), does[kind], *what)

    async def call(self, place):
        gate = self.workers[place][1].layers["token"]

        async def begin(_):
            self.began[place].append(self.now())

        job = Work()
        await gate.wrap(begin)(job)
        return job

    async def calls(self, place, count):
        await asyncio.gather(*(self.call(place) for _ in range(count)))

    def close(self):
        self.leases.close()
        for core in (self.core, *(core for _, core in self.workers)):
            core.close()

    def most_in_a_second(self):
        times = sorted(time for each in self.began for time in each)
        return max(
            sum(first <= time < first + 1 for time in times[place : place + 400])
            for place, first in enumerate(times)
        )


@pytest.fixture
def workers(fake_clock):
    made = []

    def make(count=2, **more):
        made.append(Workers(fake_clock, count, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


@virtual
async def test_a_busy_worker_has_the_whole_rate_while_others_are_idle(workers):
    them = workers(rate=sr.RateLimit(200))
    await them.calls(0, 400)
    assert them.most_in_a_second() <= 200
    assert 1.9 < them.began[0][-1] < 2.1  # with half of it these were 4 s
    await asyncio.gather(them.calls(0, 100), them.calls(1, 100))
    assert len(them.began[1]) == 100
    assert 2.9 < max(them.began[0][-1], them.began[1][-1]) < 3.1


@virtual
@pytest.mark.parametrize("seed", range(5))
async def test_no_second_has_more_calls_than_the_rate_however_late_messages_are(
    workers, seed
):
    chance = random.Random(seed)
    them = workers(
        3,
        rate=sr.RateLimit(200),
        delay=lambda: chance.choice((0.001, 0.002, 0.015, 0.2)),
    )
    await asyncio.gather(*(them.calls(place, 200) for place in range(3)))
    assert [len(each) for each in them.began] == [200] * 3
    assert them.most_in_a_second() <= 200
    assert sum(them.granted) > 600  # some came too late, and were lost


@virtual
async def test_a_way_that_has_become_slower_is_used(workers):
    delays = [0.0]
    them = workers(rate=sr.RateLimit(200), delay=lambda: delays[0])
    await them.calls(0, 10)
    delays[0] = 1.0
    await them.calls(0, 50)
    assert them.granted[0] < 100


@virtual
async def test_tokens_that_nobody_waits_for_any_more_are_not_sent(workers):
    them = workers(rate=sr.RateLimit(1))
    tasks = [asyncio.create_task(them.call(0)) for _ in range(50)]
    await asyncio.sleep(3.5)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(60)
    assert them.granted[0] == len(them.began[0]) == 4
    await them.call(1)


@virtual
async def test_what_a_lost_worker_asked_for_is_forgotten(workers):
    them = workers(rate=sr.RateLimit(1))
    tasks = [asyncio.create_task(them.call(0)) for _ in range(50)]
    await asyncio.sleep(0.5)
    them.leases.begin(0)
    await them.calls(1, 3)
    assert them.began[1][-1] < 4
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(1)
    them.leases.close()


@virtual
@pytest.mark.parametrize("rate", [None, sr.RateLimit(1_000)])
async def test_a_pause_that_a_service_asks_one_worker_for_is_for_all(workers, rate):
    them = workers(rate=rate, retry=sr.Retry(on=OSError), delay=lambda: 0.001)
    await asyncio.gather(them.call(0), them.call(1))
    gate = them.workers[0][1].layers["token"]
    assert isinstance(gate, Gate)
    paused = them.now()
    gate.pause(30)
    await asyncio.sleep(0.01)
    waited = await asyncio.gather(them.call(0), them.call(1))
    assert [sum(job.pauses) for job in waited] == pytest.approx([30, 30], abs=0.02)
    assert min(them.began[0][-1], them.began[1][-1]) >= paused + 30


async def test_the_budget_of_retries_is_one_for_all_workers(tmp_path):
    items = [Once(n, str(tmp_path)) for n in range(20)]
    retry = sr.Retry(on=ConnectionError, base=0.001, budget=1e-9, reserve=3)
    with capture() as captured:
        async with sr.Runner(
            "remote", limit=8, retry=retry, engine=ProcessEngine(2, lost_after=60)
        ) as remote:
            outcomes = await remote.map(jobs.at_second, items, errors="collect")
    assert sum(isinstance(each, sr.Ok) for each in outcomes) == 3
    assert captured.value(semconv.METRIC_SPANRUN_JOB_RETRIES.name) == 3
    refused = [each for each in outcomes if isinstance(each, sr.Err)]
    assert all("retry budget is used up" in str(e.error.__notes__) for e in refused)


async def test_the_rate_of_a_runner_with_workers_is_the_drivers():
    rate = sr.RateLimit(10_000)
    with capture() as captured:
        async with sr.Runner(
            "remote", limit=8, rate=rate, engine=ProcessEngine(2, lost_after=60)
        ) as remote:
            assert await remote.map(jobs.double, range(200)) == list(range(0, 400, 2))
            assert captured.value(semconv.METRIC_SPANRUN_RATE_LIMIT_RATE.name) == 10_000
