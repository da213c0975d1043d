"""A generator that the garbage collector closes ends its unit, wherever we are.

It can be in the middle of recording something else, in the same thread.
"""

import threading

import pytest
from opentelemetry.sdk.resources import Resource
from tests.waiting import PATIENCE

from spanrun import semconv
from spanrun.telemetry.account import Account
from spanrun.telemetry.metric_pipe import MetricPipe
from spanrun.telemetry.metrics.aggregate import Aggregator

METRIC = semconv.METRIC_SPANRUN_UNIT_DURATION


def ends(work):
    """Whether ``work`` comes to an end, in a thread that may hang."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


@pytest.fixture
def aggregator():
    return Aggregator(Resource.get_empty)


def test_a_metric_can_be_recorded_while_one_is_recorded(aggregator):
    class Recording:
        """A span that records when it is asked for its trace."""

        trace_id = span_id = 1

        def pin(self):
            aggregator.record(METRIC, 1.0, {"spanrun.unit.name": "inner"})
            return True

    def record():
        aggregator.record(METRIC, 1.0, {"spanrun.unit.name": "outer"}, Recording())

    assert ends(record)


def test_a_series_can_be_made_while_one_is_made(aggregator):
    def record():
        with aggregator._lock:
            aggregator.record(METRIC, 1.0, {"spanrun.unit.name": "inner"})

    assert ends(record)


def test_telemetry_can_be_counted_while_it_is_counted():
    account = Account()

    def count():
        with account._lock:
            account.produce("traces")
            account.drop("traces", "shutdown")
            account.deliver("traces", 1)
            account.results()

    assert ends(count)


class Kept:
    """An exit that keeps the snapshots."""

    waits = False

    def __init__(self):
        self.taken = []

    def spans(self, batch):
        raise AssertionError(batch)

    def metrics(self, snapshot, *, keep):
        self.taken.append((snapshot, keep))


def test_a_callback_that_hangs_holds_up_no_end_and_is_counted(aggregator):
    entered, free, account = threading.Event(), threading.Event(), Account()

    class Hanging:
        def now(self):
            entered.set()
            free.wait(PATIENCE)

    pipe = MetricPipe(Kept(), account, 0.001, [Hanging()], aggregator)
    assert entered.wait(PATIENCE)
    pipe.snapshot()  # waits for nothing
    assert not pipe.flush(0.01)
    assert not pipe.close(0.1)
    assert account.dropped["metrics", "internal_error"] == 2
    free.set()


@pytest.mark.parametrize("raised", [RuntimeError("a callback"), SystemExit(1)])
def test_a_callback_that_raises_ends_no_collecting(aggregator, raised):
    kept, collected = Kept(), threading.Event()

    class Raising:
        calls = 0

        def now(self):
            self.calls += 1
            if self.calls <= 2:
                raise raised
            collected.set()

    aggregator.record(METRIC, 1.0, {"spanrun.unit.name": "inner"})
    pipe = MetricPipe(kept, Account(), 0.001, [Raising()], aggregator)
    assert collected.wait(PATIENCE)
    assert pipe.close(PATIENCE)
    assert kept.taken


def test_a_snapshot_can_be_asked_for_while_one_is_taken(aggregator):
    class Collecting:
        pipe: MetricPipe

        def now(self):
            self.pipe.snapshot()

    collecting, kept = Collecting(), Kept()
    pipe = collecting.pipe = MetricPipe(kept, Account(), 3600, [collecting], aggregator)
    aggregator.record(METRIC, 1.0, {"spanrun.unit.name": "inner"})
    assert ends(lambda: pipe.flush(PATIENCE))
    assert pipe.close(PATIENCE)
    # The zero point, the values, and those at the end.
    assert [keep for _, keep in kept.taken] == [True, False, True]
