import asyncio
import pickle
from types import SimpleNamespace

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError, DeadlineExceeded
from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.timeout import Bound, Timeout
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


@pytest.mark.parametrize("field", ["attempt", "total"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_nonsense_is_refused_with_field_and_value(field, value):
    with pytest.raises(ConfigurationError, match=rf"Timeout\({field}={value!r}\)"):
        Timeout(**{field: value})


def test_a_bound_that_is_not_set_is_no_layer():
    binding = Binding("test", FakeClock())
    assert Timeout(total=3).attempt_layer(binding) is None
    assert Timeout(attempt=3).deadline_layer(binding) is None


async def test_a_job_in_time_gives_its_value_and_leaves_no_timer(make_runner):
    async with make_runner(timeout=sr.Timeout(attempt=5, total=9)) as runner:
        assert await runner.call(asyncio.sleep, 4, "value") == "value"
    assert not [t for t in asyncio.get_running_loop()._scheduled if not t.cancelled()]


async def test_attempt_bounds_each_attempt_anew(make_runner, fake_clock):
    begun = []

    async def job(_):
        begun.append(fake_clock.now())
        await asyncio.sleep(10)

    retry = sr.Retry(on=TimeoutError, attempts=3, base=0, cap=0)
    async with make_runner(timeout=sr.Timeout(attempt=4), retry=retry) as runner:
        (outcome,) = await runner.map(job, "a", errors="collect")
    assert begun == [0, 4, 8]
    assert outcome.outcome == "timed_out"
    assert (outcome.error.scope, outcome.error.seconds) == ("attempt", 4)
    assert outcome.attempts == 3


async def test_attempt_does_not_count_the_wait_for_a_slot(make_runner):
    async with make_runner(limit=1, timeout=sr.Timeout(attempt=4)) as runner:
        calls = [runner.call(asyncio.sleep, 3, number) for number in range(4)]
        assert await asyncio.gather(*calls) == [0, 1, 2, 3]


async def test_total_counts_the_wait_for_a_slot(make_runner, fake_clock):
    async with make_runner(limit=1, timeout=4) as runner:
        calls = [runner.call(asyncio.sleep, 3, number) for number in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[0] == 0
    assert isinstance(results[1], DeadlineExceeded)
    assert fake_clock.now() == 4


async def test_total_counts_attempts_and_backoff(make_runner, fake_clock):
    async def fail():
        await asyncio.sleep(1)
        raise ConnectionError

    retry = sr.Retry(on=ConnectionError, attempts=99, base=1, cap=1, budget=None)
    async with make_runner(timeout=7, retry=retry) as runner:
        with pytest.raises(DeadlineExceeded) as caught:
            await runner.call(fail)
    assert caught.value.scope == "total"
    assert fake_clock.now() == 7


async def test_the_error_is_a_timeout_error_and_says_which(make_runner):
    async with make_runner(timeout=sr.Timeout(total=2)) as runner:
        with pytest.raises(TimeoutError, match=r"2 s .* Timeout\(total=") as caught:
            await runner.call(asyncio.sleep, 3)
    assert caught.value.__cause__ is None


async def test_when_both_are_up_at_once_it_is_the_total(make_runner):
    timeout = sr.Timeout(attempt=4, total=4)
    retry = sr.Retry(on=TimeoutError, attempts=5)
    async with make_runner(timeout=timeout, retry=retry) as runner:
        with pytest.raises(DeadlineExceeded) as caught:
            await runner.call(asyncio.sleep, 9)
    assert caught.value.scope == "total"


async def test_total_during_the_cleaning_up_of_an_attempt_is_the_total(make_runner):
    async def slow_to_leave():
        try:
            await asyncio.sleep(50)
        finally:
            await asyncio.sleep(50)

    async with make_runner(timeout=sr.Timeout(attempt=4, total=6)) as runner:
        with pytest.raises(DeadlineExceeded) as caught:
            await runner.call(slow_to_leave)
    assert caught.value.scope == "total"


async def test_a_deadline_exactly_at_completion_has_one_clean_end(make_runner):
    async with make_runner(timeout=4) as runner:
        (outcome,) = await runner.map(
            lambda s: asyncio.sleep(s, "value"), [4], errors="collect"
        )
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
    assert isinstance(outcome, sr.Ok) or outcome.outcome == "timed_out"
    assert outcome.timings.duration == 4


async def test_a_job_that_swallows_its_deadline_gives_its_value(make_runner):
    async def stubborn():
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "late, but here"

    async with make_runner(timeout=sr.Timeout(attempt=4, total=40)) as runner:
        assert await runner.call(stubborn) == "late, but here"


async def test_a_job_that_swallows_one_attempts_deadline_meets_the_total(make_runner):
    async def stubborn():
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            await asyncio.sleep(50)

    async with make_runner(timeout=sr.Timeout(attempt=4, total=9)) as runner:
        with pytest.raises(DeadlineExceeded) as caught:
            await runner.call(stubborn)
    assert caught.value.scope == "total"


async def test_an_error_raised_in_answer_to_the_deadline_stands(make_runner):
    async def fail():
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            raise LookupError("instead") from None

    async with make_runner(timeout=4) as runner:
        with pytest.raises(LookupError, match="instead"):
            await runner.call(fail)


async def test_cancelled_from_outside_before_the_deadline_is_cancelled(make_runner):
    async def slow_to_leave():
        try:
            await asyncio.sleep(50)
        finally:
            await asyncio.sleep(50)

    async with make_runner(timeout=4) as runner:
        task = asyncio.create_task(runner.call(slow_to_leave))
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_tasks_count_of_cancellations_is_as_before():
    task = asyncio.current_task()
    binding = Binding("test", FakeClock())
    step = Bound("total", 4, binding).wrap(lambda _: asyncio.sleep(9))
    job = SimpleNamespace(timings=Timings(), task=task)
    with pytest.raises(DeadlineExceeded):
        await step(job)
    assert task.cancelling() == 0


async def test_a_job_can_use_timeouts_of_its_own_inside(make_runner):
    async def job():
        try:
            async with asyncio.timeout(2):
                await asyncio.sleep(50)
        except TimeoutError:
            return "its own"

    async with make_runner(timeout=sr.Timeout(attempt=4, total=9)) as runner:
        assert await runner.call(job) == "its own"


async def test_a_jobs_own_timeout_at_the_same_moment_has_one_clean_end(make_runner):
    async def job():
        async with asyncio.timeout(4):
            await asyncio.sleep(50)

    async with make_runner(timeout=4) as runner:
        with pytest.raises(TimeoutError):
            await runner.call(job)
        assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("scope", ["attempt", "total"])
async def test_a_timeout_that_fires_late_says_why(make_runner, fake_clock, scope):
    async def block():
        await asyncio.sleep(2)
        fake_clock.advance(1.5)  # in one step: nothing else runs

    async with make_runner(limit=2, timeout=sr.Timeout(**{scope: 3})) as runner:
        late = asyncio.create_task(runner.call(asyncio.sleep, 9))
        await runner.call(block)
        with pytest.raises(DeadlineExceeded) as caught:
            await late
    assert (caught.value.elapsed, caught.value.blocked) == (3.5, 0.5)
    assert str(caught.value) == (
        f"3 s for {'one attempt' if scope == 'attempt' else 'the whole job'} were up: "
        f"Timeout({scope}=…); it had 3 s of 3.5, as the event loop was blocked for "
        "0.5 s of them"
    )


async def test_how_long_the_loop_was_blocked_is_asked_of_who_knows():
    task = asyncio.current_task()
    asked = []

    def blocked(seconds):
        asked.append(seconds)
        return 1.25

    binding = Binding("test", FakeClock(), blocked=blocked)
    step = Bound("total", 4, binding).wrap(lambda _: asyncio.sleep(9))
    with pytest.raises(DeadlineExceeded, match=r"it had 2\.75 s of 4") as caught:
        await step(SimpleNamespace(timings=Timings(), task=task))
    assert asked == [4]
    assert pickle.loads(pickle.dumps(caught.value)).blocked == 1.25  # noqa: S301
    assert task.cancelling() == 0
