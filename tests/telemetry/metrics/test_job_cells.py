"""A job is counted in all its series at once."""

import sys
import threading
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.telemetry.metrics.kinds import each_kind

from spanrun import semconv
from spanrun.telemetry.metrics.aggregate import Aggregator

THREADS, EACH = 4, 20_000
PARTS = (0.25, 0.0, 0.5, 0.0, 0.125, 0.0, 1.0)
SPAN = NonRecordingSpan(
    SpanContext(7, 7, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
)


@pytest.fixture(autouse=True)
def switching_all_the_time():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Jobs:
    """The series of a runner's jobs, and what adds to them."""

    def __init__(self, cells: Any, *, exponential: bool) -> None:
        self.aggregator = Aggregator(
            dict,  # type: ignore[arg-type]
            delta=frozenset({"counter", "histogram"}),
            exponential=exponential,
            cells=cells,
        )
        labels = {semconv.SPANRUN_RUNNER_NAME: "embed"}
        cell = self.aggregator.cell
        phases = [
            cell(semconv.METRIC_SPANRUN_JOB_PHASE_TIME, {**labels, "phase": phase})
            for phase in semconv.SPANRUN_JOB_PHASE_VALUES
        ]
        duration = cell(semconv.METRIC_SPANRUN_JOB_DURATION, labels)
        count = cell(semconv.METRIC_SPANRUN_JOBS, labels)
        self.add = self.aggregator.job_cells(count, duration, phases).add
        calls = cell(semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION, labels)
        self.add_call = calls.add

    def collect(self) -> dict[str, Any]:
        """Since the last time: number, seconds and those of phases; calls."""
        found: dict[str, Any] = {
            metric.name: metric.data.data_points for metric in self.aggregator.collect()
        }
        (jobs,) = found["spanrun.jobs"]
        (duration,) = found["spanrun.job.duration"]
        (calls,) = found["http.client.request.duration"]
        phases = [point.value for point in found["spanrun.job.phase.time"]]
        told = jobs.value, duration.count, duration.sum, phases
        return {"jobs": told, "calls": (calls.count, calls.sum)}


@each_kind
@pytest.mark.parametrize("exponential", [False, True])
def test_each_snapshot_has_a_job_in_all_series_or_in_none(cells, exponential):
    jobs, seen = Jobs(cells, exponential=exponential), [0, 0]

    def work():
        for _ in range(EACH):
            jobs.add(2.0, PARTS, SPAN)
            jobs.add_call(0.5, SPAN)

    def look():
        found = jobs.collect()
        number, count, seconds, phases = found["jobs"]
        assert (count, seconds) == (number, 2.0 * number)
        assert phases == [part * number for part in PARTS]
        calls, seconds = found["calls"]
        assert seconds == 0.5 * calls
        seen[0] += number
        seen[1] += calls

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        look()
    look()
    assert seen == [THREADS * EACH, THREADS * EACH]


@each_kind
def test_a_job_with_parts_of_other_phases_is_refused(cells):
    jobs = Jobs(cells, exponential=False)
    with pytest.raises(ValueError, match="parts"):
        jobs.add(2.0, PARTS[1:], SPAN)
    assert jobs.collect()["jobs"][0] == 0
