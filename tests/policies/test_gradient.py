"""The adaptive limit's algorithm, against a simulated service."""

import math

import pytest
from bench.queueing import Service, constant, exponential, noisy, simulate
from hypothesis import given
from hypothesis import strategies as st

from spanrun.policies._gradient import PROBE_EVERY, Gradient


@pytest.mark.parametrize("seconds", [constant, noisy])
@pytest.mark.parametrize("factor", [0.25, 4], ids=["below", "above"])
@pytest.mark.parametrize("capacity", [4, 16, 64, 200])
def test_limit_settles_where_the_service_is_busy_and_nothing_queues(
    capacity, factor, seconds
):
    limiter = Gradient(round(capacity * factor), 1, 2_000)
    history = simulate(Service(capacity, seconds), limiter, 300)
    low, high = 0.7 * capacity, 1.5 * capacity
    assert low <= history.mean(150, 300) <= high
    assert history.share(low, high, 150, 300) > 0.8  # the rest: probes


@pytest.mark.parametrize("capacity", [4, 16, 64])
def test_limit_settles_below_the_number_at_which_calls_are_refused(capacity):
    service = Service(capacity, noisy, refuses=0.01)
    history = simulate(service, Gradient(16, 1, 1_000), 300)
    assert 0.7 * capacity <= history.mean(150, 300) <= 1.1 * capacity
    assert service.done / service.now / capacity > 0.75


def test_limit_settles_though_calls_take_very_different_times():
    history = simulate(Service(64, exponential), Gradient(16, 1, 1_000), 300)
    assert 0.7 * 64 <= history.mean(150, 300) <= 1.5 * 64


@pytest.mark.parametrize(
    ("before", "after"), [(64, 16), (16, 64), (20, 200), (200, 20)]
)
def test_limit_follows_a_change_of_the_capacity(before, after):
    service = Service(before, noisy)
    history = simulate(service, Gradient(16, 1, 1_000), 450, changes=[(200, after)])
    assert history.reached(0.7 * after, 1.5 * after, 200) < 100
    assert 0.7 * after <= history.mean(320, 450) <= 1.5 * after


def test_limit_follows_when_all_calls_become_slower_without_a_queue():
    seconds = [1.0]
    service = Service(10_000, lambda _: seconds[0])
    limiter = Gradient(16, 1, 64)
    simulate(service, limiter, 100)
    seconds[0] = 5.0
    simulate(service, limiter, 2_000)
    assert limiter.baseline == pytest.approx(5.0)
    history = simulate(service, limiter, 3_000)
    assert history.mean(2_000, 3_000) > 55


@pytest.mark.parametrize("seconds", [constant, noisy])
def test_limit_grows_to_its_maximum_where_nothing_queues_and_stays(seconds):
    history = simulate(Service(10_000, seconds), Gradient(16, 1, 128), 600)
    reached = history.reached(128, 128)
    assert reached < 60
    assert history.mean(reached, 600) > 0.95 * 128
    assert history.share(64, 128, reached, 600) > 0.99


@pytest.mark.parametrize("demand", [1, 5, 12, 15])
def test_limit_does_not_grow_while_it_is_not_used(demand):
    history = simulate(Service(10_000, noisy), Gradient(16, 1, 128), 300, demand=demand)
    assert max(limit for _, limit in history.limits) == 16


def test_no_probe_is_needed_while_less_than_half_is_used():
    limiter = Gradient(16, 1, 128)
    history = simulate(Service(10_000, constant), limiter, 600, demand=7)
    assert history.limits == [(0.0, 16)]
    assert limiter.baseline == pytest.approx(1.0)


def test_start_far_too_high_is_corrected_by_the_first_probe():
    history = simulate(Service(16, constant), Gradient(256, 1, 1_000), 160)
    limits = [limit for _, limit in history.limits]
    assert limits[:6] == [256, 128, 64, 32, 16, 8]
    assert 16 <= limits[6] <= 24


def feed(limiter, seconds, count, start):
    """One call after the other; returns when the last one ended."""
    for number in range(count):
        limiter.learn(start + number, start + number + 0.5, seconds, limiter.limit)
    return start + count


def test_one_slow_window_halves_the_limit_at_most():
    limiter = Gradient(64, 1, 64)
    now = feed(limiter, 1.0, 1_000, 0.0)
    assert limiter.limit == 64
    while limiter.limit == 64:
        now = feed(limiter, 1_000.0, 1, now)
    assert limiter.limit >= 32


def test_refusals_end_the_fast_growth_at_the_start():
    limiter = Gradient(16, 1, 10_000)
    now = feed(limiter, 1.0, 500, 0.0)
    assert limiter.limit > 32
    now = feed(limiter, None, 1, now)
    now = feed(limiter, 1.0, 3 * limiter.limit, now)
    limit = limiter.limit
    feed(limiter, 1.0, 3 * limiter.limit, now)
    assert limiter.limit < limit * 1.5


def test_calls_that_take_no_time_at_all_are_no_error():
    limiter = Gradient(16, 1, 64)
    feed(limiter, 0.0, 2_000, 0.0)
    assert limiter.limit == 64


def test_refusals_of_older_calls_do_not_count_twice():
    limiter = Gradient(16, 1, 64)
    limiter.learn(0, 100, 1.0, 16)  # the window begins
    for _ in range(100):
        limiter.learn(99, 101, None, 16)
    assert limiter.limit == 16


def test_limit_stays_in_its_bounds():
    history = simulate(Service(4, noisy), Gradient(32, 20, 40), 300)
    assert {20, 40} >= {min(limit for _, limit in history.limits)}
    assert all(20 <= limit <= 40 for _, limit in history.limits)


def test_outage_takes_the_limit_down_and_it_comes_back():
    service = Service(32, noisy, refuses=0.01)
    limiter = Gradient(16, 1, 1_000)
    history = simulate(service, limiter, 400, changes=[(200, 0), (210, 32)])
    assert min(limit for moment, limit in history.limits if 200 < moment < 211) <= 2
    assert 0.7 * 32 <= history.mean(330, 400) <= 1.2 * 32


def test_a_few_refusals_are_not_an_overload():
    limiter = Gradient(64, 1, 64)
    for number in range(20_000):
        seconds = None if number % 100 == 0 else 1.0
        limiter.learn(number, number + 1, seconds, limiter.limit)
        assert limiter.limit >= 31  # half, in a probe
    assert limiter.limit in {64, 32}


def test_probing_costs_little_throughput():
    service = Service(64, constant)
    simulate(service, Gradient(64, 1, 1_000), 1_000)
    assert service.done / service.now / 64 > 0.97


def test_baseline_is_measured_again_now_and_then():
    limiter = Gradient(16, 1, 16)
    probes = 0
    for number in range(100 * 3 * 16):
        before = limiter.limit
        limiter.learn(number, number + 1, 1.0, limiter.limit)
        probes += before == 16 and limiter.limit == 8
    assert probes == pytest.approx(100 / PROBE_EVERY, abs=1)


@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(
            st.floats(0, 5),
            st.one_of(st.none(), st.floats(0, 1e6), st.just(math.ulp(0.0))),
            st.integers(0, 200),
        ),
        max_size=400,
    ),
)
def test_any_calls_leave_the_limit_in_its_bounds(start, calls):
    limiter = Gradient(start, 1, 50)
    now = 0.0
    for gap, seconds, used in calls:
        now += gap
        before = limiter.limit
        changed = limiter.learn(now - (seconds or 0), now, seconds, used)
        assert 1 <= limiter.limit <= 50
        assert changed == (limiter.limit != before)
