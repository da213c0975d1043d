import asyncio
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.policies.gated import Calls, Work

import spanrun as sr
from spanrun.errors import ConfigurationError
from spanrun.policies.rate import Pace, RateLimit
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


@pytest.fixture
def calls(fake_clock):
    return lambda rate=None: Calls(rate, fake_clock)


def timers():
    loop = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 0),
        ("rate", -1),
        ("rate", math.nan),
        ("rate", math.inf),
        ("per", 0),
        ("per", math.inf),
        ("burst", 0),
        ("burst", 1.5),
        ("burst", True),
        ("name", ""),
    ],
)
def test_nonsense_is_refused_with_field_and_value(field, value):
    with pytest.raises(ConfigurationError, match=rf"RateLimit\({field}=") as caught:
        RateLimit(**{"rate": 10, field: value})
    assert repr(value) in str(caught.value)


async def test_first_call_waits_for_nothing(calls, fake_clock):
    job = Work()
    await calls(RateLimit(1, per=3600)).step(job)
    assert fake_clock.now() == 0
    assert job.timings.rate_limit == 0


async def test_calls_are_spaced_evenly(calls):
    assert await calls(RateLimit(10)).make(6) == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    )


async def test_burst_may_begin_at_once_and_then_calls_are_spaced(calls):
    began = await calls(RateLimit(2, burst=3)).make(6)
    assert began == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


async def test_rate_that_was_not_used_is_not_saved_up_beyond_the_burst(calls):
    jobs = calls(RateLimit(2, burst=2))
    await asyncio.sleep(1_000)
    assert await jobs.make(4) == pytest.approx([1_000, 1_000, 1_000.5, 1_001])


async def test_waiters_are_served_in_order_of_arrival(calls):
    jobs = calls(RateLimit(1))
    tasks = [jobs.start(name) for name in "abcde"]
    await asyncio.gather(*tasks)
    assert jobs.names == list("abcde")


async def test_higher_priority_is_served_first_and_nobody_starves(calls):
    jobs = calls(RateLimit(1))
    tasks = [jobs.start("first"), jobs.start("low"), jobs.start("high", 3)]
    await asyncio.sleep(2.5)  # the low one has its turn at 2 s
    tasks += [jobs.start("late", 1), jobs.start("later", 9)]
    await asyncio.gather(*tasks)
    assert jobs.names == ["first", "high", "low", "later", "late"]


async def test_newcomer_does_not_overtake_who_waits(calls, fake_clock):
    jobs = calls(RateLimit(1))
    first, waits = jobs.start("first"), jobs.start("waits")
    await asyncio.sleep(0.5)
    fake_clock.advance(10)  # a token is due, but the timer has not rung
    newcomer = jobs.start("newcomer")
    await asyncio.gather(first, waits, newcomer)
    assert jobs.names == ["first", "waits", "newcomer"]


async def test_one_timer_serves_all_who_wait(calls):
    jobs = calls(RateLimit(1))
    tasks = [jobs.start() for _ in range(50)]
    await asyncio.sleep(0)
    timer = jobs.gate.tokens._timer
    tasks += [jobs.start() for _ in range(50)]
    await asyncio.sleep(0)
    assert jobs.gate.waiting == 99
    assert timers() == 1
    assert jobs.gate.tokens._timer is timer
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert jobs.gate.waiting == 0
    assert timers() == 0


async def test_wait_is_booked_also_when_it_is_cut_short(calls):
    jobs = calls(RateLimit(1, per=10))
    await jobs.make(1)
    served, cancelled = Work(), Work()
    tasks = [jobs.start(job=served), jobs.start(job=cancelled)]
    await asyncio.sleep(12)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert served.timings.rate_limit == pytest.approx(10)
    assert cancelled.timings.rate_limit == pytest.approx(12)


