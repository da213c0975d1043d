"""Names that programs make up cost bounded memory; and sums stay exact."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import INVALID_SPAN

import spanrun as sr
from spanrun import semconv
from spanrun.clock import Clock, SystemClock
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics import runners
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.metrics.runners import MAX_NAMES, Gauges, Runners
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.testing import Captured

IDLE = Gauges(limit=0, running=0, queued=0, backing_off=0, stuck=0)
BUSY = Gauges(limit=4, running=3, queued=2, backing_off=1, stuck=0)
FEW = 5


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "MAX_NAMES", FEW)


async def work(name: str, clock: Clock, jobs: Iterable[int] = (1, 2, 3)) -> None:
    async def job(number: int) -> None:
        if number % 3 == 0:
            raise type(f"Error{number}", (Exception,), {})(number)

    async with sr.Runner(name, clock=clock) as runner:
        await runner.map(job, jobs, errors="collect")


@pytest.mark.usefixtures("few")
async def test_runners_beyond_the_known_names_are_counted_as_one(
    spanrun_capture: Captured, fake_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(FEW + 30):
        await work(f"user-{number}", fake_clock)
    jobs = spanrun_capture.totals("spanrun.jobs", by=semconv.SPANRUN_RUNNER_NAME)
    assert jobs == {**{f"user-{n}": 3 for n in range(FEW)}, "_OTHER": 30 * 3}
    outcomes = spanrun_capture.totals("spanrun.jobs", by=semconv.SPANRUN_JOB_OUTCOME)
    assert outcomes == {"ok": 2 * (FEW + 30), "failed": FEW + 30}
    other = {semconv.SPANRUN_RUNNER_NAME: "_OTHER"}
    assert spanrun_capture.count("spanrun.job.duration", other) == 30 * 3
    said = [record for record in caplog.records if "_OTHER" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.usefixtures("few")
async def test_spans_have_the_names_that_they_were_given(
    spanrun_capture: Captured, fake_clock: Clock
) -> None:
    for number in range(FEW + 1):
        await work(f"user-{number}", fake_clock, [1])
    span = spanrun_capture.span(f"job user-{FEW}")
    assert span.attributes[semconv.SPANRUN_RUNNER_NAME] == f"user-{FEW}"


def test_series_are_bounded_whatever_names_a_program_makes_up() -> None:
    """20,000 jobs under 5,000 names, each with an error class of its own."""
    resource, names, each = Resource.get_empty(), 5_000, 4
    aggregator = Aggregator(lambda: resource)
    recorder = NativeRecorder(
        NativeTracerProvider(resource=resource),
        NoOpMeterProvider(),
        aggregator,
        clock=SystemClock(),
        account=Account(),
        snapshot=None,
    )
    parts = (0.0,) * len(semconv.SPANRUN_JOB_PHASE_VALUES)
    span: Any = INVALID_SPAN
    for name in range(names):
        metrics = recorder.runner(f"user-{name}", lambda: IDLE)
        metrics.open()
        for number in range(each):
            error = type(f"E{name}-{number}", (Exception,), {})()
            error_type = recorder.errors.name(error)
            metrics.job(0.01, parts, "failed", error_type, span)
            metrics.retry(error_type)
        metrics.close()
    found = {metric.name: metric.data.data_points for metric in aggregator.collect()}
    points = sum(map(len, found.values()))
    assert points < MAX_NAMES * 25
    for name in ("spanrun.jobs", "spanrun.job.retries"):
        assert sum(point.value for point in found[name]) == names * each
    assert sum(p.count for p in found["spanrun.job.duration"]) == names * each
    assert len(aggregator._recorded) <= points


def test_the_open_runners_of_one_name_are_added_up() -> None:
    opened = Runners()
    for _ in range(2):
        opened.open("one", lambda: BUSY)
    opened.open("two", lambda: IDLE)
    assert opened.read() == {"one": BUSY + BUSY, "two": IDLE}


def test_what_a_runner_did_last_is_reported_once_when_it_is_closed() -> None:
    opened, state = Runners(), [BUSY]

    def gauges() -> Gauges:
        return state[-1]

    opened.open("one", gauges)
    assert opened.read() == {"one": BUSY}
    state.append(IDLE)
    opened.close("one", gauges)
    assert opened.read() == {"one": IDLE}
    assert opened.read() == {}


def test_what_is_open_counts_more_than_what_was_closed() -> None:
    opened = Runners()
    opened.open("one", lambda: BUSY)
    opened.close("one", lambda: IDLE)
    assert opened.read() == {"one": BUSY}


def test_error_types_are_told_apart_by_their_names() -> None:
    types = ErrorTypes()
    again = {
        types.name(type("Again", (Exception,), {"__module__": "mine"})())
        for _ in range(200)
    }
    assert again == {"mine.Again"}
    named = [
        types.name(type(f"E{number}", (Exception,), {"__module__": "mine"})())
        for number in range(100)
    ]
    assert named[:63] == [f"mine.E{number}" for number in range(63)]
    assert set(named[63:]) == {"_OTHER"}
    assert types.name(KeyError()) == "_OTHER"
    assert again == {types.name(type("Again", (Exception,), {"__module__": "mine"})())}


def test_a_name_without_end_is_cut() -> None:
    name = ErrorTypes().name(type("E" * 100_000, (Exception,), {"__module__": "m"})())
    assert len(name) < 300


@pytest.mark.parametrize(
    "error", [ValueError(), TimeoutError(), asyncio.CancelledError()]
)
def test_built_in_errors_have_no_module(error: BaseException) -> None:
    assert ErrorTypes().name(error) == type(error).__name__
