from hypothesis import given
from hypothesis import strategies as st

from spanrun.policies._quantile import FEWEST, KEPT, Quantile


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
