"""Telemetry of the telemetry, by what arrives: it adds up, also while nothing does."""

import pytest
from tests.telemetry.export.receiver import OK, Answer, receiving
from tests.telemetry.test_variables import Arrived

from spanrun import semconv

pytestmark = pytest.mark.slow

QUEUE_SIZE = semconv.METRIC_OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE
PROCESSED = semconv.METRIC_OTEL_SDK_PROCESSOR_SPAN_PROCESSED
EXPORTED = semconv.METRIC_OTEL_SDK_EXPORTER_SPAN_EXPORTED
INFLIGHT = semconv.METRIC_OTEL_SDK_EXPORTER_SPAN_INFLIGHT
POINTS = semconv.METRIC_OTEL_SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED
SPOOL = semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE
DURATION = semconv.METRIC_SPANRUN_TELEMETRY_EXPORT_DURATION

PROGRAM = """
import logging, time
from spanrun.telemetry import setup
logging.disable(logging.CRITICAL)
sr.configure(endpoint=URL)
sr.run(work())
telemetry = setup.telemetry()
WAIT
telemetry.flush(60)
sr.shutdown()
"""


def points(arrived, metric):
    """Of the metric in each request that has it: labels and value."""
    return [
        [
            ({a.key: a.value.string_value for a in point.attributes}, point.as_int)
            for point in each.sum.data_points
        ]
        for each in arrived.named(metric.name)
    ]


def test_what_left_is_counted_by_opentelemetrys_names(run_program):
    with receiving() as receiver:
        done = run_program(
            f"URL = {receiver.url!r}\n" + PROGRAM.replace("WAIT", "telemetry.flush(60)")
        )
    assert (done.code, done.err) == (0, "")
    arrived = Arrived(receiver.requests)
    ((labels, exported),) = points(arrived, EXPORTED)[-1]
    assert exported == 21
    assert labels[semconv.OTEL_COMPONENT_TYPE] == "otlp_http_span_exporter"
    assert labels[semconv.OTEL_COMPONENT_NAME] == "otlp_http_span_exporter/0"
    assert labels[semconv.SERVER_ADDRESS] == "127.0.0.1"
    ((_, processed),) = points(arrived, PROCESSED)[-1]
    assert processed == 21
    assert [value for _, value in points(arrived, QUEUE_SIZE)[-1]] == [0]
    assert [value for _, value in points(arrived, INFLIGHT)[-1]] == [0]
    assert [value for _, value in points(arrived, SPOOL)[-1]] == [0]
    assert points(arrived, POINTS)[-1][0][1] > 0
    (durations,) = arrived.named(DURATION.name)[-1].histogram.data_points
    assert 2 <= durations.count <= len(receiver.requests)
    assert durations.explicit_bounds == list(DURATION.boundaries)


def test_what_waits_is_told_when_it_arrives_at_last(run_program):
    wait = """
while not telemetry.status().bytes_on_disk:
    time.sleep(0.01)
"""
    told = []

    def refused_until_that_is_told(got):
        if got.path.endswith("metrics"):
            told.extend(
                value for each in points(Arrived([got]), SPOOL) for _, value in each
            )
        elif not any(told):
            return Answer(503)
        return OK

    with receiving(refused_until_that_is_told) as receiver:
        done = run_program(f"URL = {receiver.url!r}\n" + PROGRAM.replace("WAIT", wait))
    assert (done.code, done.err) == (0, "")
    arrived = Arrived(receiver.requests)
    sizes = [value for each in points(arrived, SPOOL) for _, value in each]
    assert max(sizes) > 1000
    assert sizes[-1] == 0
    waited = [value for each in points(arrived, INFLIGHT) for _, value in each]
    assert max(waited) == 21
    assert waited[-1] == 0


def test_what_was_refused_is_told_with_the_reason(run_program):
    with receiving(lambda got: Answer(400 if "traces" in got.path else 200)) as sink:
        done = run_program(f"URL = {sink.url!r}\n" + PROGRAM.replace("WAIT", ""))
    assert (done.code, done.err) == (0, "")
    exported = points(Arrived(sink.requests), EXPORTED)[-1]
    assert [(labels[semconv.ERROR_TYPE], value) for labels, value in exported] == [
        ("rejected", 21)
    ]


def test_a_second_configure_counts_from_zero(run_program):
    with receiving() as first, receiving() as second:
        done = run_program(
            f"sr.configure(endpoint={first.url!r})\nsr.run(work())\nsr.shutdown()\n"
            f"sr.configure(endpoint={second.url!r})\nsr.run(work(5))\nsr.shutdown()\n"
        )
    assert (done.code, done.err) == (0, "")
    for receiver, spans in ((first, 21), (second, 6)):
        told = points(Arrived(receiver.requests), EXPORTED)[-1]
        assert [value for _, value in told] == [spans]
