"""The local store in odd places: nothing lost in silence, nobody's file touched."""

import contextlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.outcome import Ok, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings import file as store_file
from spanrun.telemetry.recordings import writer as store_writer
from spanrun.telemetry.recordings.schema import FILE
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.recordings.summary import Summary, summary_of
from spanrun.telemetry.span import random_bits

SOON = PATIENCE
FORMAT_1 = Path(__file__).parents[2] / "data" / "store" / "format-1.db"
FORMAT_3 = FORMAT_1.with_name("format-3.db")

Open = Callable[[], LocalStore]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "BUSY", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / FILE


@pytest.fixture
def open_store(path: Path) -> Iterator[Open]:
    stores: list[LocalStore] = []

    def open_store() -> LocalStore:
        store = LocalStore(path.parent)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close(SOON)


def put(store: LocalStore, jobs: int = 1) -> None:
    info = RunInfo("r1", "embed", None, 0, 1)
    for index in range(jobs):
        store.job_ended(info, Ok(index, None, Timings()))


def put_large(store: LocalStore, jobs: int) -> None:
    """Jobs of which each has another trace: 16 bytes that can't be compressed."""
    info = RunInfo("r1", "embed", None, 0, 1)
    for index in range(jobs):
        store.job_ended(info, Ok(index, None, Timings(), trace_id=random_bits(128)))


def count(path: Path, items: str = "jobs") -> int:
    """How many jobs, sessions or spans are kept."""
    with recordings.open(path) as recording:
        return sum(1 for _ in getattr(recording, items)())


def summary(path: Path, session: str = "any") -> Summary:
    with recordings.open(path) as recording:
        return summary_of(recording, session)


def rows(path: Path, table: str) -> int:
    """How many rows another program's table has, or one of another format."""
    with closing(sqlite3.connect(path)) as db:
        question = f"SELECT count(*) FROM {table}"  # noqa: S608 -- ours
        (found,) = db.execute(question).fetchone()
    return int(found)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("spanrun.")
    ]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


