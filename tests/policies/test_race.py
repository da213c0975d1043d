"""Two calls of one job: whatever happens, one result, and nothing is left."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policies.hedging import Service, adds_up, hedge, hedger, one

import spanrun as sr
from spanrun.errors import JobCancelled
from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.hedge import Hedge
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


@pytest.fixture
def service(fake_clock):
    return lambda *plan: Service(*plan, clock=fake_clock)


async def test_both_calls_ending_in_one_step_give_one_value(make_runner, service):
    call = service(5, 3)
    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value in {0, 1}
    assert outcome.timings.duration == 5


async def test_both_calls_failing_and_succeeding_in_one_step(make_runner, service):
    for plan in ([(5, ValueError()), 3], [5, (3, ValueError())]):
        async with make_runner(hedge=hedge(at=2)) as runner:
            assert (await one(runner, service(*plan))).value in {0, 1}


async def test_cancelling_the_job_cancels_both(make_runner, service, fake_clock):
    call = service(100, 100)
    async with make_runner(hedge=hedge(at=2)) as runner:
        task = asyncio.create_task(runner.call(call))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sorted(call.cancelled) == [0, 1]
    assert fake_clock.now() == 5


async def test_job_that_cancels_itself_is_cancelled(make_runner):
    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(5)
            raise asyncio.CancelledError
        await asyncio.sleep(100)

    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert isinstance(outcome.error, JobCancelled)
    assert calls == 2


async def test_second_call_that_cancels_itself_is_out_of_the_race(make_runner):
    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise asyncio.CancelledError
        await asyncio.sleep(5)
        return "first"

    async with make_runner(hedge=hedge(at=2)) as runner:
        assert (await one(runner, call)).value == "first"


async def test_first_call_that_swallows_its_cancellation_is_waited_for(make_runner):
    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
            return "too late"
        return "second"

    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
        assert outcome.value == "second"
        assert outcome.timings.duration == 5


async def test_cancellation_while_the_loser_ends_is_not_lost(make_runner):
    calls = 0

    async def call():
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(4)
            return "first"
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(10)

    async with make_runner(hedge=hedge(at=2)) as runner:
        task = asyncio.create_task(runner.call(call))
        await asyncio.sleep(6)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_attempt_timeout_bounds_each_call_alone(make_runner, service, fake_clock):
    call = service(100, 100)
    timeout = sr.Timeout(attempt=5)
    async with make_runner(timeout=timeout, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert isinstance(outcome.error, sr.DeadlineExceeded)
    assert call.ended == [(0, 5), (1, 7)]


async def test_second_call_may_outlive_the_first_ones_timeout(make_runner, service):
    call = service(100, 4)
    timeout = sr.Timeout(attempt=5)
    async with make_runner(timeout=timeout, hedge=hedge(at=2)) as runner:
        assert (await one(runner, call)).value == 1


async def test_total_deadline_ends_both(make_runner, service):
    call = service(100, 100)
    timeout = sr.Timeout(total=5)
    async with make_runner(timeout=timeout, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert isinstance(outcome.error, sr.DeadlineExceeded)
    assert outcome.outcome == "timed_out"
    assert sorted(call.cancelled) == [0, 1]


async def test_total_deadline_in_the_step_in_which_the_second_wins(
    make_runner, service
):
    call = service(100, 3)
    timeout = sr.Timeout(total=5)
    async with make_runner(timeout=timeout, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert getattr(outcome, "value", None) == 1 or outcome.outcome == "timed_out"


async def test_users_own_timeout_in_the_call_works_in_both(make_runner):
    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        try:
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        except TimeoutError:
            return asyncio.get_running_loop().time()

    async with make_runner(hedge=hedge(at=2)) as runner:
        assert (await one(runner, call)).value == 5
    assert calls == 2


async def test_fatal_error_of_a_second_call_ends_the_program(make_runner):
    class Fatal(BaseException):
        pass

    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Fatal
        await asyncio.sleep(100)

    with pytest.raises(Fatal):
        async with make_runner(hedge=hedge(at=2)) as runner:
            await runner.map(call, range(1), errors="collect")


class Work:
    def __init__(self):
        self.timings = Timings()
        self.attempts = 0
        self.unit = None
        self.priority = 0
        self.task = None

    def hedged(self, after):
        pass

    def hedge_ended(self, result):
        pass


class Racing:
    """A job whose calls end when and as the test says."""

    def __init__(self, clock, policy, *, swallow=False):
        self.layer = policy.bind(Binding("test", clock))
        self.step = self.layer.wrap(self.layer.start.wrap(self.call))
        self.swallow = swallow
        self.calls = []
        self.cancelling = None
        self.task = asyncio.create_task(self.main())

    async def call(self, job):
        assert job.task is asyncio.current_task()
        future = asyncio.get_running_loop().create_future()
        self.calls.append(future)
        first = len(self.calls) == 1
        try:
            return await future
        except asyncio.CancelledError:
            if first and self.swallow:
                return "swallowed"
            raise

    async def main(self):
        job = Work()
        job.task = asyncio.current_task()
        try:
            return await self.step(job)
        finally:
            self.cancelling = job.task.cancelling()
            self.layer.close()


async def test_success_of_which_nobody_has_heard_yet_counts(fake_clock):
    racing = Racing(fake_clock, hedge(at=2))
    await asyncio.sleep(3)
    first, second = racing.calls
    second.set_result("second")
    first.set_exception(ValueError())
    assert await racing.task == "second"


@pytest.mark.parametrize("swallow", [True, False])
async def test_no_cancellation_is_left_on_the_job_when_a_second_call_wins(
    fake_clock, swallow
):
    racing = Racing(fake_clock, hedge(at=2), swallow=swallow)
    await asyncio.sleep(3)
    racing.calls[1].set_result("second")
    assert await racing.task == "second"
    assert racing.cancelling == 0


async def test_two_winners_at_once_are_no_cancellation(fake_clock):
    racing = Racing(fake_clock, hedge(at=2, max=2, share=2))
    await asyncio.sleep(5)
    for future in racing.calls[1:]:
        future.set_result("one of them")
    assert await racing.task == "one of them"
    assert racing.cancelling == 0


@pytest.mark.parametrize(
    ("first_gives", "second_gives", "value"),
    [("a", None, "a"), (None, "b", "b"), (ValueError(), "b", "b"), ("a", "b", "a")],
    ids=["first wins", "second wins", "first fails", "both at once"],
)
def test_a_cancellation_at_any_step_is_never_lost(first_gives, second_gives, value):
    def run(step):
        clock, done = FakeClock(), []

        async def main():
            racing = Racing(clock, hedge(at=2))
            clock.at_step(step, lambda: done.append(racing.task.cancel()))
            await asyncio.sleep(3)
            gives = [first_gives, second_gives]
            for future, result in zip(racing.calls, gives, strict=False):
                if isinstance(result, Exception):
                    future.done() or future.set_exception(result)
                elif result is not None:
                    future.done() or future.set_result(result)
            await asyncio.wait([racing.task])
            if True in done:
                assert racing.task.cancelled()
            else:
                assert racing.task.result() == value
            await asyncio.sleep(1)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return racing.task.cancelled()

        return clock.run(main()), clock.steps

    _, steps = run(10_000)
    cancelled = [run(step)[0] for step in range(1, steps + 1)]
    assert sum(cancelled) >= 5


seconds = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
endings = st.sampled_from(["ok", "error", "swallow", "cancel itself"])


class Chaos:
    """A service that does, for each item, what the plan says."""

    def __init__(self, plan, limit):
        self.plan = plan
        self.limit = limit
        self.calls = [0] * len(plan)
        self.running = 0

    async def __call__(self, number):
        assert self.running < self.limit
        self.running += 1
        self.calls[number] += 1
        first, ending, again = self.plan[number]
        try:
            await asyncio.sleep(first if self.calls[number] == 1 else again)
        except asyncio.CancelledError:
            if ending != "swallow":
                raise
            await asyncio.sleep(1)
        finally:
            self.running -= 1
        if ending == "error":
            raise ValueError
        if ending == "cancel itself":
            raise asyncio.CancelledError
        return number


EXPECTED = (
    ValueError,
    asyncio.CancelledError,
    sr.JobCancelled,
    sr.DeadlineExceeded,
)


def assert_nothing_left(runner):
    layer = hedger(runner)
    assert runner._core.slots.used == 0
    assert not layer.running
    assert not layer._late
    assert not layer._races
    assert not layer.branches
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(
    limit=st.integers(1, 3),
    plan=st.lists(st.tuples(seconds, endings, seconds), min_size=1, max_size=8),
    cancel=st.lists(st.tuples(st.integers(0, 7), seconds), max_size=4),
    most=st.integers(1, 2),
    attempt=st.sampled_from([None, 3.0]),
    total=st.sampled_from([None, 6.0]),
)
def test_nothing_is_lost_whatever_happens(limit, plan, cancel, most, attempt, total):
    clock = FakeClock()
    call = Chaos(plan, limit)

    async def main():
        async with sr.Runner(
            "test",
            limit=limit,
            timeout=sr.Timeout(attempt=attempt, total=total),
            hedge=Hedge(at=2.0, share=2.0, max=most),
            clock=clock,
        ) as runner:
            numbers = range(len(plan))
            tasks = [
                asyncio.create_task(runner.call(call, number)) for number in numbers
            ]
            for number, when in cancel:
                task = tasks[number % len(tasks)]
                asyncio.get_running_loop().call_later(when, task.cancel)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert_nothing_left(runner)
            for number, result in enumerate(results):
                assert result == number or isinstance(result, EXPECTED)
            outcomes = await runner.map(call, numbers, errors="collect")
            assert_nothing_left(runner)
            assert all(adds_up(outcome.timings) for outcome in outcomes)

    clock.run(main())
    assert call.running == 0
