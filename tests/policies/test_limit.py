import asyncio

import pytest

from spanrun.errors import ConfigurationError
from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.limit import Limit

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Work:
    def __init__(self, name="", priority=0):
        self.name = name
        self.timings = Timings()
        self.attempts = 0
        self.unit = None
        self.priority = priority


@pytest.fixture
def bind(fake_clock):
    return lambda limit: limit.bind(Binding("test", fake_clock))


@pytest.fixture
def queue(bind):
    """Start jobs of 10 s one after the other; in which order do they begin?"""

    class Queue:
        def __init__(self, limit):
            self.slots = bind(limit)
            self.begun = []
            self.step = self.slots.wrap(self.work)

        async def work(self, job):
            self.begun.append(job.name)
            await asyncio.sleep(10)

        def start(self, name, priority=0):
            return asyncio.create_task(self.step(Work(name, priority)))

    return Queue


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "4", None], ids=repr)
def test_nonsense_is_refused_with_field_and_value(concurrency):
    with pytest.raises(ConfigurationError, match="Limit") as caught:
        Limit(concurrency)
    assert f"concurrency={concurrency!r}" in str(caught.value)


def test_negative_ageing_is_refused():
    with pytest.raises(ConfigurationError, match=r"ageing=-1"):
        Limit(1, ageing=-1)


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_never_more_than_the_limit_at_once_and_never_fewer(bind, limit):
    slots = bind(Limit(limit))
    running = most = 0

    async def work(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    step = slots.wrap(work)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(step(Work()) for _ in range(4 * limit)))
    assert most == limit
    assert asyncio.get_running_loop().time() - started == 4
    assert slots.used == 0


async def test_waiters_are_served_in_order_of_arrival(queue):
    jobs = queue(Limit(1))
    tasks = [jobs.start(name) for name in "abcde"]
    await asyncio.gather(*tasks)
    assert "".join(jobs.begun) == "abcde"


async def test_higher_priority_goes_first_and_fifo_inside_one(queue):
    jobs = queue(Limit(1, ageing=1_000))
    tasks = [jobs.start("running")]
    await asyncio.sleep(0)
    tasks += [jobs.start(*job) for job in [("a", 0), ("b", 1), ("c", 0), ("d", 1)]]
    await asyncio.gather(*tasks)
    assert jobs.begun == ["running", "b", "d", "a", "c"]


async def test_with_ageing_zero_only_arrival_counts(queue):
    jobs = queue(Limit(1, ageing=0))
    tasks = [jobs.start("running")]
    await asyncio.sleep(0)
    tasks += [jobs.start("a", 0), jobs.start("b", 9)]
    await asyncio.gather(*tasks)
    assert jobs.begun == ["running", "a", "b"]


async def test_priority_counts_as_many_seconds_as_ageing_says(queue):
    jobs = queue(Limit(1, ageing=5))
    tasks = [jobs.start("running")]
    await asyncio.sleep(0)
    tasks += [jobs.start("low"), jobs.start("low 2")]
    await asyncio.sleep(4)
    tasks += [jobs.start("high", 1), jobs.start("high 2", 1)]
    await asyncio.gather(*tasks)
    assert jobs.begun == ["running", "high", "high 2", "low", "low 2"]


async def test_ageing_lets_nobody_starve(queue):
    jobs = queue(Limit(1, ageing=5))
    tasks = [jobs.start("running"), jobs.start("low")]
    for number in range(4):
        await asyncio.sleep(6)
        tasks.append(jobs.start(f"high {number}", 1))
    await asyncio.gather(*tasks)
    assert jobs.begun[:2] == ["running", "low"]


async def test_the_wait_is_booked_as_limit(bind):
    slots = bind(Limit(1))
    step = slots.wrap(lambda _: asyncio.sleep(4))
    first, second = Work(), Work()
    await asyncio.gather(step(first), step(second))
    assert (first.timings.limit, second.timings.limit) == (0, 4)


