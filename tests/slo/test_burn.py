"""Windows and factors: The Site Reliability Workbook, chapter 5."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.slo.files import AVAILABILITY, changed, one

from spanrun.slo.burn import BURNS, MINUTES, Burn, burns
from spanrun.slo.model import Period, Slo


def test_factors_are_those_of_the_workbook() -> None:
    table = {
        ("page", "1h", "5m", 0.02): 14.4,
        ("page", "6h", "30m", 0.05): 6,
        ("ticket", "1d", "2h", 0.10): 3,
        ("ticket", "3d", "6h", 0.10): 1,
    }
    assert {tuple(burn): burn.factor(30) for burn in BURNS} == pytest.approx(table)


def test_factors_of_28_days() -> None:
    factors = [burn.factor(28) for burn in BURNS]
    assert factors == pytest.approx([13.44, 5.6, 2.8, 14 / 15])


@pytest.mark.parametrize("burn", BURNS)
def test_short_window_is_a_twelfth_of_the_long_one(burn: Burn) -> None:
    assert MINUTES[burn.long] == 12 * MINUTES[burn.short]


@given(st.sampled_from(BURNS), st.sampled_from([28, 30]), st.floats(0.5, 0.99999))
def test_burning_at_the_factor_spends_the_share(
    burn: Burn, period: Period, target: float
) -> None:
    """By brute force: events at an even pace, minute by minute."""
    minutes, budget = period * 1_440, 1 - Fraction(target)
    allowed = budget * minutes  # of one event a minute
    factor = Fraction(burn.factor(period))
    spent = sum(factor * budget for _ in range(MINUTES[burn.long]))
    assert float(spent / allowed) == pytest.approx(burn.share)


def slo_of(target: float) -> Slo:
    return one(changed(AVAILABILITY, "0.99", f"{target}"))


@pytest.mark.parametrize(
    ("target", "pages", "tickets"),
    [
        (0.999, ["1h", "6h"], ["1d", "3d"]),
        (0.94, ["1h", "6h"], ["1d", "3d"]),
        (0.93, ["6h"], ["1d", "3d"]),  # at most 1 / 0.07 = 14.29 times too fast
        (0.8, [], ["1d", "3d"]),
        (0.5, [], ["3d"]),
    ],
)
def test_conditions_beyond_reach_are_left_out(
    target: float, pages: list[str], tickets: list[str]
) -> None:
    slo = slo_of(target)
    assert [burn.long for burn, _ in burns(slo, "page")] == pages
    assert [burn.long for burn, _ in burns(slo, "ticket")] == tickets
