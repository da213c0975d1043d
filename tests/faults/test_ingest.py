"""Promise 7 for an ingest: after ``kill -9`` only what isn't stored is done again.

The stores are its checkpoint: a document is stored whole, in one transaction, with the
hash of its text and of the stages. So nothing else has to be kept.
"""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import spanrun as sr
from spanrun.stores import SqliteStore

ROOT = Path(__file__).parents[2]
DOCUMENTS = 40
KILLS = 6


async def stored(folder: Path) -> set[str]:
    if not (folder / "kb.db").exists():
        return set()
    async with SqliteStore(folder / "kb.db", dimension=1, model="length") as store:
        return {Path(each).stem for each in await store.content_hashes()}


def in_a_process(folder: Path, fatal: int) -> int:
    command = [sys.executable, "-m", "tests.faults.ingests", folder, str(fatal)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def test_a_killed_ingest_goes_on_with_what_is_left(tmp_path: Path) -> None:
    chance = random.Random(7)
    (tmp_path / "texts").mkdir()
    names = {f"{number:02}" for number in range(DOCUMENTS)}
    for name in names:
        (tmp_path / "texts" / f"{name}.txt").write_text(f"text {name} " * 50)
    before: set[str] = set()
    done: Counter[str] = Counter()
    for _ in range(KILLS):
        assert in_a_process(tmp_path, chance.randrange(2, 12)) == -signal.SIGKILL
        ran = Counter((tmp_path / "log").read_text().split()) - done
        assert not ran.keys() & before
        done += ran
        after = sr.run(stored(tmp_path))
        assert before <= after
        before = after
    assert in_a_process(tmp_path, 0) == 0
    ran = Counter((tmp_path / "log").read_text().split()) - done
    assert ran.keys() == names - before
    assert sr.run(stored(tmp_path)) == names
