"""SIGKILL while it is recorded: what is left is read, and was never half written.

``SPANRUN_SOAK`` kills 200 programs instead of 20.
"""

import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.programs import start
from tests.waiting import PATIENCE, until

from spanrun import recordings
from spanrun.telemetry.recordings.schema import FILE

KILLS = 200 if os.environ.get("SPANRUN_SOAK") else 20
AT_ONCE = 10

PROGRAM = """
import asyncio, itertools
import spanrun as sr
from spanrun.telemetry.recordings import store
store._AT_ONCE, store._BATCH_BYTES = 50, 20_000  # so that it writes without a pause
sr.configure(store=".")
async def nap(number):
    with sr.unit("work"):
        await asyncio.sleep(0.002)
async def main():
    async with sr.Runner("endless", limit=8) as runner:
        async with runner.stream(nap, itertools.count()) as outcomes:
            async for outcome in outcomes:
                pass
sr.run(main())
"""


def check(folder: Path) -> tuple[int, int]:
    """Read all of it; returns how many jobs and spans there are."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with recordings.open(folder) as recording:
        for run in recording.runs():
            assert run.ended_ns is None
            jobs = [job.index for job in recording.jobs(run=run.id)]
            assert len(jobs) == len(set(jobs))
        spans = list(recording.spans())
        assert len({span.span_id for span in spans}) == len(spans)
        assert all(recording.trace(span.trace_id) for span in spans[:3])
        return sum(1 for _ in recording.jobs()), len(spans)


def written(folder: Path) -> int:
    """How many jobs are in the file, which is asked often while others write to it."""
    try:
        with closing(sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT total(jobs) FROM jobs").fetchone()[0])
    except sqlite3.OperationalError:  # it is just being made
        return 0


@pytest.mark.slow
def test_what_was_recorded_before_a_kill_is_read(tmp_path: Path) -> None:
    chance = random.Random(5)
    for number in range(KILLS // AT_ONCE):
        folder = tmp_path / str(number)
        folder.mkdir()
        programs = [
            start([sys.executable, "-c", PROGRAM], cwd=folder) for _ in range(AT_ONCE)
        ]
        try:
            for program in programs:
                wanted = written(folder) + chance.randrange(1, 400)
                until(lambda: written(folder) >= wanted)  # noqa: B023 -- called at once
                program.send_signal(signal.SIGKILL)
        finally:
            for program in programs:
                program.kill()
                program.wait(PATIENCE)
        jobs, spans = check(folder)
        assert jobs
        assert spans
