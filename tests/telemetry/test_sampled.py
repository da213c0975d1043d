"""`configure` with a sampler: which traces arrive, and what is counted."""

from bisect import bisect_left

import pytest

from spanrun import semconv
from spanrun.telemetry.span.quantile import FEWEST

pytestmark = pytest.mark.slow

JOBS = FEWEST
"""So many of a name that none of them can be slow, however the machine does."""
PROGRAM = f"""
import asyncio
import spanrun as sr

async def job(number):
    await asyncio.sleep(0)
    if number == 17:
        raise LookupError
    return number

async def flaky(number, seen=set()):
    if number == 3 and number not in seen:
        seen.add(number)
        raise OSError
    return number

async def main():
    async with sr.Runner("plain") as runner:
        await runner.map(job, range({JOBS}), errors="collect", trace="linked")
    async with sr.Runner("flaky", retry=sr.Retry(on=OSError, base=0.001)) as runner:
        await runner.map(flaky, range(50), trace="linked")

sr.configure(endpoint=URL)
account = __import__("spanrun.telemetry.setup").telemetry.setup.telemetry().account
sr.run(main())
assert sr.shutdown()
made, out = account.produced["traces"], account.sampled_out["traces"]
print(made, out, account.delivered["traces"], sum(account.dropped.values()))
"""


@pytest.fixture
def program(run_program, collector):
    def run(ratio, **environ):
        done = run_program(
            f"URL = {collector.url!r}\n{PROGRAM}",
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG=ratio,
            **environ,
        )
        assert (done.code, done.err) == (0, "")
        return [int(number) for number in done.out.split()[-4:]]

    return run


def reasons(spans):
    """Of each job that arrived, by its index."""
    found = [{a.key: a.value for a in span.attributes} for span in spans]
    return {
        attributes[semconv.SPANRUN_JOB_INDEX].int_value: attributes[
            semconv.SPANRUN_SAMPLING_REASON
        ].string_value
        for attributes in found
    }


def test_with_a_ratio_of_0_what_is_worth_it_arrives(program, collector):
    # Without metrics: how many exemplars they take depends on how long a job takes.
    made, out, delivered, dropped = program("0", OTEL_METRICS_EXPORTER="none")
    assert made == out + delivered
    assert dropped == 0
    assert reasons(collector.spans("job plain")) == {17: "error"}
    assert reasons(collector.spans("job flaky")) == {3: "error"}  # of its first attempt


def test_metrics_are_exact_at_any_ratio(program, collector):
    program("0.1")
    totals = {}
    for labels, point in collector.points("spanrun.jobs"):
        runner, outcome = labels["spanrun.runner.name"], labels["spanrun.job.outcome"]
        key = runner, outcome, labels.get("error.type")
        totals[key] = int(point.as_int or point.as_double)
    assert totals["plain", "ok", None] == JOBS - 1
    assert totals["plain", "failed", "LookupError"] == 1
    assert totals["flaky", "ok", None] == 50


def test_each_exemplar_leads_to_a_trace_that_arrived(program, collector):
    program("0")
    traces = {span.trace_id for span in collector.spans()}
    exemplars = [
        exemplar.trace_id
        for _, point in collector.points("spanrun.job.duration")
        for exemplar in point.exemplars
    ]
    assert exemplars
    assert set(exemplars) <= traces


@pytest.mark.parametrize("pure", ["", "1"])
def test_each_bucket_that_moved_has_an_exemplar(program, collector, pure):
    program("0", SPANRUN_PURE_PYTHON=pure)
    moved, told = set(), set()
    for labels, point in collector.points("spanrun.job.duration"):
        series = tuple(sorted(labels.items()))
        counts = enumerate(point.bucket_counts)
        moved |= {(series, bucket) for bucket, count in counts if count}
        buckets = [
            bisect_left(point.explicit_bounds, exemplar.as_double)
            for exemplar in point.exemplars
        ]
        assert buckets == sorted(set(buckets))  # Prometheus needs them in order
        told |= {(series, bucket) for bucket in buckets}
    assert len(moved) >= 3
    assert told == moved
