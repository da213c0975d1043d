"""Promise 7: any call on a checkpoint may fail, and no finished work is lost.

The N-th call fails, once or from then on, for each N until a run comes to its end
without a failure. Such a run has all results, or ends with a `CheckpointError` that
names the disk; what is in the file then is whole, and is never run again.
"""

import errno
import itertools
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.disk import EVER, Faults

import spanrun as sr
from spanrun.errors import CheckpointError

ITEMS = range(8)
DOUBLED = [2 * item for item in ITEMS]


class Life:
    """One process's run, and what it did."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.error: CheckpointError | None = None
        self.found: list[int] | None = None

    async def double(self, item: int) -> int:
        self.ran.append(item)
        return 2 * item

    def live(self, path: Path, commit: str) -> None:
        async def main() -> list[int]:
            async with sr.Runner("faults", limit=3) as runner:
                kept = sr.Checkpoint(path, commit=commit)  # type: ignore[arg-type]
                return await runner.map(self.double, ITEMS, checkpoint=kept)

        try:
            self.found = sr.run(main())
        except CheckpointError as error:
            self.error = error


def kept_in(path: Path) -> set[int]:
    """The items with a result in the file, which must be whole."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = [table for (table,) in db.execute("SELECT name FROM sqlite_schema")]
        if "outcomes" not in tables:
            return set()
        rows = db.execute("SELECT id FROM outcomes WHERE outcome = 'ok'")
        return {item for (item,) in rows}


def check(faults: Faults, path: Path, at: int, code: int, times: int) -> bool:
    """Run with the call ``at`` failing, then again; whether there was such a call."""
    path.parent.mkdir()
    before = Life()
    before.live(path, "group")  # something is there already
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM outcomes WHERE id > 2")
        db.commit()
    kept = kept_in(path)
    faults.begin(path.parent)
    faults.fail(at, code, times=times)
    first = Life()
    first.live(path, "each" if at % 2 else "group")
    faults.heal()
    if not faults.failed:
        return False
    where = (at, errno.errorcode[code], faults.failed[0])
    if first.error is None:
        assert first.found == DOUBLED, where
    else:
        assert first.error.reason == "disk", (where, first.error)
    after = kept_in(path)
    assert kept <= after, where
    assert not kept & set(first.ran), where
    if first.found is not None:
        assert after == set(ITEMS), where
    second = Life()
    second.live(path, "group")
    assert second.found == DOUBLED, (where, second.error)
    assert not after & set(second.ran), where
    return True


def survives(faults: Faults, folder: Path, code: int, times: int) -> set[str]:
    """Have each call fail in turn; the names of those that did."""
    seen: set[str] = set()
    alive = threading.active_count()
    for at in itertools.count(1):
        path = folder / f"{at}" / "run.checkpoint"
        if not check(faults, path, at, code, times):
            return seen
        seen.update(faults.failed)
        assert threading.active_count() == alive
    raise AssertionError("unreachable")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_any_call_may_fail_once(
    sqlite_faults: Faults, tmp_path: Path, code: int
) -> None:
    seen = survives(sqlite_faults, tmp_path, code, 1)
    assert seen >= {"open", "pwrite", "lockf"}
    assert seen >= {"sqlite open", "sqlite fsync", "sqlite unlink"}
    assert {"sqlite pwrite64", "sqlite pwrite"} & seen


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_call_may_fail_from_then_on(
    sqlite_faults: Faults, tmp_path: Path, code: int
) -> None:
    assert survives(sqlite_faults, tmp_path, code, EVER) & {
        "sqlite pwrite64",
        "sqlite pwrite",
    }
