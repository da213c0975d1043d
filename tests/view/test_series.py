"""Received points of metrics: what adds up, begins anew, or isn't told."""

from collections.abc import Callable
from math import fsum, inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from spanrun.view.panels import told
from spanrun.view.series import Amount, Bins, Metrics, Step, quantile

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
DELTA, CUMULATIVE = 1, 2
NOTHING = 1  # a flag: there is no value


def sent(fill: Callable[[Any], object], **resource: str) -> Metrics:
    """One metric, as ``fill`` makes it."""
    request = ExportMetricsServiceRequest()
    its = request.resource_metrics.add()
    for name, value in resource.items():
        its.resource.attributes.add(key=name).value.string_value = value
    metric = its.scope_metrics.add().metrics.add(name="x", unit="{thing}")
    fill(metric)
    metrics = Metrics()
    metrics.fill(request.SerializeToString())
    return metrics


def counter(
    *points: tuple[int, int, float], temporality: int = CUMULATIVE, flags: int = 0
) -> Metrics:
    """Points as (start, end, value), in seconds."""

    def fill(metric: Any) -> None:
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = temporality
        for start, end, value in points:
            metric.sum.data_points.add(
                start_time_unix_nano=start and NOW + start * SECOND,
                time_unix_nano=NOW + end * SECOND,
                as_double=value,
                flags=flags,
            )

    return sent(fill)


def steps(metrics: Metrics) -> list[tuple[float, float, float]]:
    return [
        ((start - NOW) / SECOND, (end - NOW) / SECOND, amount.value)
        for series in metrics.series.values()
        for start, end, amount in series.steps
    ]


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([(1, 11, 5), (1, 21, 9)], [(1, 11, 5), (11, 21, 4)]),
        ([(1, 11, 5), (12, 21, 3)], [(1, 11, 5), (12, 21, 3)]),  # it began anew
        ([(1, 11, 5), (1, 21, 3)], [(1, 11, 5), (11, 21, 3)]),  # the same, not said
        ([(1, 11, 5), (1, 11, 5)], [(1, 11, 5)]),  # sent twice
        ([(1, 21, 9), (1, 11, 5)], [(1, 21, 9)]),  # too late
        ([(0, 11, 5), (0, 21, 9)], [(11, 21, 4)]),  # nobody knows since when it counts
    ],
)
def test_a_counter_is_its_increases(
    points: list[tuple[int, int, float]], found: list[tuple[int, int, float]]
) -> None:
    assert steps(counter(*points)) == found


def test_differences_are_increases_as_they_are() -> None:
    metrics = counter((1, 11, 5), (11, 21, 4), temporality=DELTA)
    assert steps(metrics) == [(1, 11, 5), (11, 21, 4)]


def test_a_point_without_a_value_is_none() -> None:
    assert steps(counter((1, 11, 0), flags=NOTHING)) == []


def test_a_sum_that_may_fall_is_a_value() -> None:
    def fill(metric: Any) -> None:
        metric.sum.aggregation_temporality = DELTA
        for place, value in enumerate((3, 4, -5), 1):
            metric.sum.data_points.add(
                time_unix_nano=NOW + place * SECOND, as_int=value
            )

    metrics = sent(fill)
    assert [value for _, _, value in steps(metrics)] == [3, 7, 2]


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 10**6)), min_size=1, max_size=20
    ),
    st.integers(1, 40),
)
def test_nothing_is_lost_between_bins(
    increases: list[tuple[int, int]], count: int
) -> None:
    made: list[Step] = []
    at = NOW
    for length, value in increases:
        made.append(Step(at, at + length * SECOND, Amount(value)))
        at += length * SECOND
    laid = Bins(NOW, at, count).increases(made)
    whole = fsum(value for _, value in increases)
    assert fsum(each.value for each in laid if each) == pytest.approx(whole)


def exponential(scale: int, *counts: int) -> Callable[[Any, int], None]:
    def fill(metric: Any, end: int) -> None:
        its = metric.exponential_histogram
        its.aggregation_temporality = CUMULATIVE
        point = its.data_points.add(
            start_time_unix_nano=NOW,
            time_unix_nano=NOW + end * SECOND,
            count=sum(counts),
            scale=scale,
        )
        point.positive.bucket_counts.extend(counts)

    return fill


