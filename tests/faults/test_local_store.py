"""Promise 4: any call on the local store may fail, and nothing is lost unsaid.

The N-th call fails, once or from then on, for each N until a process comes to its end
without a failure. Its program sees nothing of that. What isn't in the file then is
counted, the file is whole, and has what it had before.
"""

import errno
import itertools
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.disk import EVER, Faults
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.outcome import Ok, Timings
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.schema import FILE
from spanrun.telemetry.recordings.store import LocalStore

JOBS = 5


def record(folder: Path, run: str) -> int:
    """What a process does with a store; how much it counts as lost."""
    store = LocalStore(folder)
    info = RunInfo(run, "faults", JOBS, 0xABC, 1_000, 0, opened=100.0)
    store.run_opened(info)
    store.flush(PATIENCE)
    for index in range(JOBS):
        store.job_ended(info, Ok(index, "value", Timings(), 1, None, 0))
    store.flush(PATIENCE)
    info.ended_ns = 9_000
    store.run_closed(info)
    store.close(PATIENCE)
    lost = sum(store.account.dropped.values())
    assert sum(store.account.delivered.values()) + lost == JOBS + 2
    return lost


def jobs_of(folder: Path) -> dict[str, int]:
    """How many jobs of each run are in the file, which must be whole."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with recordings.open(folder) as recording:
        return {
            run.id: sum(1 for _ in recording.jobs(run=run.id))
            for run in recording.runs()
        }


def check(faults: Faults, folder: Path, at: int, code: int, times: int) -> bool:
    """Record with the call ``at`` failing; whether there was such a call."""
    folder.mkdir()
    assert record(folder, "before") == 0
    faults.begin(folder)
    faults.fail(at, code, times=times)
    lost = record(folder, "amid")
    faults.heal()
    if not faults.failed:
        return False
    where = (at, errno.errorcode[code], faults.failed[0], lost)
    kept = jobs_of(folder)
    assert kept["before"] == JOBS, where
    assert JOBS - kept.get("amid", 0) <= lost, where
    if lost == 0:
        assert kept["amid"] == JOBS, where
    assert [each.name for each in folder.iterdir()] == [FILE], where
    return True


def survives(faults: Faults, folder: Path, code: int, times: int) -> set[str]:
    """Have each call fail in turn; the names of those that did."""
    seen: set[str] = set()
    alive = threading.active_count()
    for at in itertools.count(1):
        if not check(faults, folder / f"{at}", at, code, times):
            return seen
        seen.update(faults.failed)
        assert threading.active_count() == alive
    raise AssertionError("unreachable")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EMFILE])
def test_any_call_may_fail_once(
    sqlite_faults: Faults, tmp_path: Path, code: int
) -> None:
    seen = survives(sqlite_faults, tmp_path, code, 1)
    assert seen >= {"open", "lstat", "sqlite open", "sqlite fsync", "sqlite unlink"}
    assert {"sqlite pwrite64", "sqlite pwrite"} & seen


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_call_may_fail_from_then_on(
    sqlite_faults: Faults, tmp_path: Path, code: int
) -> None:
    assert survives(sqlite_faults, tmp_path, code, EVER) & {
        "sqlite pwrite64",
        "sqlite pwrite",
    }
