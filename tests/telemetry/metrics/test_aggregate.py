"""Cells hold what the SDK's own instruments hold for the same measurements."""

import json
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
from tests.telemetry.metrics.kinds import each_kind

from spanrun import semconv
from spanrun.telemetry.metrics import fallback
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.series import CARDINALITY_LIMIT

COUNTER = semconv.METRIC_SPANRUN_JOBS
HISTOGRAM = semconv.METRIC_SPANRUN_JOB_DURATION
LABELS = {semconv.SPANRUN_RUNNER_NAME: "embed"}

durations = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=60)


def aggregator(cells: Any, **options: Any) -> Aggregator:
    return Aggregator(
        lambda: Resource({"service.name": "test"}), cells=cells, **options
    )


def point(ours: Aggregator) -> Any:
    (metric,) = ours.collect()
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


@each_kind
@given(durations)
def test_explicit_buckets_are_those_of_the_sdk(cells: Any, values: list[float]) -> None:
    ours = aggregator(cells)
    for value in values:
        ours.record(HISTOGRAM, value, LABELS)
    mine, theirs = point(ours), sdk_point(values, exponential=False)
    assert mine.bucket_counts == tuple(theirs.bucket_counts)
    assert mine.explicit_bounds == tuple(theirs.explicit_bounds)
    assert (mine.count, mine.min, mine.max) == (theirs.count, theirs.min, theirs.max)
    assert mine.sum == pytest.approx(theirs.sum)


@each_kind
@given(durations)
def test_exponential_buckets_hold_each_value(cells: Any, values: list[float]) -> None:
    ours = aggregator(cells, exponential=True)
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


@each_kind
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=60))
def test_exponential_scale_is_that_of_the_sdk(cells: Any, values: list[float]) -> None:
    ours = aggregator(cells, exponential=True)
    for value in values:
        ours.record(HISTOGRAM, value, LABELS)
    mine, theirs = point(ours), sdk_point(values, exponential=True)
    # On a bucket's very boundary the logarithm may fall to either side.
    assert abs(mine.scale - theirs.scale) <= 1
    assert mine.sum == pytest.approx(theirs.sum)


@each_kind
def test_unused_histogram_is_exported_as_a_zero_point(cells: Any) -> None:
    ours = aggregator(cells)
    ours.cell(HISTOGRAM, LABELS)
    zero = point(ours)
    assert zero.count == 0
    assert zero.sum == 0.0
    assert sum(zero.bucket_counts) == 0


@each_kind
def test_delta_points_begin_again_and_cumulative_ones_do_not(cells: Any) -> None:
    for delta, second in ((frozenset({"counter"}), 2), (frozenset[str](), 5)):
        ours = aggregator(cells, delta=delta)
        ours.record(COUNTER, 3, LABELS)
        first = point(ours)
        ours.record(COUNTER, 2, LABELS)
        later = point(ours)
        assert (first.value, later.value) == (3, second)
        expected = first.time_unix_nano if delta else first.start_time_unix_nano
        assert later.start_time_unix_nano == expected


@each_kind
def test_series_beyond_the_limit_go_into_one_with_a_warning(
    cells: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = aggregator(cells)
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


@each_kind
def test_exemplar_is_the_first_sampled_span_of_its_bucket_since_the_last_time(
    cells: Any,
) -> None:
    ours = aggregator(cells)
    for trace_id, value, sampled in ((1, 0.2, True), (2, 0.21, True), (3, 4.0, False)):
        ours.record(HISTOGRAM, value, LABELS, span_of(trace_id, sampled=sampled))
    (exemplar,) = point(ours).exemplars
    assert (exemplar.trace_id, exemplar.span_id, exemplar.value) == (1, 7, 0.2)
    assert point(ours).exemplars == []  # each is told once


@each_kind
@pytest.mark.parametrize("exponential", [False, True])
def test_exemplars_are_told_in_the_order_of_their_buckets(
    cells: Any,
    exponential: bool,  # noqa: FBT001
) -> None:
    ours = aggregator(cells, exponential=exponential)
    for trace_id, value in ((1, 4.0), (2, 0.2), (3, 40.0), (4, 0.9)):
        ours.record(HISTOGRAM, value, LABELS, span_of(trace_id, sampled=True))
    values = [exemplar.value for exemplar in point(ours).exemplars]
    assert values == [0.2, 0.9, 4.0, 40.0]


@each_kind
def test_where_no_exemplar_leaves_no_trace_is_kept_for_one(cells: Any) -> None:
    ours, span = aggregator(cells, exemplars=False), Asked(kept=True)
    ours.record(HISTOGRAM, 0.2, LABELS, span)  # type: ignore[arg-type]
    assert span.asked == 0
    assert point(ours).exemplars == []


@each_kind
def test_zero_points_are_those_of_empty_cells(cells: Any) -> None:
    for metric, exponential in (
        (COUNTER, False),
        (HISTOGRAM, False),
        (HISTOGRAM, True),
    ):
        ours = aggregator(cells, exponential=exponential)
        ours.cell(metric, LABELS)
        zeros, snapshot = ours.take(None)
        both = []
        for data in (zeros, snapshot):
            assert data is not None
            (found,) = data.resource_metrics[0].scope_metrics[0].metrics
            (only,) = found.data.data_points
            plain: dict[str, Any] = json.loads(only.to_json())
            del plain["time_unix_nano"]
            both.append(plain)
        # Without values the SDK's scale is as good as any other.
        both[0].pop("scale", None), both[1].pop("scale", None)
        assert both[0] == both[1]


@each_kind
def test_no_measurement_of_many_threads_is_lost(cells: Any) -> None:
    ours = aggregator(cells)
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


@each_kind
def test_a_sum_is_whole_while_whole_numbers_are_added(cells: Any) -> None:
    group = cells.Group()
    total = cells.Sum({}, group)
    total.add(2)
    total.add(bool(total))
    ((whole,),) = group.read([total])
    assert (type(whole), whole) == (int, 3)
    total.add(0.5)
    ((real,),) = group.read([total])
    assert (type(real), real) == (float, 3.5)


@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, 5e-324])
def test_no_value_breaks_exponential_buckets(cells: Any, value: float) -> None:
    group = cells.Group()
    cell = cells.ExponentialHistogram({}, group)
    cell.add(1.0)
    cell.add(value)
    (((_, zeros, _), counts, *_),) = group.read([cell])
    assert zeros + sum(counts) == 2
    assert len(counts) <= 160


