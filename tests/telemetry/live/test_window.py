"""Rates and percentiles of the last seconds, from totals since the start."""

import pytest

from spanrun.semconv import METRIC_SPANRUN_JOB_DURATION as DURATION
from spanrun.telemetry.live.window import Window
from spanrun.telemetry.metrics import fallback
from spanrun.telemetry.metrics.cells import cells
from spanrun.telemetry.metrics.instruments import Totals


def totals(cell: fallback.Cell, group: fallback.Group) -> dict[str, Totals]:
    return {"embed": Totals({}, group.read([cell], peek=True))}


@pytest.mark.parametrize("module", dict.fromkeys([cells, fallback]))
@pytest.mark.parametrize("exponential", [False, True])
def test_what_came_in_the_window_is_measured(module, *, exponential):
    group = module.Group()
    cell = (
        module.ExponentialHistogram({}, group)
        if exponential
        else module.Histogram({}, DURATION.boundaries, group)
    )
    window = Window()
    for _ in range(100):
        cell.add(100.0)
    assert window.add(0.0, totals(cell, group)) == 0
    assert window.of("embed").rate is None
    assert window.of("embed").percentiles[0] == pytest.approx(90, abs=35)
    for number in range(100):
        cell.add((number + 1) / 100)
    assert window.add(5.0, totals(cell, group)) == 5
    measured = window.of("embed")
    assert measured.rate == 20
    assert measured.percentiles == pytest.approx((0.5, 0.95, 0.99), rel=0.1)
    # Nothing since: what is known of all is said, at a rate of none.
    assert window.add(14.0, totals(cell, group)) == 9
    window.add(15.5, totals(cell, group))
    assert window.of("embed").rate == 0
    assert window.of("embed").percentiles[0] is not None


def test_totals_that_begin_anew_count_as_they_are():
    group = fallback.Group()
    cell = fallback.Histogram({}, DURATION.boundaries, group, delta=True)
    window = Window()
    for _ in range(8):
        cell.add(1.0)
    window.add(0.0, totals(cell, group))
    group.read([cell])  # it was exported
    for _ in range(6):
        cell.add(0.1)
    window.add(2.0, totals(cell, group))
    assert window.of("embed").rate == 3


def test_a_runner_without_jobs_or_metrics_has_no_numbers():
    group = fallback.Group()
    cell = fallback.Histogram({}, DURATION.boundaries, group)
    window = Window()
    window.add(0.0, totals(cell, group))
    assert window.of("embed").percentiles == (None, None, None)
    assert window.of("other") == (None, (None, None, None))
