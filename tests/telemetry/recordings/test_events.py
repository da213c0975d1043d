"""Events in the local store: what happened, whether or not a span tells of it."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.recordings import RunEvent
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings import store as stores
from spanrun.telemetry.recordings.columns import blob
from spanrun.telemetry.recordings.events import MAX_STACK, MAX_TEXT
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.recordings.summary import summary_of

Open = Callable[[], LocalStore]
FIRST = RunEvent(1_000, "retry", "r1", 3, {"attempt": 1, "delay": 0.5}, None)
SECOND = RunEvent(2_000, "blocked", None, None, {"seconds": 0.5}, "  File x, line 1")
THIRD = RunEvent(3_000, "limit", "r2", None, {"limit": 8}, None)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    opened: list[LocalStore] = []

    def open_store() -> LocalStore:
        opened.append(LocalStore(tmp_path))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close(PATIENCE)


def kept(store: LocalStore, session: str = "", run: str = "") -> list[RunEvent]:
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        return list(recording.events(session, run))


def test_they_come_back_as_they_were(open_store: Open) -> None:
    store = open_store()
    for event in (FIRST, SECOND, THIRD):
        store.happened(event)
    assert kept(store) == [FIRST, SECOND, THIRD]
    assert store.close(PATIENCE)
    assert store.account.delivered == {"traces": 3}


def test_a_blocked_loop_at_an_instruction_without_a_line_is_no_damage(
    open_store: Open,
) -> None:
    """As a version before this one wrote it."""
    store = open_store()
    place = {"function": "f", "file": "f.py", "line": None}
    event = FIRST._replace(kind="blocked", value={"seconds": 0.5, **place})
    store.happened(event)
    assert kept(store) == [event]
    with recordings.open(store.path) as recording:
        summary_of(recording, store.session)


def test_of_one_session_or_run(open_store: Open) -> None:
    before, store = open_store(), open_store()
    before.happened(FIRST)
    assert before.flush(PATIENCE)
    for event in (SECOND, THIRD):
        store.happened(event)
    assert kept(store, before.session) == [FIRST]
    assert kept(store, store.session) == [SECOND, THIRD]
    assert kept(store, run="r2") == [THIRD]
    assert kept(store, run="r") == []


def test_texts_are_redacted_and_cut(open_store: Open) -> None:
    store = open_store()
    line = "x" * 99 + "\n"
    stack = line * (MAX_STACK // 50) + "password=hunter2secret"
    value = {
        "seconds": 1,
        "error": "password=hunter2secret",
        "file": "y" * 2 * MAX_TEXT,
    }
    store.happened(RunEvent(1, "blocked", "r1", 0, value, stack))
    (event,) = kept(store)
    wanted = {"seconds": 1, "error": "password=[redacted]", "file": "y" * MAX_TEXT}
    assert event.value == wanted
    assert event.stack is not None
    assert MAX_STACK - 200 < len(event.stack) <= MAX_STACK
    assert set(event.stack.splitlines()) == {"x" * 99, "password=[redacted]"}


def test_of_one_kind_a_run_keeps_the_first_and_counts_the_others(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_EVENTS", 5)
    store = open_store()
    run = RunInfo("r1", "embed", None, 0, 1)
    store.run_opened(run)
    for number in range(12):
        store.happened(FIRST._replace(time_ns=number))
        assert store.flush(PATIENCE)
    store.happened(THIRD._replace(run="r1"))
    store.run_closed(run)
    assert [event.kind for event in kept(store)] == ["retry"] * 5 + ["limit"]
    with recordings.open(store.path) as recording:
        assert [each.events_left_out for each in recording.runs()] == [7]
    assert store.close(PATIENCE)  # that is no loss


def test_many_that_wait_are_dropped_and_counted(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    assert store.flush(PATIENCE)
    monkeypatch.setattr(stores, "MAX_EVENTS", 5)
    monkeypatch.setattr(store, "_is_told", True)  # the thread isn't woken
    for number in range(12):
        store.happened(SECOND._replace(time_ns=number))
    store._tell()
    assert [event.time_ns for event in kept(store)] == [*range(5)]
    assert store.account.dropped == {("traces", "queue_full"): 7}
    assert not store.close(PATIENCE)


def test_one_that_can_not_be_packed_is_counted(open_store: Open) -> None:
    store = open_store()
    store.happened(SECOND._replace(value={"x": object()}))
    assert kept(store) == []
    store.happened(SECOND)
    assert kept(store) == [SECOND]
    assert store.account.dropped == {("traces", "encode_error"): 1}


def test_what_waited_in_a_parent_is_not_the_childs(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    assert store.flush(PATIENCE)
    monkeypatch.setattr(store, "_is_told", True)  # the thread isn't woken
    store.happened(FIRST)
    store.after_fork()
    store._tell()
    assert kept(store) == []


@pytest.mark.parametrize(
    "rows", [b"", b"x" * 9, blob(b"[[1]]"), blob(b"7"), blob(b'[["a",1,1,1,1,1]]')]
)
def test_a_damaged_batch_is_refused(open_store: Open, rows: bytes) -> None:
    store = open_store()
    store.happened(FIRST)
    assert store.close(PATIENCE)
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE events SET rows = ?", [rows])
    with (
        recordings.open(store.path) as recording,
        pytest.raises(StoreError, match="is damaged"),
    ):
        list(recording.events())


def test_a_burst_is_one_row_of_the_file(open_store: Open) -> None:
    store = open_store()
    assert store.flush(PATIENCE)
    store._is_told = True  # the thread isn't woken
    for number in range(1_000):
        store.happened(FIRST._replace(time_ns=number))
    store._tell()
    assert len(kept(store)) == 1_000
    with closing(sqlite3.connect(store.path)) as db:
        ((rows,),) = db.execute("SELECT count(*) FROM events")
    assert rows == 1


def test_they_are_recorded_in_a_thread_too(open_store: Open) -> None:
    store = open_store()

    async def main() -> None:
        await asyncio.to_thread(store.happened, SECOND)

    asyncio.run(main())
    assert kept(store) == [SECOND]
