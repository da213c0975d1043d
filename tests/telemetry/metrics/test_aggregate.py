"""Cells hold what the SDK's own instruments hold for the same measurements."""

import math
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
)

from spanrun import semconv
from spanrun.telemetry.metrics.aggregate import CARDINALITY_LIMIT, Aggregator

COUNTER = semconv.METRIC_SPANRUN_JOBS
HISTOGRAM = semconv.METRIC_SPANRUN_JOB_DURATION
LABELS = {semconv.SPANRUN_RUNNER_NAME: "embed"}

durations = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=60)


def aggregator(**options: Any) -> Aggregator:
    return Aggregator(lambda: Resource({"service.name": "test"}), **options)


def point(cells: Aggregator) -> Any:
    (metric,) = cells.collect()
    (only,) = metric.data.data_points
    return only


def sdk_point(values: list[float], *, exponential: bool) -> Any:
    preferred = (
        {Histogram: ExponentialBucketHistogramAggregation()} if exponential else None
    )
    reader = InMemoryMetricReader(preferred_aggregation=preferred)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    histogram = provider.get_meter("test").create_histogram(
        HISTOGRAM.name, explicit_bucket_boundaries_advisory=HISTOGRAM.boundaries
    )
    for value in values:
        histogram.record(value, LABELS)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    (only,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return only


@given(durations)
def test_explicit_buckets_are_those_of_the_sdk(values: list[float]) -> None:
    ours = aggregator()
    for value in values:
        ours.record(HISTOGRAM, value, LABELS)
    mine, theirs = point(ours), sdk_point(values, exponential=False)
    assert mine.bucket_counts == tuple(theirs.bucket_counts)
    assert mine.explicit_bounds == tuple(theirs.explicit_bounds)
    assert (mine.count, mine.min, mine.max) == (theirs.count, theirs.min, theirs.max)
    assert mine.sum == pytest.approx(theirs.sum)


@given(durations)
def test_exponential_buckets_hold_each_value(values: list[float]) -> None:
    ours = aggregator(exponential=True)
    for value in values:
        ours.record(HISTOGRAM, value, LABELS)
    mine = point(ours)
    assert mine.count == len(values)
    assert mine.zero_count == values.count(0)
    assert len(mine.positive.bucket_counts) <= 160
    assert sum(mine.positive.bucket_counts) == len(values) - values.count(0)
    normal = [max(value, sys.float_info.min) for value in values if value > 0]
    if normal:
        # Bucket i holds what is above base**i, up to base**(i + 1) (upper inclusive).
        places = [math.log2(value) * 2.0**mine.scale for value in normal]
        first = mine.positive.offset
        last = first + len(mine.positive.bucket_counts)
        assert first <= min(places)
        assert max(places) <= last


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=60))
def test_exponential_scale_is_that_of_the_sdk(values: list[float]) -> None:
    ours = aggregator(exponential=True)
    for value in values:
        ours.record(HISTOGRAM, value, LABELS)
    mine, theirs = point(ours), sdk_point(values, exponential=True)
    # On a bucket's very boundary the logarithm may fall to either side.
    assert abs(mine.scale - theirs.scale) <= 1
    assert mine.sum == pytest.approx(theirs.sum)


def test_unused_histogram_is_exported_as_a_zero_point() -> None:
    ours = aggregator()
    ours.cell(HISTOGRAM, LABELS)
    zero = point(ours)
    assert zero.count == 0
    assert zero.sum == 0.0
    assert sum(zero.bucket_counts) == 0


def test_delta_points_begin_again_and_cumulative_ones_do_not() -> None:
    for delta, second in ((frozenset({"counter"}), 2), (frozenset[str](), 5)):
        ours = aggregator(delta=delta)
        ours.record(COUNTER, 3, LABELS)
        first = point(ours)
        ours.record(COUNTER, 2, LABELS)
        later = point(ours)
        assert (first.value, later.value) == (3, second)
        expected = first.time_unix_nano if delta else first.start_time_unix_nano
        assert later.start_time_unix_nano == expected


def test_series_beyond_the_limit_go_into_one_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = aggregator()
    for number in range(CARDINALITY_LIMIT + 500):
        ours.record(COUNTER, 1, {semconv.ERROR_TYPE: str(number)})
    (metric,) = ours.collect()
    points = metric.data.data_points
    assert len(points) == CARDINALITY_LIMIT
    assert sum(each.value for each in points) == CARDINALITY_LIMIT + 500
    (rest,) = (each for each in points if "otel.metric.overflow" in each.attributes)
    assert rest.value == 501
    assert len(caplog.records) == 1
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE


def span_of(trace_id: int, *, sampled: bool) -> NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(
        SpanContext(trace_id, 7, is_remote=False, trace_flags=flags)
    )


def test_exemplar_is_the_first_sampled_span_of_its_bucket_since_the_last_time() -> None:
    ours = aggregator()
    for trace_id, value, sampled in ((1, 0.2, True), (2, 0.21, True), (3, 4.0, False)):
        ours.record(HISTOGRAM, value, LABELS, span_of(trace_id, sampled=sampled))
    (exemplar,) = point(ours).exemplars
    assert (exemplar.trace_id, exemplar.span_id, exemplar.value) == (1, 7, 0.2)
    assert point(ours).exemplars == []  # each is told once


def test_no_measurement_of_many_threads_is_lost() -> None:
    ours = aggregator()
    collected: list[int] = []

    def work() -> None:
        for _ in range(2_000):
            ours.record(HISTOGRAM, 0.01, LABELS)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for metric in ours.collect():
            (each,) = metric.data.data_points
            assert sum(each.bucket_counts) == each.count
            collected.append(each.count)
    for thread in threads:
        thread.join()
    assert point(ours).count == 16_000
    assert collected == sorted(collected)