def test_an_exponential_histogram_that_becomes_coarser_keeps_its_increase() -> None:
    def fill(metric: Any) -> None:
        exponential(1, 1, 1, 1, 1)(metric, 1)  # up to √2, 2, 2√2 and 4
        exponential(0, 2, 5)(metric, 2)  # up to 2 and 4

    (series,) = sent(fill).series.values()
    first, second = (step.amount for step in series.steps)
    assert first.count == fsum(first.buckets.values()) == 4
    assert second.buckets == {(1.0, 2.0): 0.0, (2.0, 4.0): 3.0}


@pytest.mark.parametrize("scale", [-11, 20])
def test_the_widest_and_the_finest_buckets_have_bounds(scale: int) -> None:
    (series,) = sent(lambda metric: exponential(scale, 0, 1)(metric, 1)).series.values()
    assert series.steps[0].amount.count == 1


@pytest.mark.parametrize(
    ("share", "buckets", "value"),
    [
        (0.5, {(-inf, 1.0): 2, (1.0, 2.0): 2}, 1.0),
        (0.5, {(-inf, 1.0): 4}, 0.5),
        (0.75, {(-inf, 1.0): 2, (1.0, 3.0): 2}, 2.0),
        (0.99, {(-inf, 1.0): 1, (1.0, inf): 9}, 1.0),
        (0.5, {(-inf, inf): 3}, None),
        (0.5, {(-2.0, -1.0): 1, (0.0, 0.0): 2, (1.0, 2.0): 1}, 0.0),
        (0.5, {}, None),
    ],
)
def test_a_quantile_is_that_of_prometheus(
    share: float, buckets: dict[tuple[float, float], float], value: float | None
) -> None:
    found = quantile(share, buckets)
    assert found == (None if value is None else pytest.approx(value))


def test_what_a_process_counted_long_before_is_not_drawn() -> None:
    """It runs for an hour when it is first heard of."""
    points = [(1, 3600 + 10 * place, 1000 + 10 * place) for place in range(6)]
    found = told(counter(*points), NOW)
    assert found is not None
    assert (found["from"], found["width"], found["bins"]) == (3590 * 10**6, 10**7, 6)
    ((name, values),) = found["panels"][0]["lines"]
    assert name == "all"
    assert values[1:] == pytest.approx([1.0] * 5)


def test_numbers_that_are_none_are_left_out() -> None:
    def fill(metric: Any) -> None:
        for place, value in enumerate((float("nan"), float("inf"), 2.0)):
            metric.gauge.data_points.add(
                time_unix_nano=NOW + place * SECOND, as_double=value
            )

    found = told(sent(fill), NOW)
    assert found is not None
    ((_, values),) = found["panels"][0]["lines"]
    assert set(values) <= {None, 2.0}


def test_of_many_lines_the_largest_are_shown_and_the_rest_is_counted() -> None:
    def fill(metric: Any) -> None:
        for place in range(20):
            point = metric.gauge.data_points.add(time_unix_nano=NOW, as_int=place)
            point.attributes.add(key="which").value.int_value = place

    found = told(sent(fill), NOW)
    assert found is not None
    (panel,) = found["panels"]
    assert [name for name, _ in panel["lines"]] == [str(n) for n in range(19, 11, -1)]
    assert panel["left_out"] == 12


@pytest.mark.parametrize(
    ("metric", "shown"),
    [("spanrun.runner.queue.age", 7.0), ("spanrun.retry.budget", 1.0)],
    ids=["the highest", "the lowest"],
)
def test_what_several_processes_say_is_one_line(metric: str, shown: float) -> None:
    metrics = Metrics()
    for process, value in enumerate((3.0, 7.0, 1.0)):
        request = ExportMetricsServiceRequest()
        its = request.resource_metrics.add()
        key = its.resource.attributes.add(key="service.instance.id")
        key.value.string_value = str(process)
        gauge = its.scope_metrics.add().metrics.add(name=metric).gauge
        point = gauge.data_points.add(time_unix_nano=NOW + SECOND, as_double=value)
        runner = point.attributes.add(key="spanrun.runner.name")
        runner.value.string_value = "embed"
        metrics.fill(request.SerializeToString())
    found = told(metrics, NOW)
    assert found is not None
    (panel,) = found["panels"]
    assert [(name, values[-1]) for name, values in panel["lines"]] == [("embed", shown)]