async def test_a_failing_job_gives_its_slot_back(bind):
    slots = bind(Limit(1))

    async def fail(_):
        await asyncio.sleep(1)
        raise LookupError

    step = slots.wrap(fail)
    results = await asyncio.gather(
        *(step(Work()) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [LookupError] * 3
    assert slots.used == 0


async def test_a_cancelled_job_gives_its_slot_to_the_next(queue):
    jobs = queue(Limit(1))
    first, second = jobs.start("first"), jobs.start("second")
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert jobs.begun == ["first", "second"]
    await asyncio.wait([first, second])
    assert jobs.slots.used == 0


async def test_a_cancelled_waiter_is_passed_over(queue):
    jobs = queue(Limit(1))
    first, second, third = (jobs.start(name) for name in "abc")
    await asyncio.sleep(1)
    second.cancel()
    await asyncio.wait([first, second, third])
    assert jobs.begun == ["a", "c"]
    assert (jobs.slots.used, jobs.slots.waiting) == (0, 0)


async def test_a_slot_handed_to_a_waiter_that_is_cancelled_goes_on_to_the_next(bind):
    slots = bind(Limit(1))
    hold = asyncio.get_running_loop().create_future()
    begun = []

    async def work(job):
        begun.append(job.name)
        if job.name == "first":
            await hold

    step = slots.wrap(work)
    tasks = [asyncio.create_task(step(Work(n))) for n in ("first", "second", "third")]
    await asyncio.sleep(1)
    hold.set_result(None)
    await asyncio.sleep(0)  # `first` ends: its slot is handed to `second` …
    assert begun == ["first"]
    tasks[1].cancel()  # … which never gets to use it
    await asyncio.wait(tasks)
    assert begun == ["first", "third"]
    assert slots.used == 0


async def test_nobody_overtakes_a_waiter_that_was_handed_a_slot(bind):
    slots = bind(Limit(1))
    hold = asyncio.get_running_loop().create_future()
    begun = []

    async def work(job):
        begun.append(job.name)
        if job.name == "first":
            await hold

    step = slots.wrap(work)
    tasks = [asyncio.create_task(step(Work(n))) for n in ("first", "second")]
    await asyncio.sleep(1)
    hold.set_result(None)
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(step(Work("late"))))
    await asyncio.wait(tasks)
    assert begun == ["first", "second", "late"]


async def test_all_waiters_cancelled_leaves_the_slots_free(queue):
    jobs = queue(Limit(2))
    tasks = [jobs.start(str(number)) for number in range(6)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (jobs.slots.used, jobs.slots.waiting) == (0, 0)
    late = jobs.start("late")
    await asyncio.sleep(0)
    assert jobs.begun[-1] == "late"
    await late


async def test_a_higher_limit_lets_waiters_in_at_once(queue):
    jobs = queue(Limit(1))
    tasks = [jobs.start(str(number)) for number in range(4)]
    await asyncio.sleep(1)
    jobs.slots.resize(3)
    await asyncio.sleep(0)
    assert len(jobs.begun) == 3
    await asyncio.wait(tasks)


async def test_a_lower_limit_disturbs_nobody_and_holds_from_then_on(queue):
    jobs = queue(Limit(3))
    tasks = [jobs.start(str(number)) for number in range(6)]
    await asyncio.sleep(1)
    jobs.slots.resize(1)
    await asyncio.sleep(9.5)  # three are done: one place is left
    assert jobs.begun == ["0", "1", "2", "3"]
    await asyncio.wait(tasks)
    assert jobs.slots.used == 0


async def test_how_many_wait_counts_the_living_ones(queue):
    jobs = queue(Limit(1))
    tasks = [jobs.start(str(number)) for number in range(4)]
    await asyncio.sleep(1)
    assert jobs.slots.waiting == 3
    tasks[2].cancel()
    await asyncio.sleep(0)
    assert jobs.slots.waiting == 2
    await asyncio.wait(tasks)
