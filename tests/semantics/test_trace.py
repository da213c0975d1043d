"""What a trace of spanrun looks like: shape, status, events, exemplars."""

import asyncio
import itertools

import pytest

import spanrun as sr
from spanrun.testing import capture

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def same(item):
    await asyncio.sleep(1)
    return item


async def flaky(item, failed=[]):  # noqa: B006 -- remembers across calls
    await asyncio.sleep(1)
    if item not in failed:
        failed.append(item)
        raise ConnectionError("once")


def names(spans):
    return sorted(span.name for span in spans)


async def test_a_run_contains_its_jobs(make_runner, spanrun_capture):
    async with make_runner(limit=2) as runner:
        await runner.map(same, "abc", key=str)
    run = spanrun_capture.span("run test")
    assert run.parent_id == 0
    assert names(spanrun_capture.children(run)) == ["job test"] * 3
    jobs = spanrun_capture.find("job test")
    assert sorted(job.attributes["spanrun.job.index"] for job in jobs) == [0, 1, 2]
    assert sorted(job.attributes["spanrun.job.key"] for job in jobs) == ["a", "b", "c"]
    assert run.attributes["spanrun.run.total"] == 3
    assert run.attributes["spanrun.run.jobs.ok"] == 3


async def test_with_a_retry_a_job_contains_its_attempts(make_runner, spanrun_capture):
    retry = sr.Retry(on=ConnectionError, base=4, cap=4)
    async with make_runner(retry=retry) as runner:
        await runner.map(flaky, ["only here"])
    job = spanrun_capture.span("job test")
    first, second = spanrun_capture.children(job)
    assert names([first, second]) == ["attempt test"] * 2
    assert first.attributes["spanrun.attempt.number"] == 1
    assert second.attributes["spanrun.attempt.number"] == 2
    assert (first.status, second.status, job.status) == ("ERROR", "UNSET", "UNSET")
    (event,) = [e for e in job.events if e.name == "spanrun.job.retry"]
    assert event.attributes["error.type"] == "ConnectionError"
    delay = event.attributes["spanrun.job.retry.delay"]
    assert second.started_ns - first.ended_ns == pytest.approx(delay * 1e9, abs=10)


async def test_a_batch_stands_between_run_and_jobs(make_runner, spanrun_capture):
    async with make_runner() as runner:
        await runner.map_batches(same, range(5), size=2)
    run = spanrun_capture.span("run test")
    batches = spanrun_capture.children(run)
    assert names(batches) == ["batch test"] * 3
    sizes = [batch.attributes["spanrun.batch.items"] for batch in batches]
    assert sizes == [2, 2, 1]
    for batch in batches:
        (job,) = spanrun_capture.children(batch)
        assert job.name == "job test"


async def test_the_halves_of_a_batch_are_jobs_in_it(make_runner, spanrun_capture):
    async def job(batch):
        if 0 in batch:
            raise ValueError
        return batch

    async with make_runner() as runner:
        await runner.map_batches(job, range(4), size=4, errors="collect")
    batch = spanrun_capture.span("batch test")
    jobs = spanrun_capture.children(batch)
    assert len(jobs) == 5
    ends = [job.attributes["spanrun.job.outcome"] for job in jobs]
    assert sorted(ends) == ["failed"] * 3 + ["ok"] * 2
    assert batch.status == "ERROR"


async def test_a_single_call_is_a_child_of_the_callers_span(
    make_runner, spanrun_capture
):
    tracer = spanrun_capture.tracers.get_tracer("mine")
    async with make_runner() as runner:
        with tracer.start_as_current_span("caller"):
            await runner.call(same, 1)
    job = spanrun_capture.span("job test")
    assert spanrun_capture.parent(job).name == "caller"
    assert not spanrun_capture.find("run test")


async def test_the_users_spans_nest_below_the_attempt_or_job(
    make_runner, spanrun_capture
):
    tracer = spanrun_capture.tracers.get_tracer("mine")

    @sr.instrumented
    async def parse():
        await asyncio.sleep(1)

    async def job(_):
        with tracer.start_as_current_span("theirs"):
            await parse()

    async with make_runner(retry=sr.Retry(on=OSError)) as runner:
        await runner.map(job, [1])
    unit = spanrun_capture.find(attributes={"spanrun.unit.outcome": "ok"})[0]
    chain = []
    while unit is not None:
        chain.append(unit.name.rpartition(".")[2])
        unit = spanrun_capture.parent(unit)
    assert chain == ["parse", "theirs", "attempt test", "job test", "run test"]


