import asyncio
import contextvars

import pytest
from tests.policies.hedging import Service, adds_up, hedge, hedger, one

import spanrun as sr
from spanrun.errors import ConfigurationError
from spanrun.policies._quantile import FEWEST
from spanrun.policies.hedge import Hedge

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def service(fake_clock):
    return lambda *plan: Service(*plan, clock=fake_clock)


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
    call = service(4, (0, ValueError("second")))
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


async def test_each_attempt_is_hedged_anew(make_runner, service):
    call = service((3, ConnectionError()), (4, ConnectionError()), 100, 1)
    retry = sr.Retry(on=ConnectionError, base=0, cap=0)
    async with make_runner(retry=retry, hedge=hedge(at=2)) as runner:
        outcome = await one(runner, call)
    assert outcome.value == 3
    assert outcome.attempts == 2
    assert call.began == [0, 2, 6, 8]


async def test_job_hears_of_its_second_calls(make_runner, service, monkeypatch):
    heard = []
    monkeypatch.setattr(
        "spanrun.runner.job.Job.hedged", lambda _, after: heard.append(after)
    )
    async with make_runner(hedge=hedge(at=2, max=2, share=2)) as runner:
        await one(runner, service(100, 100, 1))
    assert heard == [2, 4]


async def test_one_timer_serves_all_calls(make_runner):
    started = asyncio.Event()

    async def call(number):
        if number == 99:
            started.set()
        await asyncio.Event().wait()

    async def map_all():
        await runner.map(call, range(100))

    async with make_runner(limit=100, hedge=hedge(at=1_000)) as runner:
        task = asyncio.create_task(map_all())
        await started.wait()
        timers = asyncio.get_running_loop()._scheduled
        assert sum(not timer.cancelled() for timer in timers) == 1
        task.cancel()
        await asyncio.wait([task])


async def test_no_timer_is_left_when_the_runner_is_closed(make_runner, service):
    async with make_runner(hedge=hedge(at=1_000)) as runner:
        await one(runner, service(1))
    loop = asyncio.get_running_loop()
    assert all(timer.cancelled() for timer in loop._scheduled)
