"""The files by which processes show what they do, while somebody looks."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanrun.telemetry.live import files
from spanrun.telemetry.live.state import JobNow, LoopNow, ProcessNow, RunnerNow

JOB = JobNow("embed", "r1", 3, "k", 1.5, "limit", 2, cancelled=False, trace_id="ab")
RUNNER = RunnerNow(
    *("embed", 8, 4, 1, 0, 0, {"ok": 7, "failed": 1}, {"ValueError": 1}),
    *(None, 0.5, 1.0, None),
)
LOOP = LoopNow(0.1, 0.3, "job 3", "f (x.py:1)")


def state(**changes: Any) -> ProcessNow:
    pid = os.getpid()
    known = ProcessNow(
        *(pid, files.host(), files.started(pid), "prog", 1, 10.0, 1),
        *((RUNNER,), (LOOP,), (JOB,)),
    )
    return replace(known, **changes)


def test_what_a_process_says_is_read_back(tmp_path: Path):
    files.publish(tmp_path, state())
    with files.Reader(tmp_path) as reader:
        assert reader.processes() == [state()]
    (tmp_path / f"live-{os.getpid()}").chmod(0o600)
    files.retract(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="rights are POSIX's")
def test_nobody_else_reads_it(tmp_path: Path):
    files.publish(tmp_path, state())
    assert (tmp_path / f"live-{os.getpid()}").stat().st_mode & 0o777 == 0o600


def test_a_process_is_told_while_somebody_looks(tmp_path: Path):
    folder = tmp_path / "new"
    assert not files.is_watched(folder)
    with files.Reader(folder) as reader:
        assert files.is_watched(folder)
        mine = folder / f"top-{os.getpid()}"
        os.utime(mine, (1, 1))
        assert not files.is_watched(folder), "its reader was killed long ago"
        reader.beat()
        assert files.is_watched(folder)
    assert not files.is_watched(folder)
    for name in ("top", "top-", "top-x", "top-1x", "xtop-1", "top-١"):
        (folder / name).touch()
    assert not files.is_watched(folder)


def test_what_a_killed_reader_left_is_removed(tmp_path: Path):
    left = tmp_path / "top-1"
    left.touch()
    os.utime(left, (1, 1))
    with files.Reader(tmp_path) as reader:
        reader.processes()
    assert not left.exists()


def test_a_dead_process_is_known_and_its_file_goes(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        pid = process.pid
        began = files.started(pid)
        files.publish(tmp_path, state(pid=pid, started=began))
        with files.Reader(tmp_path) as reader:
            assert [each.pid for each in reader.processes()] == [pid]
            process.kill()
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # now it is a zombie
            assert reader.processes() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not files.started(os.getpid()), reason="no /proc")
def test_another_process_with_its_number_is_not_taken_for_it(tmp_path: Path):
    files.publish(tmp_path, state(started="1"))
    with files.Reader(tmp_path) as reader:
        assert reader.processes() == []


def test_one_of_another_machine_lives_while_it_writes(tmp_path: Path):
    now = files.time.time_ns()
    assert files.lives(state(host="other", at_ns=now, pid=1))
    assert not files.lives(state(host="other", at_ns=now - 60 * 10**9, pid=1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2}',
        "[" * 100_000,
        json.dumps({"pid": 1, "host": [], "runners": 5}),
    ],
)
def test_what_is_none_is_passed_over(tmp_path: Path, text: str):
    pid = os.getpid()
    path = tmp_path / f"live-{pid}"
    path.write_text(text, "utf-8")
    files.publish(tmp_path, state(pid=1, host="other", at_ns=files.time.time_ns()))
    with files.Reader(tmp_path) as reader:
        assert [each.pid for each in reader.processes()] == [1]
    path.unlink()


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"x"', "null"])
def test_numbers_are_numbers(tmp_path: Path, number: str):
    files.publish(tmp_path, state())
    path = tmp_path / f"live-{os.getpid()}"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"age": 1.5', f'"age": {number}'), "utf-8")
    assert path.read_text("utf-8") != text
    with files.Reader(tmp_path) as reader:
        assert reader.processes() == []
