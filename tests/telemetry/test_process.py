"""What the process uses, by OpenTelemetry's names."""

import gc
import os
import resource
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from spanrun import semconv
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.process import ProcessMetrics

GENERATION = semconv.CPYTHON_GC_GENERATION


class Measured:
    """The metrics of this process, as they are whenever they are read."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.aggregator = Aggregator(Resource.get_empty)
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.process = ProcessMetrics(meters.get_meter("test"), self.aggregator)

    def read(self, name):
        """Values of a metric, by that of its attribute."""
        data = self.aggregator.take(self.reader.get_metrics_data())[1]
        return {
            next(iter(point.attributes.values()), None): point
            for part in data.resource_metrics
            for scope in part.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


@pytest.fixture
def measured():
    measured = Measured()
    yield measured
    measured.process.close()


def test_cpu_is_that_of_the_whole_process(measured):
    before = os.times()
    times = measured.read("process.cpu.time")
    after = os.times()
    assert before.user <= times["user"].value <= after.user
    assert before.system <= times["system"].value <= after.system


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/statm")
def test_memory_is_what_is_resident(measured):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (usage,) = measured.read("process.memory.usage").values()
    assert most / 100 < usage.value <= most * 1.01


def test_descriptors_are_those_that_are_open(measured):
    def opened():
        (count,) = measured.read("process.open_file_descriptor.count").values()
        return count.value

    before = opened()
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(7)]
    after = opened()
    for descriptor in descriptors:
        os.close(descriptor)
    assert after == before + 7
    assert opened() == before


def test_the_collectors_runs_are_counted_by_generation(measured):
    def collections():
        found = measured.read("cpython.gc.collections")
        return {generation: point.value for generation, point in found.items()}

    before = collections()
    gc.collect(1)
    gc.collect(2)
    after = collections()
    assert after[1] == before[1] + 1
    assert after[2] == before[2] + 1


def test_each_pause_is_measured_once(measured):
    def pauses():
        found = measured.read("spanrun.gc.duration")
        return found[2].count if 2 in found else 0

    before = pauses()
    gc.collect()
    assert pauses() == before + 1
    assert pauses() == before + 1


def test_nothing_is_measured_any_more_when_it_is_closed():
    hooks = list(gc.callbacks)
    measured = Measured()
    assert len(gc.callbacks) == len(hooks) + 1
    measured.process.close()
    measured.process.close()
    assert gc.callbacks == hooks


def test_a_child_has_no_pauses_of_its_parent(measured):
    gc.disable()
    try:
        gc.collect()
        measured.process.after_fork()
        found = measured.read("spanrun.gc.duration")
    finally:
        gc.enable()
    assert not any(point.count for point in found.values())


def test_it_is_measured_only_where_metrics_leave(run_program):
    ended = run_program(
        """
import gc
import spanrun as sr

before = len(gc.callbacks)
sr.configure(store="none")
print(len(gc.callbacks) - before)
sr.configure(endpoint="http://localhost:9")
print(len(gc.callbacks) - before)
sr.shutdown(0)
print(len(gc.callbacks) - before)
"""
    )
    assert ended.out.split() == ["0", "1", "0"], ended.err
