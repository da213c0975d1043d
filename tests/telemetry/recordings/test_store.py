"""`LocalStore`: what happened is on disk, whatever happens to the process."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from tests.waiting import PATIENCE, until

from spanrun.outcome import Err, Ok, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.local import FILE, LocalStore
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanPipe

SOON = PATIENCE


def rows(path, question):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(question).fetchall()


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
    return RunInfo("r1", "embed", 2, 0xABC, 1_000, 0)


def timings():
    found = Timings()
    found.limit, found.busy, found.duration = 0.5, 0.25, 2.0
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
    found = rows(store.path, "SELECT id, runner, total, started_ns, ended_ns FROM runs")
    assert found == [("r1", "embed", 2, 1_000, 9_000)]
    question = (
        'SELECT "index", key, outcome, error_type, error, attempts, trace_id, '
        'duration, "limit", busy, service FROM jobs ORDER BY "index"'
    )
    first, second = rows(store.path, question)
    trace = f"{0xABC:032x}"
    assert first == (0, "first", "ok", None, None, 1, trace, 2.0, 0.5, 0.25, 1.25)
    assert second[:6] == (
        1,
        None,
        "failed",
        "LookupError",
        "password=[redacted]",
        3,
    )


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
    question = "SELECT name, parent_id, attributes, events FROM spans ORDER BY name"
    (name, parent, attributes, events), (_, top, _, _) = rows(store.path, question)
    assert (name, attributes) == ("inner", '{"a": 1}')
    assert parent == f"{outer.get_span_context().span_id:016x}"
    assert '"happened", {"b": 2}' in events
    assert top is None


def test_one_row_that_can_not_be_written_costs_only_itself(open_store, run):
    store = open_store()
    for index in range(50):
        key = 17 if index != 20 else "odd"
        outcome = Ok(index if index != 20 else 2**70, None, timings(), 1, key)
        store.job_ended(run, outcome)
    assert store.flush(SOON)
    assert not store.close(SOON)  # as one is lost
    assert rows(store.path, "SELECT count(*) FROM jobs") == [(49,)]
    assert store.account.dropped == {("traces", "encode_error"): 1}
    assert store.account.delivered == {"traces": 49}


def test_a_span_name_that_is_no_text_costs_nothing_else(open_store):
    store = open_store()
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    for name in ("one", "odd \ud800", "two"):
        tracer.start_span(name).end()
    assert pipe.close(SOON)
    assert store.close(SOON)
    names = {name for (name,) in rows(store.path, "SELECT name FROM spans")}
    assert {"one", "two"} <= names


def test_stores_of_several_processes_share_a_file(open_store, run):
    first, second = open_store(), open_store()
    for store in (first, second):
        store.job_ended(run, Ok(0, None, timings()))
        assert store.close(SOON)
    assert rows(first.path, "SELECT count(*) FROM jobs") == [(2,)]
    assert rows(first.path, "SELECT count(*) FROM sessions") == [(2,)]


def test_old_sessions_are_forgotten(open_store, run):
    for _ in range(53):
        store = open_store()
        run.id = store.session
        store.run_opened(run)
        store.job_ended(run, Ok(0, None, timings()))
        assert store.close(SOON)
    assert rows(store.path, "SELECT count(*) FROM sessions") == [(50,)]
    assert rows(store.path, "SELECT count(*) FROM runs") == [(50,)]
    assert rows(store.path, "SELECT count(*) FROM jobs") == [(50,)]


PROGRAM = """
import asyncio, itertools, os
import spanrun as sr
sr.configure(store=".")
async def nap(number):
    await asyncio.sleep(0.001)
async def main():
    async with sr.Runner("endless", limit=8) as runner:
        async with runner.stream(nap, itertools.count()) as outcomes:
            async for outcome in outcomes:
                if outcome.index == 100:
                    print("running", flush=True)
sr.run(main())
"""


def written(path):
    try:
        return rows(path, "SELECT count(*) FROM jobs")[0][0]
    except sqlite3.OperationalError:  # its tables are just being made
        return 0


@pytest.mark.slow
def test_after_a_kill_the_file_is_readable_and_has_what_was_written(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "running\n"
        until(lambda: written(tmp_path / FILE))
        process.send_signal(signal.SIGKILL)
    path = tmp_path / FILE
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    (count,) = rows(path, 'SELECT count(DISTINCT "index") FROM jobs')[0]
    assert rows(path, "SELECT count(*) FROM jobs") == [(count,)]
    assert rows(path, "SELECT ended_ns FROM runs") == [(None,)]
    LocalStore(tmp_path).close(SOON)
