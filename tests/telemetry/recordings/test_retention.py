"""What the store forgets: sessions that are too many or too old, and too many bytes."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.outcome import Ok, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunEvent, RunInfo
from spanrun.telemetry.recordings import retention
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.span import random_bits
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanPipe

Open = Callable[[], LocalStore]
TABLES = ("sessions", "runs", "jobs", "scopes", "batches", "events")


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    stores: list[LocalStore] = []

    def open_store() -> LocalStore:
        stores.append(LocalStore(tmp_path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close(5)


def put(store: LocalStore, jobs: int = 1, spans: int = 1) -> None:
    """Jobs and spans with ids that can't be compressed, in a batch each."""
    run = RunInfo(store.session, "embed", None, 0, 1)
    store.run_opened(run)
    for index in range(jobs):
        outcome = Ok(index, None, Timings(), trace_id=random_bits(128))
        store.job_ended(run, outcome)
    store.happened(RunEvent(1, "limit", run.id, None, {"limit": 2}, None))
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("test")
    for _ in range(spans):
        tracer.start_span("span").end()
    assert pipe.close(PATIENCE)
    assert store.flush(PATIENCE)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        question = f"SELECT count(*) FROM {table}"  # noqa: S608 -- ours
        (found,) = db.execute(question).fetchone()
    return int(found)


def test_fifty_sessions_are_kept(open_store: Open) -> None:
    for _ in range(53):
        store = open_store()
        put(store)
        assert store.close(PATIENCE)
    assert {table: rows(store.path, table) for table in TABLES} == dict.fromkeys(
        TABLES, 50
    )
    with recordings.open(store.path) as recording:
        assert recording.session().id == store.session


def test_a_session_of_which_nothing_was_written_for_long_is_forgotten(
    open_store: Open,
) -> None:
    old, running = open_store(), open_store()
    put(old)
    put(running)
    with closing(sqlite3.connect(old.path)) as db:
        db.execute("UPDATE sessions SET started_ns = 1")
        db.execute("UPDATE sessions SET written_ns = 1 WHERE id = ?", [old.session])
        db.commit()
    new = open_store()
    put(new)
    with recordings.open(new.path) as recording:
        kept = {session.id for session in recording.sessions()}
        assert kept == {running.session, new.session}
        assert {job.run for job in recording.jobs()} == kept
        assert len(list(recording.spans())) == 2


def test_beyond_its_bytes_other_sessions_go_first_the_oldest_of_them(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [open_store() for _ in range(3)]
    for store in stores:
        put(store, 5_000)
    size = store.path.stat().st_size
    monkeypatch.setattr(retention, "MAX_BYTES", size)
    put(stores[2], 5_000)
    with recordings.open(store.path) as recording:
        sessions = [session.id for session in recording.sessions()]
        assert sorted(sessions) == sorted(each.session for each in stores[1:])
        assert len(list(recording.jobs(stores[2].session))) == 10_000
    assert store.path.stat().st_size <= size + 64 * 1024


def test_a_session_that_is_alone_loses_its_oldest_batches_and_says_how_much(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_BYTES", 512 * 1024)
    store = open_store()
    put(store, 100, 1_000)
    for _ in range(40):
        put(store, 100, 2_000)
    assert store.close(PATIENCE)
    assert store.path.stat().st_size < 640 * 1024
    with recordings.open(store.path) as recording:
        (session,) = recording.sessions()
        spans = sum(1 for _ in recording.spans())
        jobs = sum(1 for _ in recording.jobs())
    assert jobs == 4_100  # of which there is a row whatever became of the spans
    assert session.forgotten == 81_000 - spans
    assert 0 < spans < 20_000


def test_jobs_go_when_no_spans_are_left(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_BYTES", 256 * 1024)
    store = open_store()
    for _ in range(20):
        put(store, 2_000, 0)
    assert store.close(PATIENCE)
    assert store.path.stat().st_size < 384 * 1024
    with recordings.open(store.path) as recording:
        (session,) = recording.sessions()
        jobs = [job.index for job in recording.jobs()]
    assert session.forgotten == 40_000 - len(jobs)
    assert 0 < len(jobs) < 20_000