class TestALock:
    def test_rows_wait_for_it_and_are_written_when_it_goes(
        self, path: Path, open_store: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        with locked(path):
            store = open_store()
            put(store, 5)
            assert not store.flush(SOON)
            assert store.fault == "database is locked"
            put(store, 5)
            assert not store.flush(SOON)
        assert store.flush(SOON)
        assert not store.fault
        assert store.close(SOON)
        assert (count(path), count(path, "sessions")) == (10, 1)
        assert store.account.delivered == {"traces": 10}
        (line,) = said(caplog)
        assert f"spanrun's local store {path} can't be written: database is l" in line

    def test_rows_are_written_with_the_next_ones_when_it_goes(
        self, path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_writer, "_FIRST_PAUSE", 0.0)
        with locked(path):
            store = open_store()
            put(store, 5)
            assert not store.flush(SOON)
        put(store, 5)
        assert store._outbox.flush(SOON)
        assert count(path) == 10

    def test_what_waits_is_bounded_and_the_rest_is_counted(
        self, path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_writer, "MAX_WAITING", 2 * store_writer._LEAST)
        with locked(path):
            store = open_store()
            for _ in range(5):
                put(store, 5)
                assert not store.flush(SOON)
            assert store.account.dropped == {("traces", "export_failed"): 15}
        assert store.flush(SOON)
        assert not store.close(SOON)  # not all was kept
        assert count(path) == 10

    def test_what_it_outlasts_is_counted(self, path: Path, open_store: Open) -> None:
        with locked(path):
            store = open_store()
            put(store, 7)
            assert not store.close(SOON)
        assert store.account.dropped == {("traces", "export_failed"): 7}

    def test_nobody_but_the_writers_thread_meets_it(
        self, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: set[str] = set()
        connect = sqlite3.connect

        def noting(*args: Any, **options: Any) -> sqlite3.Connection:
            threads.add(threading.current_thread().name)
            return connect(*args, **options)

        monkeypatch.setattr(sqlite3, "connect", noting)
        store = open_store()
        put(store)
        assert store.flush(SOON)
        assert threads == {"spanrun-store"}

    def test_a_fork_does_not_take_along_what_waits(
        self, path: Path, open_store: Open
    ) -> None:
        with locked(path):
            store = open_store()
            put(store, 3)
            assert not store.flush(SOON)
            store._writer.after_fork()  # as in the child
        assert store.flush(SOON)
        assert not store.account.delivered


class TestTheEnd:
    def test_what_another_thread_is_at_when_time_is_up_is_lost_and_counted(
        self, path: Path
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def begin(db: sqlite3.Connection, *, first: bool, size: int) -> None:
            begun.set()
            go_on.wait()

        file = store_file.StoreFile(
            path, 1, frozenset({"kept"}), "CREATE TABLE IF NOT EXISTS kept (number);"
        )
        account = Account()
        writer = store_writer.StoreWriter(file, begin, account)
        entries = [
            store_writer.Entry(items, 0, "INSERT INTO kept VALUES (?)", (items,))
            for items in (1, 2)
        ]
        thread = threading.Thread(target=writer.write, args=(entries,))
        thread.start()
        try:
            assert begun.wait(SOON)
            assert not writer.close(0.01)
        finally:
            go_on.set()
            thread.join()
        assert not account.delivered
        assert account.dropped == {("traces", "shutdown"): 3}
        assert rows(path, "kept") == 0

    def test_an_entry_that_can_not_be_written_costs_only_itself(
        self, path: Path
    ) -> None:
        file = store_file.StoreFile(
            path, 1, frozenset({"kept"}), "CREATE TABLE IF NOT EXISTS kept (number);"
        )
        account = Account()
        writer = store_writer.StoreWriter(file, lambda *_, **__: None, account)
        writer.write(
            [
                store_writer.Entry(3, 0, "INSERT INTO kept VALUES (?)", (number,))
                for number in (1, 2**70, 2)
            ]
        )
        assert not writer.close(SOON)
        assert account.dropped == {("traces", "encode_error"): 3}
        assert account.delivered == {"traces": 6}
        assert rows(path, "kept") == 2


class TestADisk:
    def test_full_costs_rows_and_is_written_again_when_it_has_room(
        self,
        path: Path,
        open_store: Open,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        connect = store_file.StoreFile._connect
        room = 20

        def small(file: store_file.StoreFile, *about: Any) -> sqlite3.Connection:
            db = connect(file, *about)
            db.execute(f"PRAGMA max_page_count = {room}")
            return db

        monkeypatch.setattr(store_file.StoreFile, "_connect", small)
        store = open_store()
        put_large(store, 10_000)
        assert not store.flush(SOON)
        assert store.fault == "database or disk is full"
        room = 10_000
        assert store.flush(SOON)
        assert count(path) == 10_000
        room = 10
        put_large(store, 3_000)
        assert not store.close(SOON)
        assert store.account.dropped == {("traces", "disk_full"): 3_000}
        assert len(said(caplog)) == 1

    def test_that_makes_no_shared_memory_is_written_all_the_same(
        self, path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Such a file system is as SQLite's driver with dot-files: no memory to share.
        monkeypatch.setattr(store_file, "_DRIVER", "&vfs=unix-dotfile")
        store = open_store()
        put(store, 10)
        assert store.close(SOON)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert count(path) == 10


class TestTheFile:
    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_that_is_deleted_while_in_use_is_made_anew(
        self,
        path: Path,
        open_store: Open,
        caplog: pytest.LogCaptureFixture,
        what: str,
    ) -> None:
        store = open_store()
        run = RunInfo("r1", "embed", None, 0, 1)
        store.run_opened(run)
        put(store, 3)
        assert store.flush(SOON)
        if what == "file":
            path.unlink()
        else:
            shutil.rmtree(path.parent)
        put(store, 4)
        store.run_closed(run)
        assert store.close(SOON)
        (stats,) = summary(path, store.session).runners
        assert (stats.name, stats.jobs) == ("embed", 4)
        (line,) = said(caplog)
        assert "was removed while it was in use" in line

    def test_that_loses_a_table_gets_it_back(
        self, path: Path, open_store: Open
    ) -> None:
        store = open_store()
        assert store.flush(SOON)
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE jobs")
        put(store, 3)
        assert store.close(SOON)
        assert count(path) == 3

    def test_that_somebody_has_analyzed_is_still_ours(
        self, path: Path, open_store: Open
    ) -> None:
        store = open_store()
        assert store.flush(SOON)
        with closing(sqlite3.connect(path)) as db:
            db.execute("ANALYZE")
        put(store, 3)
        assert store.close(SOON)

    def test_stays_where_it_is_when_the_program_goes_elsewhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = LocalStore(Path(".spanrun"))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(store, 3)
        assert store.close(SOON)
        assert count(tmp_path / ".spanrun" / FILE) == 3
        assert not list(Path().iterdir())

    def test_that_is_damaged_is_moved_aside_and_no_row_is_lost(
        self, path: Path, open_store: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = open_store()
        put(store, 5_000)
        assert store.flush(SOON)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle:] = b"\xff" * (len(content) - middle)
        path.write_bytes(content)
        put(store, 10)
        assert store.close(SOON)
        assert count(path) == 10
        (aside,) = path.parent.glob(f"{FILE}.damaged.*")
        assert aside.read_bytes()[middle:] == content[middle:]
        (line,) = said(caplog)
        assert "is damaged: it was moved to" in line
        assert aside.name in line


def rubbish(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(4096))


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA user_version = 7; CREATE TABLE sessions (token)")


def foreign_of_our_number(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA user_version = 3; CREATE TABLE theirs (a)")


def ours_with_more(path: Path) -> None:
    shutil.copy(FORMAT_3, path)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode = DELETE; CREATE TABLE theirs (a)")


def folder(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    shutil.copy(FORMAT_3, path.with_name("other.db"))
    path.symlink_to("other.db")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.db")


ALONE = [
    *(rubbish, zeros, foreign, foreign_of_our_number, ours_with_more),
    *(folder, fifo, link, dangling),
]


@pytest.mark.parametrize("stand", ALONE, ids=lambda stand: stand.__name__)
class TestWhatIsNotOurs:
    def test_is_left_alone_and_costs_the_rows(
        self,
        path: Path,
        open_store: Open,
        caplog: pytest.LogCaptureFixture,
        stand: Callable[[Path], None],
    ) -> None:
        path.parent.mkdir()
        stand(path)
        before = picture(path.parent)
        store = open_store()
        put(store, 5)
        assert not store.close(SOON)
        assert store.account.dropped == {("traces", "export_failed"): 5}
        assert picture(path.parent) == before
        (line,) = said(caplog)
        assert f"spanrun's local store {path}" in line
        assert "SPANRUN_STORE=none" in line

    def test_is_refused_by_readers(
        self, path: Path, stand: Callable[[Path], None]
    ) -> None:
        path.parent.mkdir()
        stand(path)
        if stand is link:  # to read through it is harmless
            return
        expected = LookupError if stand is dangling else StoreError
        with pytest.raises(expected, match=str(path)):
            summary(path)


def picture(folder: Path) -> dict[str, object]:
    return {
        each.name: each.read_bytes() if each.is_file() else each.lstat().st_mode
        for each in folder.iterdir()
    }


def of_format(path: Path, version: int) -> None:
    """Ours, as a release before or after this one may have left it."""
    path.parent.mkdir(exist_ok=True)
    shutil.copy(FORMAT_1, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("CREATE TABLE batches (session TEXT, spans BLOB)")


class TestAnotherFormat:
    @pytest.mark.parametrize("version", [1, 2, 99])
    def test_is_moved_aside_whole_and_the_log_says_so_once(
        self,
        path: Path,
        open_store: Open,
        caplog: pytest.LogCaptureFixture,
        version: int,
    ) -> None:
        of_format(path, version)
        first = open_store()
        put(first, 5)
        assert first.close(SOON)
        second = open_store()
        put(second, 5)
        assert second.close(SOON)
        assert (count(path), count(path, "sessions")) == (10, 2)
        (aside,) = path.parent.glob(f"{FILE}.format-{version}.*")
        assert rows(aside, "jobs") == 21
        (line,) = said(caplog)
        assert f"{path} has format {version}, and this spanrun writes 3" in line
        assert f"it was moved to {aside.name}" in line

    def test_is_moved_with_what_is_in_its_log_yet(
        self, path: Path, open_store: Open
    ) -> None:
        of_format(path, 1)
        script = (
            "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
            "db.execute('PRAGMA wal_autocheckpoint = 0'); "
            "db.execute('INSERT INTO batches VALUES (1, 2)'); db.commit(); os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", script, path], check=True)
        assert path.with_name(f"{FILE}-wal").stat().st_size
        store = open_store()
        put(store, 5)
        assert store.close(SOON)
        (aside,) = path.parent.glob(f"{FILE}.format-1.*")
        assert rows(aside, "batches") == 1
        assert count(path) == 5

    def test_never_takes_the_place_of_one_that_was_moved_before(
        self, path: Path, open_store: Open
    ) -> None:
        for number in range(3):
            of_format(path, 1)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("INSERT INTO batches VALUES (?, '')", [number])
            store = open_store()
            put(store)
            assert store.close(SOON)
            path.unlink()
        kept = sorted(path.parent.glob(f"{FILE}.format-1.*"))
        assert len(kept) == 3
        assert [read_all(each) for each in kept] == ["0", "1", "2"]

    def test_that_comes_again_while_in_use_is_left_alone(
        self, path: Path, open_store: Open
    ) -> None:
        of_format(path, 1)
        store = open_store()
        put(store)
        assert store.flush(SOON)
        path.unlink()
        of_format(path, 4)
        put(store, 5)
        assert not store.close(SOON)
        assert store.account.dropped == {("traces", "export_failed"): 5}
        assert rows(path, "jobs") == 21

    def test_waits_while_the_other_program_writes(
        self, path: Path, open_store: Open
    ) -> None:
        of_format(path, 1)
        with locked(path):
            store = open_store()
            put(store, 5)
            assert not store.flush(SOON)
            assert [each.name for each in path.parent.glob("*.format-*")] == []
        assert store.close(SOON)
        assert count(path) == 5

    def test_that_another_process_moves_first_is_not_moved_again(
        self, path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of_format(path, 1)
        moved = path.with_name("moved by the other")

        class Late(sqlite3.Connection):
            def execute(self, question: str, *values: Any) -> sqlite3.Cursor:
                if question == "BEGIN EXCLUSIVE" and not moved.exists():
                    path.rename(moved)
                    shutil.copy(FORMAT_3, path)
                return super().execute(question, *values)

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=Late))
        store = open_store()
        put(store, 5)
        assert store.close(SOON)
        monkeypatch.undo()
        assert count(path) == 26
        assert [each.name for each in path.parent.glob("*.format-*")] == []

    def test_is_refused_by_readers(self, path: Path) -> None:
        of_format(path, 1)
        with pytest.raises(StoreError, match=r"has format 1, and this .* format 3"):
            summary(path)


def read_all(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return " ".join(row[0] for row in db.execute("SELECT session FROM batches"))


RACER = """
import sys
from pathlib import Path
from spanrun.outcome import Ok, Timings
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.store import LocalStore
sys.stdin.readline()
store = LocalStore(Path(sys.argv[1]))
store.job_ended(RunInfo("r1", "embed", None, 0, 1), Ok(0, None, Timings()))
store.flush(20)
store.flush(20)
print(store.close(20), dict(store.account.dropped))
"""


@pytest.mark.slow
def test_many_processes_that_find_another_format_move_it_once(path: Path) -> None:
    of_format(path, 1)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, path.parent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=PATIENCE) for racer in racers]
    assert [out for out, _ in told] == ["True {}\n"] * 6
    assert sum("was moved to" in err for _, err in told) == 1
    (aside,) = path.parent.glob(f"{FILE}.*.*")
    assert rows(aside, "jobs") == 21
    assert (count(path), count(path, "sessions")) == (6, 6)


class TestFormat3:
    """What the first releases with it wrote; see `tests/data/store/make.py`."""

    def test_is_read(self, path: Path) -> None:
        path.parent.mkdir()
        shutil.copy(FORMAT_3, path)
        with recordings.open(path) as recording:
            session = recording.session().id
            names = [trace.name for trace in recording.traces(session)]
        found = summary(path, session)
        (embed,) = found.runners
        assert (embed.name, embed.jobs, embed.ok, embed.retries) == ("embed", 21, 19, 2)
        assert {(f.error_type, f.error) for f in found.failures} == {
            ("LookupError", "no 3"),
            ("LookupError", "no 13"),
        }
        assert found.slowest is not None
        assert found.slowest.phases["backoff"] > 0
        assert sorted(names) == ["job embed", "run embed"]

    def test_is_written_on(self, path: Path, open_store: Open) -> None:
        path.parent.mkdir()
        shutil.copy(FORMAT_3, path)
        store = open_store()
        put(store, 5)
        assert store.close(SOON)
        assert (count(path), count(path, "sessions")) == (26, 2)


class TestReaders:
    def test_what_was_never_written_is_said_to_be_missing(self, path: Path) -> None:
        with pytest.raises(LookupError, match="isn't there: run something first"):
            summary(path)
        path.parent.mkdir()
        path.touch()
        with pytest.raises(LookupError, match="is empty: run something first"):
            summary(path)
        assert path.read_bytes() == b""

    def test_a_folder_that_is_a_file(self, path: Path) -> None:
        path.parent.touch()
        with pytest.raises(StoreError, match="can't be read"):
            summary(path)

    def test_damage_in_the_middle(self, path: Path) -> None:
        path.parent.mkdir()
        content = bytearray(FORMAT_3.read_bytes())
        schema = 5 * 1024
        content[schema:] = b"\xff" * (len(content) - schema)
        path.write_bytes(content)
        with pytest.raises(StoreError, match="malformed"):
            summary(path)