class Asked:
    """A span of whose trace nothing is known until it is asked to keep it."""

    trace_id, span_id = 2**127 + 5, 2**63 + 3

    def __init__(self, *, kept: bool, meanwhile: Any = lambda: None) -> None:
        self.kept = kept
        self.asked = 0
        self.meanwhile = meanwhile

    def pin(self) -> bool:
        self.asked += 1
        self.meanwhile()
        return self.kept


@each_kind
@pytest.mark.parametrize("kind", ["Histogram", "ExponentialHistogram"])
def test_an_exemplar_is_of_a_trace_that_could_be_kept(cells: Any, kind: str) -> None:
    group = cells.Group()
    bounds = ([1.0],) if kind == "Histogram" else ()
    cell = getattr(cells, kind)({}, *bounds, group)
    lost, kept, later = Asked(kept=False), Asked(kept=True), Asked(kept=True)
    for span in (lost, kept, later):
        cell.add(0.5, span)
    assert (lost.asked, kept.asked, later.asked) == (1, 1, 0)
    (first,) = group.read([cell])[0][-1]
    assert (first[0], *first[2:]) == (0.5, Asked.trace_id, Asked.span_id)
    assert group.read([cell])[0][-1] == []


@each_kind
def test_who_keeps_a_trace_may_measure_meanwhile(cells: Any) -> None:
    group = cells.Group()
    cell = cells.Histogram({}, [1.0], group)
    cell.add(0.5, Asked(kept=True, meanwhile=lambda: cell.add(0.25)))
    counts, total, *_ = group.read([cell])[0]
    assert (counts, total) == ((2, 0), 0.75)


@each_kind
def test_who_keeps_others_traces_is_asked_for_those_that_are_not_sampled(
    cells: Any,
) -> None:
    asked: list[int] = []

    def pin(context: SpanContext) -> bool:
        asked.append(context.trace_id)
        return context.trace_id == 4

    group = cells.Group(pin)
    cell = cells.Histogram({}, [1.0], group)
    for trace_id in (3, 4, 5):
        cell.add(0.5, span_of(trace_id, sampled=False))
    assert asked == [3, 4]
    (exemplar,) = group.read([cell])[0][-1]
    assert exemplar[2:] == (4, 7)


@each_kind
def test_a_measurement_inside_of_another_counts(cells: Any) -> None:
    group = cells.Group()
    total, other = cells.Sum({}, group), cells.Sum({}, group)

    class Odd:
        """A number in whose conversion something else is measured."""

        def __float__(self) -> float:
            other.add(1)
            return 2.5

        def __radd__(self, value: float) -> float:
            return value + float(self)

    total.add(Odd())
    assert group.read([total, other]) == [(2.5,), (1,)]


@each_kind
def test_a_failed_measurement_leaves_the_group_in_order(cells: Any) -> None:
    group = cells.Group()
    total = cells.Sum({}, group)
    with pytest.raises(TypeError):
        total.add("1")
    total.add(1)
    assert group.read([total]) == [(1,)]


def test_a_measurement_amid_a_reading_comes_after_it() -> None:
    group = fallback.Group()
    other = fallback.Sum({}, group)

    class Nosy(fallback.Sum):
        __slots__ = ()

        def reading(self, exemplars: Any) -> Any:
            other.add(1)
            return super().reading(exemplars)

    nosy = Nosy({}, group)
    assert group.read([nosy, other]) == [(0,), (0,)]
    nosy.reading([])
    assert group.read([other]) == [(2,)]


@each_kind
def test_a_child_counts_anew_and_never_waits(cells: Any) -> None:
    ours = aggregator(cells)
    ours.record(COUNTER, 3, LABELS)
    old = ours.group
    ours.after_fork()
    assert ours.collect() == []
    ours.record(COUNTER, 2, LABELS)
    assert point(ours).value == 2
    assert ours.group is not old


def test_compiled_cells_belong_to_one_group() -> None:
    core = pytest.importorskip("spanrun._core")
    one, two = core.Group(), core.Group()
    cell = core.Sum({}, one)
    with pytest.raises(ValueError, match="group"):
        two.read([cell])
    with pytest.raises(ValueError, match="group"):
        core.JobCells(two, cell, cell, [])


@given(durations, st.booleans())
def test_both_kinds_hold_the_same(values: list[float], exponential: bool) -> None:  # noqa: FBT001
    core = pytest.importorskip("spanrun._core")
    told = []
    for cells in (core, fallback):
        group = cells.Group()
        cell = (
            cells.ExponentialHistogram({}, group)
            if exponential
            else cells.Histogram({}, HISTOGRAM.boundaries, group)
        )
        for value in values:
            cell.add(value)
        told.append(group.read([cell]))
    assert told[0] == told[1]
