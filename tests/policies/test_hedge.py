import asyncio
import contextvars

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanrun as sr
from spanrun.errors import ConfigurationError, JobCancelled
from spanrun.outcome import Timings
from spanrun.policies._quantile import FEWEST, KEPT, Quantile
from spanrun.policies.base import Binding
from spanrun.policies.hedge import Hedge, Hedger
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

variable = contextvars.ContextVar("variable", default="unset")


class Service:
    """Calls take the seconds that they were told, one after the other.

    An exception in place of seconds is raised at once, or after ``(seconds,
    exception)``.
    """

    def __init__(self, *plan, clock):
        self.plan = list(plan)
        self.clock = clock
        self.began = []
        self.cancelled = []
        self.ended = []

    async def __call__(self, *_):
        number = len(self.began)
        self.began.append(self.clock.now())
        what = self.plan[number] if number < len(self.plan) else 1.0
        seconds, error = what if isinstance(what, tuple) else (what, None)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.ended.append((number, self.clock.now()))
        if error is not None:
            raise error
        return number


@pytest.fixture
def service(fake_clock):
    return lambda *plan: Service(*plan, clock=fake_clock)


def hedge(at=2.0, share=1.0, **values):
    return Hedge(at=at, share=share, **values)


async def one(runner, call):
    """One job's outcome."""
    (outcome,) = await runner.map(call, ["item"], errors="collect")
    return outcome


def hedger(runner):
    (layer,) = (one for one in runner._core._layers if isinstance(one, Hedger))
    return layer


def adds_up(timings):
    parts = sum(seconds for _, seconds in timings.phases())
    return parts == pytest.approx(timings.duration)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", 0),
        ("at", -1.0),
        ("at", "p42"),
        ("at", "95"),
        ("max", 0),
        ("max", 1.5),
        ("share", 0),
        ("share", -0.5),
    ],
)
def test_nonsense_is_refused_with_field_and_value(field, value):
    with pytest.raises(ConfigurationError, match=rf"Hedge\({field}=") as caught:
        Hedge(**{field: value})
    assert repr(value) in str(caught.value)


async def test_call_that_is_not_late_is_made_once(make_runner, service):
    call = service(1.9)
    async with make_runner(hedge=hedge(at=2)) as runner:
        assert (await one(runner, call)).value == 0
    assert call.began == [0]


async def test_late_call_is_made_again_and_the_first_success_wins(make_runner, service):
    call = service(100, 3)
    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 1
    assert outcome.timings.duration == 5
    assert call.began == [0, 2]
    assert call.cancelled == [0]
    assert adds_up(outcome.timings)


async def test_first_call_may_win_the_race_too(make_runner, service):
    call = service(4, 100)
    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 0
    assert outcome.timings.duration == 4
    assert call.cancelled == [1]


async def test_loser_is_awaited_before_the_job_ends(make_runner, fake_clock):
    began, ended = [], []

    async def call(_):
        number = len(began)
        began.append(number)
        try:
            await asyncio.sleep(1 if number else 100)
        finally:
            await asyncio.sleep(0 if number else 7)  # a slow clean-up
            ended.append((number, fake_clock.now()))
        return number

    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 1
    assert ended == [(1, 3), (0, 10)]
    assert outcome.timings.duration == 10


async def test_second_call_that_fails_changes_nothing(make_runner, service):
    call = service(4, ValueError("second"))
    async with make_runner(hedge=hedge(at=2)) as runner:
        assert (await one(runner, call)).value == 0


async def test_first_call_that_fails_leaves_it_to_the_second(make_runner, service):
    call = service((3, ValueError("first")), 10)
    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 1
    assert outcome.timings.duration == 12


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ([(3, ValueError("first")), (5, KeyError("second"))], ValueError),
        ([(9, ValueError("first")), (1, KeyError("second"))], KeyError),
    ],
)
async def test_when_both_fail_the_earlier_error_is_raised(
    make_runner, service, plan, told
):
    async with make_runner(hedge=hedge(at=2)) as runner:
        outcome = await one(runner, service(*plan))
    assert isinstance(outcome.error, told)


async def test_failure_before_it_is_late_is_not_hedged(make_runner, service):
    call = service((1, ValueError("first")))
    async with make_runner(hedge=hedge(at=2)) as runner:
        assert isinstance((await one(runner, call)).error, ValueError)
    assert call.began == [0]


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


