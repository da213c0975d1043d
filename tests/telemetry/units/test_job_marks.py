"""What a job's span can be found by: that it was slow, and its largest phase."""

import asyncio

import pytest

import spanrun as sr
from spanrun import semconv
from spanrun.telemetry.span import Slowness
from spanrun.telemetry.span.quantile import FEWEST
from spanrun.telemetry.span.quantile import Slowness as PlainSlowness

pytestmark = pytest.mark.usefixtures("no_leaks")

SLOW = semconv.SPANRUN_JOB_SLOW
LARGEST = semconv.SPANRUN_JOB_LARGEST_PHASE
KEY = semconv.SPANRUN_JOB_KEY


def by_key(captured, attribute):
    found = {}
    for span in captured.spans:
        if span.name == "job test" and KEY in span.attributes:
            found[span.attributes[KEY]] = span.attributes.get(attribute)
    return found


async def test_each_job_says_which_phase_was_the_largest(spanrun_capture, make_runner):
    async def work(item):
        await asyncio.sleep(10 if item == "service" else 1)
        if item == "backoff":
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, attempts=2, base=1_000, cap=1_000)
    async with make_runner(limit=1, retry=retry) as runner:
        await runner.map(work, ["service"], key=str)
        await asyncio.gather(
            *(runner.map(work, [item], key=str) for item in ("service again", "limit"))
        )
        await runner.map(work, ["backoff"], key=str, errors="collect")
    assert by_key(spanrun_capture, LARGEST) == {
        "service": "service",
        "service again": "service",
        "limit": "limit",
        "backoff": "backoff",
    }


async def test_a_job_that_takes_longer_than_most_is_slow(spanrun_capture, make_runner):
    async def work(seconds):
        await asyncio.sleep(seconds)

    async with make_runner() as runner:
        await runner.map(work, [1] * FEWEST, trace="linked")
        await runner.map(work, [1, 9], key=str)
    assert by_key(spanrun_capture, SLOW) == {"1": None, "9": True}
    marked = [span for span in spanrun_capture.spans if SLOW in span.attributes]
    assert len(marked) == 1


async def test_slow_goes_on_where_a_runner_of_that_name_has_left(
    spanrun_capture, make_runner
):
    for seconds in (*[1] * FEWEST, 9):
        async with make_runner() as runner:
            await runner.map(asyncio.sleep, [seconds], key=str)
    assert by_key(spanrun_capture, SLOW) == {"1": None, "9": True}


async def test_a_slow_job_that_fails_is_slow_as_well(spanrun_capture, make_runner):
    async def work(seconds):
        await asyncio.sleep(seconds)
        if seconds > 1:
            raise LookupError

    async with make_runner() as runner:
        await runner.map(work, [1] * FEWEST)
        await runner.map(work, [9], key=str, errors="collect")
    assert by_key(spanrun_capture, SLOW) == {"9": True}


def test_what_the_setting_says_is_slow_from_the_first_job_on(run_program):
    ended = run_program(
        """
import asyncio, time
from opentelemetry import trace
import spanrun as sr
import spanrun.recordings

sr.configure(service_name="slow")
async def main():
    async with sr.Runner("test") as runner:
        await runner.map(asyncio.sleep, [0, 0.1])
sr.run(main())
sr.shutdown()
recording = spanrun.recordings.open(".spanrun")
(run,) = recording.runs()
for job in recording.jobs(run=run.id):
    print(job.index, [
        span.attributes.get("spanrun.job.slow")
        for span in recording.trace(job.trace_id)
        if span.attributes.get("spanrun.job.index") == job.index
    ])
""",
        SPANRUN_SLOW="0.05",
    )
    assert ended.out.splitlines() == ["0 [None]", "1 [True]"], ended.err


@pytest.mark.parametrize(
    "kind", dict.fromkeys((Slowness, PlainSlowness)), ids=lambda kind: kind.__module__
)
def test_both_say_the_same_of_what_is_slow(kind):
    judge = kind(5.0)
    assert [judge.is_slow(seconds) for seconds in (1.0, 4.9, 5.0)] == [
        False,
        False,
        True,
    ]
    for _ in range(2_000):
        judge.is_slow(1.0)
    assert judge.is_slow(2.0)
    assert not judge.is_slow(1.0)
