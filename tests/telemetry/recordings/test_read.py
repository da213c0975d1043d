"""`Recording`: the one reader, while it is written, and of whatever is there."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests import programs
from tests.waiting import PATIENCE, until

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.outcome import Ok, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings import store as stores
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanPipe


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = LocalStore(tmp_path)
    yield opened
    opened.close(5)


def put(store: LocalStore, runner: str, jobs: int = 1, run: str = "") -> None:
    info = RunInfo(run or runner, runner, jobs, 0, 1)
    store.run_opened(info)
    for index in range(jobs):
        store.job_ended(info, Ok(index, None, Timings()))
    store.run_closed(info)


def put_spans(store: LocalStore, *names: str) -> list[str]:
    """A trace of each name, of two spans; returns their ids."""
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    ids: list[str] = []
    for name in names:
        with tracer.start_as_current_span(name) as span:
            tracer.start_span("inner").end()
        ids.append(f"{span.get_span_context().trace_id:032x}")
    assert pipe.close(PATIENCE)
    return ids


def test_a_folder_or_the_file_in_it_is_opened(store: LocalStore) -> None:
    put(store, "one")
    assert store.flush(PATIENCE)
    for path in (store.path, store.path.parent, str(store.path)):
        with recordings.open(path) as recording:
            assert recording.path == store.path
            assert recording.session().id == store.session


def test_jobs_are_those_of_a_session_or_a_run(
    store: LocalStore, tmp_path: Path
) -> None:
    put(store, "one", 2)
    put(store, "two", 3)
    assert store.flush(PATIENCE)
    other = LocalStore(tmp_path)
    put(other, "one", 4, run="elsewhere")
    assert other.close(PATIENCE)
    with recordings.open(tmp_path) as recording:
        assert len(list(recording.jobs())) == 9
        assert len(list(recording.jobs(store.session))) == 5
        assert len(list(recording.jobs(run="two"))) == 3
        assert list(recording.jobs(other.session, run="two")) == []
        assert [run.id for run in recording.runs(other.session)] == ["elsewhere"]


def test_traces_and_spans_are_found(store: LocalStore) -> None:
    first, second = put_spans(store, "first", "second")
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        assert [trace.name for trace in recording.traces()] == ["first", "second"]
        names = [span.name for span in recording.trace(second)]
        assert names == ["second", "inner"]
        assert {span.trace_id for span in recording.trace(first)} == {first}
        assert len(list(recording.spans(store.session))) == 4
        assert list(recording.spans("another")) == []
        (request,) = recording.requests()
    (resource,) = request.resource_spans
    assert resource.scope_spans[0].scope.name == "test"
    assert resource.resource.attributes
    assert len(resource.scope_spans[0].spans) == 4


@pytest.mark.parametrize("trace_id", ["", "0", "zz", "0" * 32, "ab" * 20, "é"])
def test_a_trace_that_was_not_kept_has_no_spans(
    store: LocalStore, trace_id: str
) -> None:
    put_spans(store, "one")
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        assert recording.trace(trace_id) == []


def test_a_trace_in_several_batches_is_put_together(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_BATCH_BYTES", 1)
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        for _ in range(3):
            tracer.start_span("inner").end()
            assert pipe.flush(PATIENCE)
    assert pipe.close(PATIENCE)
    assert store.close(PATIENCE)
    with recordings.open(store.path) as recording:
        trace_id = f"{outer.get_span_context().trace_id:032x}"
        names = [span.name for span in recording.trace(trace_id)]
    assert names == ["outer", "inner", "inner", "inner"]


def test_a_session_or_run_is_found_by_how_its_id_begins(store: LocalStore) -> None:
    put(store, "one", run="run-1")
    put(store, "two", run="run-2")
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        assert recording.find("last") == recording.session()
        assert recording.find(store.session[:10]) == recording.session()
        found = recording.find("run-2")
        assert isinstance(found, recordings.Run)
        assert found.runner == "two"
        for name in ("run-", "", "none", "%"):
            with pytest.raises(LookupError, match="give an id, or last"):
                recording.find(name)
            if name != "run-":
                with pytest.raises(LookupError, match="give an id, or last"):
                    recording.session(name)


def test_it_is_lazy(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_AT_ONCE", 10)
    put(store, "one", 100)
    assert store.flush(PATIENCE)
    with closing(sqlite3.connect(store.path)) as db:
        (batches,) = db.execute("SELECT count(*) FROM jobs").fetchone()
        assert batches == 10
        db.execute("UPDATE jobs SET rows = 'nonsense' WHERE id > 1")
        db.commit()
    with recordings.open(store.path) as recording:
        jobs = recording.jobs()
        assert [next(jobs).index for _ in range(10)] == list(range(10))
        with pytest.raises(StoreError, match="damaged"):
            next(jobs)


def test_what_is_closed_says_so(store: LocalStore) -> None:
    put(store, "one")
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        recording.close()
    with pytest.raises(StoreError, match="closed database"):
        recording.sessions()


def test_what_retention_deletes_meanwhile_is_left_out(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_AT_ONCE", 10)
    put(store, "one", 100)
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        jobs = recording.jobs()
        next(jobs)
        with closing(sqlite3.connect(store.path)) as db:
            db.execute("DELETE FROM jobs WHERE id < 5")
            db.commit()
        left = [job.index for job in jobs]
    assert left == [*range(1, 10), *range(40, 100)]


@pytest.mark.parametrize("column", ["heads", "bodies", "ids", "about"])
def test_a_damaged_batch_is_refused_by_name(store: LocalStore, column: str) -> None:
    (trace_id,) = put_spans(store, "one")
    assert store.flush(PATIENCE)
    table = "scopes" if column == "about" else "batches"
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(f"UPDATE {table} SET {column} = x'ff00ff'")  # noqa: S608 -- ours
        db.commit()
    with recordings.open(store.path) as recording:
        with pytest.raises(StoreError, match="damaged"):
            list(recording.spans())
        with pytest.raises(StoreError, match="damaged"):
            recording.trace(trace_id)


WRITER = """
import asyncio, itertools
import spanrun as sr
sr.configure(store=".")
async def nap(number):
    await asyncio.sleep(0.001)
async def main():
    async with sr.Runner("endless", limit=8) as runner:
        async with runner.stream(nap, itertools.count()) as outcomes:
            async for outcome in outcomes:
                pass
sr.run(main())
"""
READER = """
from spanrun import recordings
with recordings.open(".") as recording:
    (run,) = recording.runs()
    before = 0
    while before < 1_000:
        jobs = [job.index for job in recording.jobs(run=run.id)]
        assert len(set(jobs)) == len(jobs) >= before
        traces = {trace.id for trace in recording.traces()}
        if traces:
            assert recording.trace(min(traces))
        before = len(jobs)
print("read")
"""


@pytest.mark.slow
def test_several_processes_read_while_it_is_written(tmp_path: Path) -> None:
    def has_begun() -> bool:
        try:
            with recordings.open(tmp_path) as recording:
                return next(recording.jobs(), None) is not None
        except LookupError:
            return False

    with programs.start([sys.executable, "-c", WRITER], cwd=tmp_path) as writer:
        try:
            until(has_begun)
            readers = [
                subprocess.Popen(
                    [sys.executable, "-c", READER],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for _ in range(3)
            ]
            said = [reader.communicate(timeout=PATIENCE)[0] for reader in readers]
        finally:
            writer.kill()
    assert said == ["read\n"] * 3