@pytest.mark.parametrize(
    ("items", "options", "mode"),
    [
        (range(1_000), {}, "child"),
        (range(1_001), {}, "linked"),
        (iter(range(5)), {}, "linked"),
        (iter(range(5)), {"total": 5}, "child"),
        (range(5), {"trace": "linked"}, "linked"),
        (iter(range(5)), {"trace": "child"}, "child"),
    ],
)
async def test_jobs_are_children_or_traces_of_their_own(
    make_runner, spanrun_capture, items, options, mode
):
    async with make_runner(limit=100) as runner:
        await runner.map(lambda _: asyncio.sleep(0), items, **options)
    run = spanrun_capture.span("run test")
    jobs = spanrun_capture.find("job test")
    assert run.attributes["spanrun.run.trace"] == mode
    if mode == "child":
        assert all(job.is_child_of(run) and not job.links for job in jobs)
    else:
        assert {job.parent_id for job in jobs} == {0}
        assert len({job.trace_id for job in jobs} | {run.trace_id}) == len(jobs) + 1
        assert {job.links for job in jobs} == {((run.trace_id, run.span_id),)}


async def test_an_unknown_total_is_not_on_the_run(make_runner, spanrun_capture):
    async with make_runner() as runner:
        await runner.map(same, iter("ab"))
    assert "spanrun.run.total" not in spanrun_capture.span("run test").attributes


async def test_outcomes_name_the_trace_of_their_job(make_runner, spanrun_capture):
    async with make_runner() as runner:
        outcomes = await runner.map(same, "ab", errors="collect", trace="linked")
    traces = {
        job.attributes["spanrun.job.index"]: job.trace_id
        for job in spanrun_capture.find("job test")
    }
    assert traces == {o.index: o.trace_id for o in outcomes}


async def test_a_failed_job_is_an_error_with_its_exception(
    make_runner, spanrun_capture
):
    async def job(_):
        raise LookupError("wrong, password=hunter2secret")

    async with make_runner() as runner:
        await runner.map(job, [0], errors="collect")
    span = spanrun_capture.span("job test")
    assert span.status == "ERROR"
    assert span.status_text == "LookupError: wrong, password=[redacted]"
    assert span.attributes["error.type"] == "LookupError"
    assert span.attributes["spanrun.job.outcome"] == "failed"
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "LookupError"
    assert "hunter2secret" not in str(event.attributes)
    assert "in job" in event.attributes["exception.stacktrace"]


async def test_a_timed_out_job_is_an_error_by_its_timeout(make_runner, spanrun_capture):
    async with make_runner(timeout=3) as runner:
        await runner.map(asyncio.sleep, [9], errors="collect")
    span = spanrun_capture.span("job test")
    assert span.status == "ERROR"
    assert span.attributes["spanrun.job.outcome"] == "timed_out"
    assert span.attributes["spanrun.job.cancelled_by"] == "timeout"
    assert span.duration == 3


@pytest.mark.parametrize("by", ["self", "run"])
async def test_a_cancelled_job_is_no_error_and_says_by_whom(
    make_runner, spanrun_capture, by
):
    async def job(number):
        await asyncio.sleep(1)
        if by == "self":
            raise asyncio.CancelledError
        if number == 0:
            raise LookupError
        await asyncio.sleep(50)

    async with make_runner() as runner:
        with pytest.raises((LookupError, sr.JobCancelled)):
            await runner.map(job, range(2))
    spans = spanrun_capture.find("job test", {"spanrun.job.outcome": "cancelled"})
    assert spans
    for span in spans:
        assert span.status == "UNSET"
        assert not span.events
    assert by in {span.attributes["spanrun.job.cancelled_by"] for span in spans}


async def test_ok_is_never_set_by_the_library(make_runner, spanrun_capture):
    retry = sr.Retry(on=OSError)
    async with make_runner(retry=retry) as runner:
        await runner.map(same, range(3))
        await runner.map_batches(same, range(3), size=2)
        await runner.call(same, 1)
        with sr.unit("mine"):
            pass
    assert {span.status for span in spanrun_capture.spans} == {"UNSET"}


