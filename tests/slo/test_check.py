"""Whether an objective is met."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.slo.files import AVAILABILITY, LATENCY, changed, one

from spanrun.slo import Verdict, judge

SLO = one(AVAILABILITY)


def test_part_is_what_the_file_says() -> None:
    good = changed(AVAILABILITY, "bad:", "good:").replace("[failed, timed_out]", "ok")
    assert judge(SLO, 200, 3).bad == 3
    assert judge(one(good), 200, 197).bad == 3
    assert judge(one(LATENCY), 200, 197).bad == 3


def test_no_events_leave_the_budget_whole() -> None:
    verdict = Verdict(SLO, 0, 0)
    assert (verdict.ratio, verdict.remaining, verdict.met) == (None, 1, True)


@pytest.mark.parametrize(
    ("bad", "total", "met", "remaining"),
    [(0, 100, True, 1), (1, 100, True, 0), (2, 100, False, -1), (1, 1, False, -99)],
)
def test_budget(bad: int, total: int, *, met: bool, remaining: float) -> None:
    verdict = Verdict(SLO, bad, total)
    assert verdict.met is met
    assert verdict.remaining == pytest.approx(remaining)


@given(
    st.sampled_from(["0.5", "0.9", "0.95", "0.99", "0.995", "0.999", "0.9999"]),
    st.integers(1, 10**7),
    st.data(),
)
def test_met_means_that_no_more_are_bad_than_may_be(
    target: str, total: int, data: st.DataObject
) -> None:
    """In exact fractions; 1 of 100 is within 99 %, whatever floats make of it."""
    slo = one(changed(AVAILABILITY, "0.99", target))
    most = int((1 - Fraction(target)) * total)
    bad = data.draw(st.integers(max(0, most - 2), min(total, most + 2)))
    assert Verdict(slo, bad, total).met is (bad <= most)
