"""Promise 7 for an ingest: after ``kill -9`` only what isn't stored is done again.

The stores are its checkpoint: a document is stored whole, in one transaction, with the
hash of its text and of the stages. So nothing else has to be kept: no document is lost,
none is there in part or twice, and no text of a stored one is embedded again.
"""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.ingests import PLACES

import spanrun as sr
from spanrun.stores import SqliteStore

ROOT = Path(__file__).parents[2]
DOCUMENTS = 40
LINES = 3
KILLS = 6


async def stored(folder: Path) -> set[str]:
    """The documents in the store, each of which must be whole."""
    async with SqliteStore(folder / "kb.db", dimension=1, model="length") as store:
        found = {Path(each).stem for each in await store.content_hashes()}
        assert await store.count() == (len(found), LINES * len(found))
        rows = await store._call(
            lambda database: database.execute("""
                SELECT (SELECT count(*) FROM vectors), (SELECT count(*) FROM words),
                (SELECT count(*) FROM chunks c JOIN vectors v ON v.rowid = c.rowid)
            """).fetchall()
        )
        assert rows == [(LINES * len(found),) * 3]
    return found


def in_a_process(folder: Path, place: str, number: int) -> int:
    program = [sys.executable, "-m", "tests.faults.ingests"]
    command = [*program, folder, place, str(number)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_ingest_goes_on_with_what_is_left(tmp_path: Path, place: str) -> None:
    chance = random.Random(7)
    (tmp_path / "texts").mkdir()
    names = {f"{number:02}" for number in range(DOCUMENTS)}
    for name in names:
        lines = (f"{name} {line}\n" for line in range(LINES))
        (tmp_path / "texts" / f"{name}.txt").write_text("".join(lines))
    bill = tmp_path / "bill"
    bill.touch()
    before: set[str] = set()
    paid: Counter[str] = Counter()
    for _ in range(KILLS):
        assert in_a_process(tmp_path, place, chance.randrange(2, 9)) == -signal.SIGKILL
        asked = Counter(bill.read_text().splitlines()) - paid
        assert not {text.split()[0] for text in asked} & before
        paid += asked
        after = sr.run(stored(tmp_path))
        assert before <= after
        before = after
    assert before
    assert in_a_process(tmp_path, "", 1 << 30) == 0
    asked = Counter(bill.read_text().splitlines()) - paid
    assert {text.split()[0] for text in asked} == names - before
    assert sr.run(stored(tmp_path)) == names
