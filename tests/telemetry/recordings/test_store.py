"""`LocalStore`: what happened is on disk, whatever happens to the process."""

import asyncio

import pytest
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun import recordings
from spanrun.outcome import Err, Ok, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings import entries
from spanrun.telemetry.recordings import store as stores
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanPipe

SOON = PATIENCE


@pytest.fixture
def open_store(tmp_path):
    stores = []

    def open_store(folder=tmp_path):
        store = LocalStore(folder)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close(SOON)


@pytest.fixture
def run():
    return RunInfo("r1", "embed", 2, 0xABC, 1_000, 0, opened=100.0)


def timings():
    found = Timings()
    found.limit, found.busy, found.duration = 0.5, 0.25, 2.0
    found.submitted = 100.125
    return found


def test_runs_and_jobs_are_kept(open_store, run):
    store = open_store()
    store.run_opened(run)
    store.job_ended(run, Ok(0, "value", timings(), 1, "first", 0xABC))
    error = LookupError("password=hunter2secret")
    store.job_ended(run, Err(1, error, timings(), 3, None, 0, "failed"))
    run.ended_ns = 9_000
    store.run_closed(run)
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        (kept,) = recording.runs()
        first, second = recording.jobs()
    assert (kept.id, kept.runner, kept.total) == ("r1", "embed", 2)
    assert (kept.started_ns, kept.ended_ns, kept.calls) == (1_000, 9_000, False)
    assert kept.trace_id == first.trace_id == f"{0xABC:032x}"
    assert (first.run, first.index, first.key) == ("r1", 0, "first")
    assert (first.outcome, first.error_type, first.error) == ("ok", None, None)
    assert (first.submitted, first.duration) == (0.125, 2.0)
    assert list(first.phases.items()) == [*timings().phases()]
    assert (second.key, second.outcome, second.attempts) == (None, "failed", 3)
    assert second.error_type == "LookupError"
    assert second.error == "password=[redacted]"
    assert second.trace_id is None


def test_each_job_of_a_run_says_when_it_was_submitted(open_store):
    store = open_store()

    async def main():
        async with sr.Runner("nap", limit=2, observers=[store]) as runner:
            await runner.map(asyncio.sleep, [0.001] * 20)

    sr.run(main())
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        (run,) = recording.runs()
        jobs = sorted(recording.jobs(), key=lambda job: job.index)
    submitted = [job.submitted for job in jobs]
    assert submitted == sorted(submitted)
    assert submitted[0] >= 0
    took = (run.ended_ns - run.started_ns) / 1e9
    assert all(job.submitted + job.duration < took for job in jobs)
    assert submitted[-1] > 0.005  # when there was room for it


def test_the_policies_of_a_run_are_kept(open_store, run):
    store = open_store()
    run.policies = '{"limit": 8}'
    store.run_opened(run)
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        assert [each.policies for each in recording.runs()] == [run.policies]


def test_the_waits_of_a_run_are_known_at_its_end(open_store, run):
    store = open_store()
    store.run_opened(run)
    assert store.flush(SOON)
    run.source_wait, run.consumer_wait = 1.5, 0.25
    store.run_closed(run)
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        (kept,) = recording.runs()
    assert (kept.source_wait, kept.consumer_wait) == (1.5, 0.25)


def test_spans_are_kept(open_store):
    store = open_store()
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    with (
        tracer.start_as_current_span("outer") as outer,
        tracer.start_as_current_span("inner", attributes={"a": 1}) as inner,
    ):
        inner.add_event("happened", {"b": 2})
    assert pipe.close(SOON)
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        inside, outside = recording.spans()
        (trace,) = recording.traces()
        assert recording.trace(trace.id) == [outside, inside]
    assert (inside.name, dict(inside.attributes)) == ("inner", {"a": 1})
    assert inside.parent_id == f"{outer.get_span_context().span_id:016x}"
    assert inside.span_id == f"{inner.get_span_context().span_id:016x}"
    ((event,), when) = inside.events, inside.events[0].time_ns
    assert (event.name, dict(event.attributes)) == ("happened", {"b": 2})
    assert inside.start_ns <= when <= inside.end_ns
    assert (outside.parent_id, outside.scope) == (None, "test")
    assert trace.name == "outer"
    assert trace.start_ns == outside.start_ns
    assert trace.duration == outside.duration


def test_a_job_that_can_not_be_packed_costs_only_itself(open_store, run):
    store = open_store()
    for index in range(50):
        outcome = Ok(index if index != 20 else 2**70, None, timings(), 1, 17)
        store.job_ended(run, outcome)
    assert store.flush(SOON)
    assert not store.close(SOON)  # as one is lost
    with recordings.open(store.path) as recording:
        kept = [job.index for job in recording.jobs()]
    assert kept == [*range(20), *range(21, 50)]
    assert store.account.dropped == {("traces", "encode_error"): 1}
    assert store.account.delivered == {"traces": 49}


def test_a_batch_that_can_not_be_packed_costs_only_itself(open_store, run, monkeypatch):
    store = open_store()

    def broken(data, headers):
        raise ValueError

    monkeypatch.setattr(entries, "pack_spans", broken)
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    for _ in range(3):
        tracer.start_span("one").end()
    store.job_ended(run, Ok(0, None, timings()))
    assert pipe.close(SOON)
    assert not store.close(SOON)
    assert store.account.dropped == {("traces", "encode_error"): 3}
    assert store.account.delivered == {"traces": 1}


def test_jobs_that_are_too_many_are_counted(open_store, run, monkeypatch):
    monkeypatch.setattr(stores, "MAX_JOBS", 10)
    store = open_store()
    with store._writer._lock:  # the writer's thread waits for it
        for index in range(30):
            store.job_ended(run, Ok(index, None, timings()))
    assert not store.close(SOON)
    lost = store.account.dropped[("traces", "queue_full")]
    with recordings.open(store.path) as recording:
        kept = [job.index for job in recording.jobs()]
    assert len(kept) + lost == 30
    assert lost > 0


def test_spans_that_are_too_many_are_counted(open_store, monkeypatch):
    monkeypatch.setattr(stores, "MAX_BYTES", 100)
    store = open_store()
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    for _ in range(3):
        tracer.start_span("one").end()
    assert pipe.close(SOON)
    assert not store.close(SOON)
    assert store.account.dropped == {("traces", "queue_full"): 3}


def test_a_span_name_that_is_no_text_costs_nothing_else(open_store):
    store = open_store()
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    for name in ("one", "odd \ud800", "two"):
        tracer.start_span(name).end()
    assert pipe.close(SOON)
    assert store.close(SOON)
    with recordings.open(store.path) as recording:
        assert {"one", "two"} <= {span.name for span in recording.spans()}


def test_stores_of_several_processes_share_a_file(open_store, run):
    first, second = open_store(), open_store()
    for store in (first, second):
        store.job_ended(run, Ok(0, None, timings()))
        assert store.close(SOON)
    with recordings.open(first.path) as recording:
        assert len(list(recording.jobs())) == 2
        assert len(list(recording.sessions())) == 2
