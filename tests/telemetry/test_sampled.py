"""`configure` with a sampler: which traces arrive, and what is counted."""

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
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
        await runner.map(job, range(200), errors="collect", trace="linked")
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
    def run(ratio):
        done = run_program(
            f"URL = {collector.url!r}\n{PROGRAM}",
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG=ratio,
        )
        assert (done.code, done.err) == (0, "")
        return [int(number) for number in done.out.split()[-4:]]

    return run


def index_of(span):
    return next(
        a.value.int_value for a in span.attributes if a.key == "spanrun.job.index"
    )


def test_with_a_ratio_of_0_what_is_worth_it_arrives(program, collector):
    made, out, delivered, dropped = program("0")
    assert made == out + delivered
    assert dropped == 0
    plain = {index_of(span) for span in collector.spans("job plain")}
    flaky = {index_of(span) for span in collector.spans("job flaky")}
    assert 17 in plain
    assert 3 in flaky
    assert len(plain) < 30
    assert len(flaky) < 30


def test_metrics_are_exact_at_any_ratio(program, collector):
    program("0.1")
    totals = {}
    for labels, point in collector.points("spanrun.jobs"):
        runner, outcome = labels["spanrun.runner.name"], labels["spanrun.job.outcome"]
        key = runner, outcome, labels.get("error.type")
        totals[key] = int(point.as_int or point.as_double)
    assert totals["plain", "ok", None] == 199
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
