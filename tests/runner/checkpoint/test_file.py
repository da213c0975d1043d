"""The file of a checkpoint: its formats, its faults, and who has it."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests import programs
from tests.forking import HEAD, needs_fork
from tests.telemetry.export.receiver import receiving
from tests.waiting import killed_when_late

import spanrun as sr
from spanrun.errors import CheckpointError
from spanrun.runner.checkpoint import owner, rows
from spanrun.runner.checkpoint.file import VERSION, CheckpointFile
from spanrun.runner.checkpoint.writer import Writer

STORED = Path(__file__).parent / "format-1.checkpoint"


async def double(item):
    return item * 2


async def run(path, items=range(5), **options):
    async with sr.Runner("kept") as runner:
        kept = sr.Checkpoint(path, **options)
        return await runner.map(double, items, checkpoint=kept, errors="collect")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


async def test_a_file_of_format_1_is_read(path, monkeypatch):
    """The stored one was written by the first release that had checkpoints."""
    monkeypatch.setattr(double, "__module__", "job")
    monkeypatch.setattr(double, "__qualname__", "job")
    shutil.copy(STORED, path)
    found = await run(path, failed="keep")
    assert [each.value for each in found[:3]] == [
        {"item": 0, "vector": [0.5]},
        (1, b"one"),
        "two",
    ]
    assert found[1].attempts == 2
    assert str(found[3].error) == "ValueError: three"
    assert found[4].value == 8


async def test_a_file_of_another_format_is_refused_by_its_number(path):
    await run(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(CheckpointError, match=f"has format {VERSION + 1}, and this"):
        await run(path)


async def test_other_programs_files_are_left_alone(path):
    path.write_text("a text of the user's")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        await run(path)
    assert path.read_text() == "a text of the user's"
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="is another program's database"):
        await run(path)
    assert path.read_bytes() == before


async def test_a_folder_is_no_checkpoint(path):
    path.mkdir()
    with pytest.raises(CheckpointError, match="is no file"):
        await run(path)


async def test_an_empty_file_becomes_one(path):
    path.touch()
    assert len(await run(path)) == 5


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
async def test_a_damaged_file_is_told_and_left(path, damage):
    await run(path, range(2_000))
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    if damage == "cut":
        del data[half:]
    else:
        noise = os.urandom if damage == "noise" else bytes
        data[4096:half] = noise(half - 4096)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged|another run") as why:
        await run(path, range(2_000))
    assert why.value.reason in ("disk", "mismatch")
    assert path.read_bytes()[4096:] == bytes(data)[4096:]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
async def test_a_folder_that_cant_be_written_is_named():
    path = Path("/proc/run.checkpoint")
    with pytest.raises(CheckpointError, match="can't be read or written") as why:
        await run(path)
    assert why.value.reason == "disk"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EROFS])
async def test_a_file_system_that_cant_lock_is_named(path, monkeypatch, code):
    def no(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner.fcntl, "lockf", no)
    with pytest.raises(CheckpointError, match=r"local disk|can't be read") as why:
        await run(path)
    assert why.value.reason == "disk"
    monkeypatch.undo()
    assert len(await run(path)) == 5


async def test_a_second_run_of_the_process_is_refused(path):
    async with sr.Runner("kept") as runner:
        kept = sr.Checkpoint(path)
        async with runner.stream(double, range(3), checkpoint=kept) as outcomes:
            with pytest.raises(CheckpointError, match="another run of this") as why:
                await runner.map(double, range(3), checkpoint=kept)
            assert why.value.reason == "locked"
            assert [each.value async for each in outcomes] == [0, 2, 4]
        assert await runner.map(double, range(3), checkpoint=kept) == [0, 2, 4]


OWNER = """
import asyncio, sys
import spanrun as sr
async def double(item):
    print("runs", flush=True)
    await asyncio.Event().wait()
double.__module__ = "job"
async def main():
    async with sr.Runner("kept") as runner:
        await runner.map(double, [1], checkpoint=sr.Checkpoint(sys.argv[1]))