@pytest.mark.parametrize("when", [0, 0.5, 1, 1.5, 2], ids=str)
async def test_cancelled_waiter_costs_no_token(calls, when):
    jobs = calls(RateLimit(1))
    tasks = [jobs.start(name) for name in "abcd"]
    asyncio.get_running_loop().call_later(when, tasks[1].cancel)
    asyncio.get_running_loop().call_later(when, tasks[2].cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    served = len(jobs.names)
    assert jobs.began == pytest.approx(range(served))


async def test_waiter_cancelled_in_the_step_of_its_turn_passes_the_token_on(calls):
    jobs = calls(RateLimit(1))
    first, second, third = (jobs.start(name) for name in "abc")
    await first
    loop = asyncio.get_running_loop()
    serve = jobs.gate.tokens._timer._callback

    def serve_and_cancel():
        serve()
        second.cancel()

    jobs.gate.tokens._timer._callback = serve_and_cancel
    await asyncio.gather(second, third, return_exceptions=True)
    assert second.cancelled()
    assert jobs.names == ["a", "c"]
    assert loop.time() == 1


async def test_last_waiter_cancelled_in_the_step_of_its_turn_leaves_the_token(calls):
    jobs = calls(RateLimit(1))
    first, second = jobs.start("a"), jobs.start("b")
    await first
    serve = jobs.gate.tokens._timer._callback
    jobs.gate.tokens._timer._callback = lambda: (serve(), second.cancel())
    await asyncio.gather(second, return_exceptions=True)
    await jobs.start("c")
    assert jobs.began == [0, 1]


async def test_pause_holds_all_calls_and_then_lets_all_go(calls):
    jobs = calls()
    jobs.gate.pause(30)
    assert await jobs.make(3) == [30, 30, 30]
    await jobs.make(1)
    assert jobs.began[3] == 30


async def test_pause_that_is_over_costs_nothing(calls, fake_clock):
    jobs, job = calls(), Work()
    jobs.gate.pause(30)
    await asyncio.sleep(31)
    await jobs.step(job)
    assert fake_clock.now() == 31
    assert job.timings.rate_limit == 0
    assert not jobs.gate.tokens.paused


async def test_longer_pause_counts_and_a_shorter_one_does_not(calls):
    jobs = calls()
    jobs.gate.pause(30)
    tasks = [jobs.start(), jobs.start()]
    await asyncio.sleep(1)
    jobs.gate.pause(60)
    jobs.gate.pause(5)
    await asyncio.gather(*tasks)
    assert jobs.began == [61, 61]


async def test_after_a_pause_calls_are_spaced_by_the_rate_again(calls):
    jobs = calls(RateLimit(2, burst=5))
    jobs.gate.pause(30)
    assert await jobs.make(4) == pytest.approx([30, 30.5, 31, 31.5])


async def test_pause_is_not_cut_short_by_a_token_that_is_given_back(calls):
    jobs = calls(RateLimit(1, per=10))
    first, second, third = (jobs.start(name) for name in "abc")
    await first
    serve = jobs.gate.tokens._timer._callback

    def serve_pause_and_cancel():
        serve()
        jobs.gate.pause(60)
        jobs.gate.pause(1)
        second.cancel()

    jobs.gate.tokens._timer._callback = serve_pause_and_cancel
    await asyncio.gather(second, third, return_exceptions=True)
    assert jobs.began == [0, 70]


async def test_late_timer_costs_neither_rate_nor_the_bound(calls, fake_clock):
    jobs = calls(RateLimit(100))
    loop = asyncio.get_running_loop()

    async def lag():
        while len(jobs.began) < 1_000:
            await asyncio.sleep(0.01)
            fake_clock.advance(0.003)  # whoever is due in this time is late

    await asyncio.gather(lag(), jobs.make(1_000))
    assert loop.time() == pytest.approx(1_000 / 100, rel=0.01)
    assert_bound(jobs.began, 100, 1.0)


def assert_bound(began, most, per):
    for early, late in zip(began, began[most:], strict=False):
        assert late - early >= per * (1 - 1e-9) - 1e-9


@settings(max_examples=60, deadline=None)
@given(
    rate=st.one_of(
        st.floats(0.01, 30), st.integers(1, 50), st.sampled_from([1e-3, 1e5])
    ),
    per=st.sampled_from([0.001, 0.5, 1.0, 60.0, 3_600.0]),
    burst=st.integers(1, 4),
    start=st.sampled_from([0.0, 1e3, 1e7]),
    plan=st.lists(
        st.tuples(
            st.floats(0, 3),  # until this job comes, in tokens
            st.floats(0, 2),  # the loop is blocked so long, in tokens
            st.booleans(),  # this job is cancelled
        ),
        min_size=2,
        max_size=40,
    ),
)
@example(0.01, 0.001, 1, 0.0, [(0.0, 0.0, False), (0.0, 1.0, False), (0.0, 1.0, False)])
def test_never_more_than_rate_in_any_window(rate, per, burst, start, plan):
    clock = FakeClock(start)
    token = per / rate

    async def main():
        jobs = Calls(RateLimit(rate, per=per, burst=burst), clock)
        tasks = []
        for wait, block, cancel in plan:
            await asyncio.sleep(wait * token * 0.3)
            tasks.append(jobs.start())
            await asyncio.sleep(0)
            clock.advance(min(block * token, 60))
            if cancel:
                tasks[len(tasks) // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return jobs.began

    began = clock.run(main())
    most = math.ceil(rate) + burst - 1
    slack = 4 * math.ulp(start + clock.now())
    for early, late in zip(began, began[most:], strict=False):
        assert late - early >= per - slack - 1e-6


@given(
    rate=st.floats(1e-3, 1e6),
    burst=st.integers(1, 10),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_pace_never_gives_more_than_its_bound(rate, burst, steps):
    pace = Pace(RateLimit(rate, burst=burst))
    now, taken = 0.0, []
    for step in steps:
        now = max(now + step * pace.interval, pace.due)
        pace.take(now, min(pace.slack, step * pace.interval))
        taken.append(now)
    most = math.ceil(rate) + burst - 1
    for early, late in zip(taken, taken[most:], strict=False):
        assert late - early >= 1 - 1e-9


async def test_very_high_rate_is_kept(calls, fake_clock):
    jobs = calls(RateLimit(100_000))
    await jobs.make(1_000)
    assert fake_clock.now() == pytest.approx(0.01, rel=0.01)


async def test_runner_books_the_wait_and_the_parts_add_up(make_runner):
    async def job(_):
        await asyncio.sleep(0.3)

    async with make_runner(limit=2, rate=RateLimit(1)) as runner:
        outcomes = await runner.map(job, range(5), errors="collect")
    for outcome in outcomes:
        timings = outcome.timings
        assert sum(seconds for _, seconds in timings.phases()) == pytest.approx(
            timings.duration
        )
    assert outcomes[4].timings.rate_limit > 1


async def test_retry_after_pauses_a_rate_limited_runner(make_runner, fake_clock):
    began = []

    async def job(item):
        began.append(fake_clock.now())
        if len(began) == 1:
            raise sr.ServiceError("busy", status=429, retry_after=30)

    retry = sr.Retry(on=sr.ServiceError, base=0, cap=0)
    async with make_runner(limit=8, retry=retry, rate=RateLimit(10)) as runner:
        await runner.map(job, range(4))
    assert began == pytest.approx([0, 30, 30.1, 30.2, 30.3])
