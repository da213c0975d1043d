"""Slots go to the worker that has use for them, and are never more than the limit."""

import asyncio
import random
from collections import deque
from itertools import count

import pytest
from tests.engines import jobs

import spanrun as sr
from spanrun.engines import ProcessEngine
from spanrun.runner.balance import Balance
from spanrun.runner.dispatched import AHEAD, Worker


def balance(*dues):
    """A balance, its workers, and how many slots each of these was told to have."""
    workers = [Worker(place, due, due, up=True) for place, due in enumerate(dues)]
    told = list(dues)

    def say(place, _, share):
        told[place] = share

    return Balance(workers, say), workers, told


def test_each_has_its_due_while_all_have_enough_to_do():
    found, workers, told = balance(3, 2)
    for each in workers:
        each.load = 10
    found.set(waiting=5)
    assert told == [3, 2]
    assert [each.room for each in workers] == [-6, -7]


def test_an_idle_workers_slots_go_to_a_busy_one_and_come_back():
    found, (one, two), told = balance(3, 2)
    one.load = 5
    found.set(waiting=0)
    assert told == [5, 0]
    # There are jobs for both: the first one has five that run, and is to have three.
    found.set(waiting=2)
    assert told == [3, 0]
    assert one.room == 0
    two.load = 1
    one.load = 4
    found.set(waiting=0)
    assert told == [4, 1]  # as many as there is use for
    one.load = 2
    found.set(waiting=9)
    assert told == [3, 2]


def test_the_slots_of_a_worker_that_is_lost_are_lent_until_another_one_is_there():
    found, (one, two), told = balance(2, 2)
    two.up = False
    one.load = 3
    found.set(waiting=4)
    assert told == [4, 2]
    one.load = 4
    told[1] = 2
    found.begin(two)
    two.up = True
    assert told == [4, 0]
    found.set(waiting=4)
    assert told == [2, 0]
    one.load = 3
    found.set(waiting=4)
    assert told == [2, 1]


def test_a_worker_of_short_jobs_borrows_none():
    found, (one, _), told = balance(2, 2)
    one.load, one.ahead = 4, 100
    found.set(waiting=0)
    assert told == [2, 2]


async def test_a_worker_whose_short_jobs_become_long_borrows():
    """It has all there are, one hangs, and another worker is idle: both slots run."""
    slowed = asyncio.Event()
    times = iter([AHEAD / 2, AHEAD])
    workers = [Worker(place, 1, 1, up=True) for place in range(2)]
    told = [1, 1]

    def say(place, _, share):
        told[place] = share

    found = Balance(workers, say, slowed.set, lambda: next(times))
    one, _ = workers
    one.load, one.ahead = 16, 100
    found.set(waiting=0)
    assert told == [1, 1]
    await slowed.wait()
    assert not next(times, None)
    found.set(waiting=0)
    assert told == [2, 0]
    found.close()


class Simulated:
    """A worker with slots of its own, which hears what it is told a while later."""

    def __init__(self, share):
        self.slots, self.waiting, self.running = share, 0, 0
        self.heard = deque()

    def hear(self):
        if self.heard:
            kind, value = self.heard.popleft()
            if kind == "limit":
                self.slots = value
            else:
                self.waiting += value
        while self.waiting and self.running < self.slots:
            self.waiting, self.running = self.waiting - 1, self.running + 1


@pytest.mark.parametrize("seed", range(20))
def test_no_more_jobs_run_than_the_limit_and_all_are_run(seed):
    chance = random.Random(seed)
    dues = [chance.randint(1, 4) for _ in range(chance.randint(2, 4))]
    found, workers, _ = balance(*dues)
    there = [Simulated(due) for due in dues]
    found._say = lambda place, *told: there[place].heard.append(told)
    left, ended = 300, 0
    for step in count():
        assert step < 100_000
        if ended == 300:
            break
        what, place = chance.choice("sshhhee"), chance.randrange(len(dues))
        worker, its = workers[place], there[place]
        if what == "s":
            waiting = min(left, chance.randint(0, 3))
            found.set(waiting)
            if (sent := min(worker.room, waiting)) > 0:
                worker.load += sent
                left -= sent
                its.heard.append(("jobs", sent))
            found.set(0)
        elif what == "h":
            its.hear()
        elif its.running:
            its.running -= 1
            worker.load -= 1
            ended += 1
            its.hear()
        assert sum(each.running for each in there) <= sum(dues)
    found.set(waiting=sum(dues))
    assert [each.share for each in workers] == dues


async def test_the_limit_is_kept_while_slots_are_lent(tmp_path):
    """Of a few long jobs, which are there by ones and twos."""
    log = tmp_path / "log"
    engine = ProcessEngine(3, lost_after=60)
    async with sr.Runner("remote", limit=4, engine=engine) as remote:
        await remote.map(jobs.logged, [(str(log), n) for n in range(60)])
    now = most = 0
    for line in log.read_text("ascii").split():
        now += 1 if line == "+" else -1
        most = max(most, now)
    assert now == 0
    assert most == 4