sr.run(main())
"""


async def test_a_second_process_is_told_whose_it_is_until_that_is_dead(
    path, monkeypatch
):
    monkeypatch.setattr(double, "__module__", "job")
    with programs.start(
        [sys.executable, "-c", OWNER, path], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == "runs\n"
        with pytest.raises(CheckpointError) as why:
            await run(path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert why.value.reason == "locked"
    assert (
        f"is in use by process {other.pid} on {os.uname().nodename}, since 20"
        in str(why.value)
    )
    found = await run(path, [1])
    assert found[0].value == 2


async def test_a_lock_file_that_says_nonsense_is_no_matter(path):
    lock = path.with_name(f"{path.name}.lock")
    lock.write_bytes(b"\xff{")
    assert len(await run(path)) == 5
    assert json.loads(lock.read_text())["pid"] == os.getpid()


async def test_a_full_disk_ends_the_run_by_name(path, monkeypatch):
    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(rows, "insert", full)
    with pytest.raises(CheckpointError, match="disk is full: check its rights") as why:
        await run(path, range(100_000))
    assert why.value.reason == "disk"
    monkeypatch.undo()
    assert len(await run(path)) == 5


FORKS = (
    HEAD
    + """
import gc
import spanrun as sr

async def double(item):
    def work():
        gc.collect()
        return True
    assert status_of(child_of(work)) == 0
    return item * 2

async def main():
    async with sr.Runner("kept", limit=2) as runner:
        kept = sr.Checkpoint(sys.argv[1])
        print(await runner.map(double, range(10), checkpoint=kept))

sr.run(main())
"""
)


@needs_fork
def test_a_fork_in_a_job_harms_nothing(path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FORKS, path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{list(range(0, 20, 2))}\n", done.stderr
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


EXITS = (
    HEAD
    + """
import asyncio
import spanrun as sr

sr.configure(endpoint=sys.argv[2], store="none")

async def job(item):
    if item == 2:
        child = os.fork()
        if not child:
            sys.exit(7)
        print(status_of(child), flush=True)
        os._exit(0)  # the child has closed the loop that it shares with this process
    await asyncio.sleep(0)
    return item

async def main():
    async with sr.Runner("kept", limit=1) as runner:
        await runner.map(job, range(10), checkpoint=sr.Checkpoint(sys.argv[1]))

sr.run(main())
"""
)


@needs_fork
def test_a_child_that_exits_in_a_job_comes_to_its_end(path):
    """Its metrics raised, and it waited for the parent's thread to close the file."""
    with (
        receiving() as receiver,
        subprocess.Popen(
            [sys.executable, "-c", EXITS, path, receiver.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SPANRUN_SPOOL": str(path.parent / "spool")},
        ) as program,
        killed_when_late(program),
    ):
        said, errors = program.communicate()
    assert said == "7\n", errors
    assert "Traceback" not in errors


class Reading:
    """Around the lock of those who read: tells when the writer's thread wants it."""

    def __init__(self, lock, wanted):
        self._lock, self._wanted = lock, wanted

    def __enter__(self):
        if threading.current_thread() is not threading.main_thread():
            self._wanted.set()
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


async def test_what_is_read_at_that_moment_is_not_closed_by_a_full_disk(
    path, monkeypatch
):
    """SQLite's module of Python crashes where a connection is closed amid its use."""
    await run(path, range(3))
    closing_it, read = threading.Event(), []
    find, close, opened = rows.ByPlace.find, CheckpointFile.close, CheckpointFile.open

    def open_it(self, *arguments):
        opened(self, *arguments)
        self.reading = Reading(self.reading, closing_it)

    def close_it(self):
        close(self)
        closing_it.set()

    def find_it(self, place):
        assert closing_it.wait(60)  # the thread waits for us, or has closed it
        read.append(find(self, place))
        return read[-1]

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckpointFile, "open", open_it)
    monkeypatch.setattr(CheckpointFile, "close", close_it)
    monkeypatch.setattr(rows.ByPlace, "find", find_it)
    monkeypatch.setattr(Writer, "_commit", full)
    with pytest.raises(CheckpointError, match="No space left"):
        await run(path)
    assert [each.outcome for each in read] == ["ok"]
