"""The adaptive limit's algorithm, against a simulated service."""

import itertools
import math
import statistics

import pytest
from bench.queueing import Service, constant, exponential, noisy, simulate
from hypothesis import given
from hypothesis import strategies as st

from spanrun.policies._gradient import PROBE, PROBE_EVERY, Gradient


@pytest.mark.parametrize("seconds", [constant, noisy])
@pytest.mark.parametrize("factor", [0.25, 1, 4], ids=["below", "right", "above"])
@pytest.mark.parametrize("capacity", [4, 8, 16, 64, 200])
def test_limit_settles_where_the_service_is_busy_and_hardly_queues(
    capacity, factor, seconds
):
    limiter = Gradient(round(capacity * factor), 1, 2_000)
    history = simulate(Service(capacity, seconds), limiter, 300)
    low, high = 0.7 * capacity, 1.5 * capacity
    assert low <= history.mean(150, 300) <= high
    assert history.share(low, high, 150, 300) > 0.95  # measured: 1


@pytest.mark.parametrize("refuses", [None, 0.01], ids=["queue", "refused"])
@pytest.mark.parametrize(
    ("capacity", "seconds", "seeds"),
    [(4, 900, 8), (8, 900, 8), (16, 900, 8), (64, 600, 2), (200, 300, 1)],
)
def test_limit_settles_though_calls_take_very_different_times(
    capacity, seconds, seeds, refuses
):
    """In bounds for 98 to 100 % of the time, in the worst of the runs for 78 %."""
    low, high = 0.7 * capacity, 1.5 * capacity
    shares = []
    for seed, factor in itertools.product(range(seeds), [0.25, 1, 4]):
        service = Service(capacity, exponential, refuses=refuses, seed=seed)
        limiter = Gradient(round(capacity * factor), 1, 2_000)
        history = simulate(service, limiter, seconds)
        assert low <= history.mean(seconds / 2, seconds) <= high
        shares.append(history.share(low, high, seconds / 2, seconds))
    assert statistics.mean(shares) > 0.95
    assert min(shares) > 0.6


@pytest.mark.parametrize("capacity", [4, 8, 16, 64])
def test_limit_settles_below_the_number_at_which_calls_are_refused(capacity):
    service = Service(capacity, noisy, refuses=0.01)
    history = simulate(service, Gradient(16, 1, 1_000), 300)
    assert 0.7 * capacity <= history.mean(150, 300) <= 1.1 * capacity
    assert history.share(0.7 * capacity, 1.5 * capacity, 150, 300) > 0.95
    assert service.done / service.now / capacity > 0.75


def follows(before, after, seconds, seed, start, end):
    """Seconds until the limit is right again, when the capacity changes at start."""
    service = Service(before, seconds, seed=seed)
    limiter = Gradient(16, 1, 1_000)
    history = simulate(service, limiter, end, changes=[(start, after)])
    low, high = 0.7 * after, 1.5 * after
    assert low <= history.mean((start + end) / 2, end) <= high
    return history.reached(low, high, start)


@pytest.mark.parametrize(
    ("before", "after"), [(64, 16), (16, 64), (20, 200), (200, 20)]
)
def test_limit_follows_a_change_of_the_capacity(before, after):
    assert follows(before, after, noisy, 1, 200, 450) < 100


@pytest.mark.parametrize("before", [4, 8, 16, 32])
def test_limit_follows_a_capacity_that_halves_or_doubles(before):
    for seed in range(3):
        assert follows(before, 2 * before, noisy, seed, 300, 600) < 40
        assert follows(2 * before, before, noisy, seed, 300, 600) < 40
        assert follows(before, 2 * before, exponential, seed, 300, 900) < 400
        assert follows(2 * before, before, exponential, seed, 300, 900) < 120


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
    """One call a second; returns when the next one may begin."""
    for number in range(count):
        since = start + number
        limiter.learn(since, since + (seconds or 0.0), seconds, limiter.limit)
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
    while limiter._search:
        now = feed(limiter, None, 1, now)
        now = feed(limiter, 1.0, 2, now)
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
        assert limiter.limit >= (31 if number < 500 else 47)  # in a probe
    assert limiter.limit in {64, 63, 48, 47}


def test_probing_costs_little_throughput():
    service = Service(64, constant)
    simulate(service, Gradient(64, 1, 1_000), 1_000)
    assert service.done / service.now / 64 > 0.97


def test_baseline_is_measured_again_now_and_then():
    history = simulate(Service(64, constant), Gradient(16, 16, 32), 1_000)
    probes = [at for at, limit in history.limits if limit == 32 * PROBE]
    between = [until - since for since, until in itertools.pairwise(probes)]
    window = 2 + 2  # of 1 s: calls before it and with it are left out, two count
    assert between
    assert between == pytest.approx(
        [(PROBE_EVERY + 2) * window] * len(between), rel=0.1
    )


def test_baseline_too_low_by_chance_does_not_take_the_limit_down():
    limiter = Gradient(64, 1, 64)
    now = feed(limiter, 1.0, 1_000, 0.0)
    limiter.baseline = 0.75
    for _ in range(5_000):
        now = feed(limiter, 1.0, 1, now)
        assert limiter.limit >= 32
    assert limiter.limit >= 48
    assert limiter.baseline == pytest.approx(1.0, rel=0.01)


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