async def test_second_call_needs_a_slot_of_its_own(make_runner, service, fake_clock):
    call = service(100, 6, 1)
    async with make_runner(limit=2, hedge=hedge(at=2)) as runner:
        outcomes = await runner.map(call, range(2), errors="collect")
        assert runner._core.slots.used == 0
    # Item 0 is late at 2 s, and its second call waits until item 1 is done.
    assert call.began == [0, 0, 6]
    hedged = outcomes[0]
    assert hedged.value == 2
    assert hedged.timings.limit == 4
    assert hedged.timings.duration == 7
    assert adds_up(hedged.timings)


async def test_first_calls_own_waits_do_not_make_it_late(make_runner, service):
    call = service(*[1.5] * 8)
    async with make_runner(limit=1, hedge=hedge(at=2)) as runner:
        results = await asyncio.gather(*(runner.call(call) for _ in range(8)))
    assert sorted(results) == list(range(8))
    assert call.cancelled == []


async def test_wait_for_a_token_does_not_make_it_late(make_runner, service):
    call = service()
    rate = sr.RateLimit(1, per=30)
    async with make_runner(limit=8, rate=rate, hedge=hedge(at=2)) as runner:
        await runner.map(call, range(4))
    assert call.began == [0, 30, 60, 90]


async def test_second_call_needs_a_token_too_and_only_the_winners_wait_is_booked(
    make_runner, service
):
    call = service(100, 100)
    rate = sr.RateLimit(1, per=30)
    async with make_runner(limit=8, rate=rate, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, service(100, 4))
        assert outcome.value == 1
        assert outcome.timings.rate_limit == 28
        assert outcome.timings.duration == 34
        assert adds_up(outcome.timings)
        # The loser's wait isn't booked.
        outcome = await one(runner, call := service(20, 100))
        assert outcome.value == 0
        assert call.began == [60]
        assert outcome.timings.rate_limit == 26


async def test_winners_waits_are_those_before_and_after_it_was_sent(
    make_runner, service
):
    rate = sr.RateLimit(1, per=30)
    async with make_runner(limit=8, rate=rate, hedge=hedge(at=2)) as runner:
        await one(runner, service(1))
        outcome = await one(runner, service(100, 4))
    # It waited 29 s for its first token, was late after 2 s, waited 28 s more.
    assert outcome.value == 1
    assert outcome.timings.rate_limit == 29 + 28
    assert outcome.timings.duration == 29 + 2 + 28 + 4


async def test_busy_time_of_the_loser_is_not_booked_twice(make_runner, fake_clock):
    calls = 0

    async def call(_):
        nonlocal calls
        calls += 1
        first = calls == 1
        fake_clock.advance(0.5)
        for _ in range(20 if first else 3):
            await asyncio.sleep(1)
            fake_clock.advance(0.25)  # both burn the processor
        return first

    async with make_runner(limit=1 + 1, hedge=hedge(at=2.0)) as runner:
        outcome = await one(runner, call)
    timings = outcome.timings
    assert outcome.value is False
    assert timings.busy + timings.limit + timings.rate_limit <= timings.duration
    assert adds_up(timings)


async def test_second_calls_are_a_share_of_the_first(make_runner):
    async def call(_):
        await asyncio.sleep(10)

    async with make_runner(limit=20, hedge=Hedge(at=1.0, share=0.05)) as runner:
        await runner.map(call, range(1_000))
        assert hedger(runner).sent == 50


async def test_share_that_was_not_used_is_not_saved_up_for_a_storm(make_runner):
    slow = False

    async def call(_):
        await asyncio.sleep(100 if slow else 0.1)

    async with make_runner(limit=100, hedge=Hedge(at=1.0, share=0.1)) as runner:
        await runner.map(call, range(2_000))
        assert hedger(runner).sent == 0
        slow = True
        await runner.map(call, range(100))
        assert hedger(runner).sent <= 10 + 10


async def test_at_a_quantile_nothing_is_hedged_before_it_is_known(make_runner, service):
    call = service(*[1.0] * (FEWEST - 1), 50, 100)
    async with make_runner(limit=1, hedge=hedge(at="p95")) as runner:
        await runner.map(call, range(FEWEST))
    assert len(call.began) == FEWEST