async def test_the_run_fails_with_its_map(make_runner, spanrun_capture):
    async def job(number):
        await asyncio.sleep(number)
        raise LookupError

    async with make_runner(limit=3) as runner:
        with pytest.raises(LookupError):
            await runner.map(job, [1, 50, 60])
    run = spanrun_capture.span("run test")
    assert run.status == "ERROR"
    assert run.attributes["error.type"] == "LookupError"
    assert run.attributes["spanrun.run.jobs.failed"] == 1
    assert run.attributes["spanrun.run.jobs.cancelled"] == 2


async def test_collected_errors_are_no_error_of_the_run(make_runner, spanrun_capture):
    async def job(_):
        raise LookupError

    async with make_runner() as runner:
        await runner.map(job, range(2), errors="collect")
    assert spanrun_capture.span("run test").status == "UNSET"


async def test_a_run_cancelled_from_outside_is_no_error(make_runner, spanrun_capture):
    async with make_runner() as runner:
        task = asyncio.create_task(runner.map(asyncio.sleep, [50]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert spanrun_capture.span("run test").status == "UNSET"
    job = spanrun_capture.span("job test")
    assert (job.status, job.attributes["spanrun.job.cancelled_by"]) == ("UNSET", "run")


async def test_a_job_cancelled_before_its_first_step_has_a_span(
    make_runner, spanrun_capture
):
    async def job(number):
        raise LookupError(number)

    async with make_runner(limit=3) as runner:
        with pytest.raises(LookupError):
            await runner.map(job, range(3))
    jobs = spanrun_capture.find("job test")
    ends = [job.attributes["spanrun.job.outcome"] for job in jobs]
    assert sorted(ends) == ["cancelled", "cancelled", "failed"]


async def test_the_ledger_is_on_the_span(make_runner, spanrun_capture, fake_clock):
    async def job(_):
        fake_clock.advance(1)
        await asyncio.sleep(2)

    async with make_runner() as runner:
        await runner.map(job, [0])
    span = spanrun_capture.span("job test")
    assert span.attributes["spanrun.job.time.busy"] == 1
    assert span.attributes["spanrun.job.time.service"] == 2
    assert span.duration == 3


async def test_an_exemplar_leads_to_the_span_of_its_job(make_runner, spanrun_capture):
    async with make_runner() as runner:
        await runner.map(asyncio.sleep, [0.2, 7], trace="linked")
    spans = {(span.trace_id, span.span_id): span for span in spanrun_capture.spans}
    (point,) = spanrun_capture.points(
        "spanrun.job.duration", {"spanrun.job.outcome": "ok"}
    )
    found = {
        exemplar.value: spans[exemplar.trace_id, exemplar.span_id].duration
        for exemplar in point.exemplars
    }
    assert found == {0.2: 0.2, 7: 7}


async def test_a_runners_own_clock_does_not_mix_with_that_of_the_spans(fake_clock):
    fake_clock.advance(1_000_000)
    with capture() as captured:
        async with sr.Runner("test", clock=fake_clock) as runner:
            (outcome,) = await runner.map(asyncio.sleep, [5], errors="collect")
    assert outcome.timings.duration == 5
    for span in captured.spans:
        assert 0 <= span.duration < 5


async def test_a_stream_left_early_ends_all_its_spans(make_runner, spanrun_capture):
    retry = sr.Retry(on=OSError)
    async with (
        make_runner(limit=3, retry=retry) as runner,
        runner.stream(same, itertools.count()) as outcomes,
    ):
        await anext(outcomes)
    assert not spanrun_capture.unfinished()
    assert len(spanrun_capture.find("run test")) == 1


async def test_a_hedge_is_an_event_of_its_job(make_runner, spanrun_capture):
    async def slow_at_first(_, calls=[]):  # noqa: B006 -- remembers across calls
        calls.append(1)
        await asyncio.sleep(9 if len(calls) == 1 else 1)

    hedge = sr.Hedge(at=2.0, share=1.0)
    async with make_runner(limit=2, hedge=hedge) as runner:
        await runner.call(slow_at_first, 0)
    (job,) = (span for span in spanrun_capture.spans if span.name == "job test")
    assert [(event.name, dict(event.attributes)) for event in job.events] == [
        ("spanrun.job.hedge", {"spanrun.job.hedge.after": 2.0}),
        ("spanrun.job.hedge.ended", {"spanrun.hedge.result": "won"}),
    ]
