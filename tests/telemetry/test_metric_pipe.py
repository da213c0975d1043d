"""Snapshots: how many leave, in which order, and what is in them."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from tests.waiting import PATIENCE, until

from spanrun import semconv
from spanrun.telemetry import metric_pipe
from spanrun.telemetry.account import Account
from spanrun.telemetry.metric_pipe import MetricPipe
from spanrun.telemetry.metrics.aggregate import Aggregator

COUNTER = semconv.METRIC_SPANRUN_JOBS
HISTOGRAM = semconv.METRIC_SPANRUN_JOB_DURATION
NAME = semconv.SPANRUN_RUNNER_NAME


class Kept:
    """An exit that keeps what leaves, and waits while it is told to."""

    waits = False

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, Any], bool]] = []
        self.saved: list[dict[str, Any]] = []
        self.free = threading.Event()
        self.free.set()

    def spans(self, batch: Any) -> None:
        raise AssertionError(batch)

    def metrics(self, snapshot: MetricsData, *, keep: bool) -> None:
        self.taken.append((values(snapshot), keep))
        assert self.free.wait(PATIENCE)

    def save(self, snapshot: MetricsData) -> None:
        self.saved.append(values(snapshot))


def values(snapshot: MetricsData) -> dict[str, Any]:
    """The value of each counter, by the runner's name."""
    return {
        point.attributes[NAME]: point.value
        for resource in snapshot.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == COUNTER.name
        for point in metric.data.data_points
    }


class Piped:
    def __init__(self, **options: Any) -> None:
        self.exit, self.account = Kept(), Account()
        self.aggregator = Aggregator(Resource.get_empty)
        self.pipe = MetricPipe(
            self.exit, self.account, 3600, [], self.aggregator, **options
        )

    def count(self, name: str, value: int = 1) -> None:
        self.aggregator.record(COUNTER, value, {NAME: name})

    def end(self) -> list[tuple[dict[str, Any], bool]]:
        self.exit.free.set()
        assert self.pipe.close(PATIENCE)
        return self.exit.taken


@pytest.fixture
def make() -> Iterator[Callable[..., Piped]]:
    made: list[Piped] = []

    def make(**options: Any) -> Piped:
        made.append(Piped(**options))
        return made[-1]

    yield make
    for piped in made:
        piped.end()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a snapshot was taken, only a flush or the end takes another."""
    monkeypatch.setattr(metric_pipe, "_PAUSE", 3600.0)


def test_zero_points_leave_before_the_values_in_a_request_of_their_own(
    make: Callable[..., Piped],
) -> None:
    piped = make()
    assert piped.pipe.flush(PATIENCE)
    piped.count("one", 3)
    piped.count("two", 5)
    assert piped.end() == [
        ({"one": 0, "two": 0}, True),
        ({"one": 3, "two": 5}, True),
    ]


@pytest.mark.usefixtures("unhurried")
def test_a_zero_point_has_the_moment_at_which_its_series_began(
    make: Callable[..., Piped],
) -> None:
    piped = make()
    piped.count("one")
    zeros, snapshot = piped.aggregator.take(None)
    assert zeros is not None
    assert snapshot is not None
    (zero,), (value,) = points(zeros), points(snapshot)
    assert zero.start_time_unix_nano == value.start_time_unix_nano
    assert zero.start_time_unix_nano <= zero.time_unix_nano < value.time_unix_nano
    assert piped.aggregator.take(None)[0] is None


def points(data: MetricsData) -> list[Any]:
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    return list(metric.data.data_points)


@pytest.mark.usefixtures("unhurried")
def test_one_snapshot_is_under_way_and_one_is_wanted(
    make: Callable[..., Piped],
) -> None:
    piped = make()
    piped.exit.free.clear()
    piped.count("first")
    piped.pipe.snapshot()
    until(lambda: piped.exit.taken, "the first request")
    for number in range(300):
        piped.count(f"runner {number}", number)
        piped.pipe.snapshot()
    taken = piped.end()
    # Of the first, then of the three hundred: zero points, and values.
    assert [keep for _, keep in taken] == [True, False, True, True]
    assert len(taken[2][0]) == 300
    assert not any(taken[2][0].values())
    assert sum(taken[3][0].values()) == 1 + sum(range(300))


def test_a_series_that_begins_leaves_though_nobody_asked(
    make: Callable[..., Piped], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_pipe, "_PAUSE", 0.001)
    piped = make(save=Kept().save)
    piped.count("one", 2)
    until(lambda: len(piped.exit.taken) == 2, "the zero point, and the value")
    assert piped.exit.taken == [({"one": 0}, True), ({"one": 2}, False)]


def test_a_change_is_saved_and_no_change_is_not(
    make: Callable[..., Piped], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_pipe, "_PAUSE", 0.001)
    kept, peeks = Kept(), list[bool]()
    piped = make(save=kept.save)
    peek = piped.aggregator.peek

    def counted() -> MetricsData | None:
        found = peek()
        peeks.append(found is not None)
        return found

    monkeypatch.setattr(piped.aggregator, "peek", counted)
    piped.count("one", 2)
    until(lambda: kept.saved == [{"one": 2}] or len(kept.saved) > 1, "the export")
    piped.count("one", 1)
    until(lambda: kept.saved[-1] == {"one": 3}, "what is saved between two exports")
    saved, at = len(kept.saved), len(peeks)
    until(lambda: len(peeks) > at + 20, "looks at what doesn't change")
    assert len(kept.saved) <= saved + 1
    assert sum(peeks[at:]) <= 1


def test_what_is_exported_is_saved_before(make: Callable[..., Piped]) -> None:
    order = list[str]()
    piped = make(save=lambda _: order.append("saved"))
    assert piped.pipe.flush(PATIENCE)
    piped.count("one", 2)
    before = len(order)
    metrics = piped.exit.metrics

    def told(snapshot: MetricsData, *, keep: bool) -> None:
        order.append("sent")
        metrics(snapshot, keep=keep)

    piped.exit.metrics = told  # type: ignore[method-assign]
    piped.end()
    assert order[before:][-3:] == ["sent", "saved", "sent"]


def test_a_peek_takes_no_exemplar_and_ends_no_delta() -> None:
    class Span:
        trace_id, span_id = 1, 2

        def pin(self) -> bool:
            return True

    ours = Aggregator(Resource.get_empty, delta=frozenset({"histogram"}))
    ours.record(HISTOGRAM, 0.5, {NAME: "one"}, Span())  # type: ignore[arg-type]
    found = ours.peek()
    assert found is not None
    assert (points(found)[0].count, points(found)[0].exemplars) == (1, [])
    assert ours.peek() is None
    (metric,) = ours.collect()
    (point,) = metric.data.data_points
    assert (point.count, len(point.exemplars)) == (1, 1)


@pytest.mark.usefixtures("unhurried")
def test_the_garbage_collector_may_ask_at_any_time(make: Callable[..., Piped]) -> None:
    piped = make()

    class Dying:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            piped.pipe.snapshot()

    with piped.pipe._changed:
        Dying()
        gc.collect()
    piped.count("one")
    assert [keep for _, keep in piped.end()][-1]