async def test_late_is_what_takes_longer_than_most(make_runner, fake_clock):
    began = []

    async def call(seconds):
        began.append(fake_clock.now())
        await asyncio.sleep(seconds)

    usual = [1.0 + number * 37 % 100 / 100 for number in range(400)]
    async with make_runner(limit=2, hedge=hedge(at="p95")) as runner:
        await runner.map(call, usual)
        began.clear()
        await runner.map(call, [50])
    assert began[1] - began[0] == pytest.approx(1.95, abs=0.02)


async def test_hedging_does_not_drag_its_own_quantile_down(make_runner, fake_clock):
    calls, seen = 0, set()

    async def call(number):
        nonlocal calls
        calls += 1
        # One in ten is slow, when it is called first.
        slow = number % 10 == 0 and number not in seen
        seen.add(number)
        await asyncio.sleep(10 if slow else 1)

    async with make_runner(limit=4, hedge=hedge(at="p90")) as runner:
        await runner.map(call, range(1_000))
        assert hedger(runner).after > 1
    assert calls < 1_000 * 1.2


async def test_each_call_is_late_in_its_own_time(make_runner, fake_clock):
    began = []

    async def call(delay):
        began.append((delay, fake_clock.now()))
        await asyncio.sleep(50)

    async def later(delay):
        await asyncio.sleep(delay)
        await runner.call(call, delay)

    delays = [0, 0.5, 1.5, 7]
    async with make_runner(hedge=hedge(at=2)) as runner:
        await asyncio.gather(*map(later, delays))
    first_and_second = [(delay, delay + more) for delay in delays for more in (0, 2)]
    assert sorted(began) == first_and_second


async def test_second_calls_up_to_max(make_runner, service):
    call = service(100, 100, 100, 1)
    async with make_runner(hedge=hedge(at=2, max=3, share=3)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 3
    assert call.began == [0, 2, 4, 6]
    assert sorted(call.cancelled) == [0, 1, 2]


async def test_second_call_has_a_copy_of_the_jobs_context(make_runner):
    seen = []

    async def call():
        seen.append(variable.get())
        variable.set("changed by a call")
        await asyncio.sleep(1 if len(seen) == 3 else 100)

    async def main():
        variable.set("the caller's")
        async with make_runner(hedge=hedge(at=2, max=2, share=2)) as runner:
            await runner.call(call)

    await asyncio.create_task(main())
    assert seen == ["the caller's"] * 3


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


async def test_each_attempt_is_hedged_anew(make_runner, service):
    call = service((3, ConnectionError()), (4, ConnectionError()), 100, 1)
    retry = sr.Retry(on=ConnectionError, base=0, cap=0)
    async with make_runner(retry=retry, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 3
    assert outcome.attempts == 2
    assert call.began == [0, 2, 6, 8]


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


async def test_job_hears_of_its_second_calls(make_runner, service, monkeypatch):
    heard = []
    monkeypatch.setattr(
        "spanrun.runner.job.Job.hedged", lambda _, after: heard.append(after)
    )
    async with make_runner(hedge=hedge(at=2, max=2, share=2)) as runner:
        await one(runner, service(100, 100, 1))
    assert heard == [2, 4]


async def test_no_timer_is_left_when_the_runner_is_closed(make_runner, service):
    async with make_runner(hedge=hedge(at=1_000)) as runner:
        await one(runner, service(1))
    loop = asyncio.get_running_loop()
    assert all(timer.cancelled() for timer in loop._scheduled)


class Work:
    def __init__(self):
        self.timings = Timings()
        self.attempts = 0
        self.priority = 0
        self.task = None

    def hedged(self, after):
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
    assert not layer._running
    assert not layer._late
    assert not layer._races
    assert not layer._branches
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


def test_quantile_of_few_values_is_not_told():
    quantile = Quantile(0.95)
    for _ in range(FEWEST - 1):
        quantile.add(1.0)
    assert quantile.value is None
    quantile.add(1.0)
    assert quantile.value == 1.0


def test_quantile_forgets():
    quantile = Quantile(0.5)
    for _ in range(1_000):
        quantile.add(1.0)
    for _ in range(2 * KEPT):
        quantile.add(5.0)
    assert quantile.value == 5.0


@given(st.lists(st.floats(0, 1e6), min_size=FEWEST, max_size=500))
def test_quantile_is_between_the_values_and_about_right(values):
    quantile = Quantile(0.95)
    for value in values:
        quantile.add(value)
    assert quantile.value in values
    if len(values) == FEWEST:
        assert sum(value > quantile.value for value in values) <= 1
