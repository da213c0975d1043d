"""What holds while production happens: a row for each fault, a test for each promise.

The promises, by their numbers in the architecture's design:

1. Every submitted item ends in exactly one outcome, in the order of submission.
4. Telemetry never changes a result, and is never lost in silence.
5. Nothing outlives its owner.
7. A crash loses no finished work, and doubles none.

The faults are in ``program.py``, which each row runs once, in a process of its own. A
new one is a class there, and a row here. Elsewhere in this folder: calls on the disk
that fail (``test_checkpoint``, ``test_local_store``, ``test_spool``,
``test_sqlite_store``), kills at a thousand points (``test_kills``), an ingest that is
killed (``test_ingest``), servers that restart (``test_servers``), and files that are
read (``test_files``). Files that change while they are read are in
``tests/ingest/test_documents.py``.
"""

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.faults.program import FAILS, FAULTS, JOBS, MANY
from tests.programs import plain_environ
from tests.telemetry.export.receiver import receiving
from tests.waiting import files_below, killed_when_stuck

from spanrun import recordings
from spanrun.testing import EmbeddingServer

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="there is no /proc to see descriptors in"
)
ROOT = Path(__file__).parents[2]
ALL = (1, 4, 5, 7)
LEFT_ALONE = (4, 7)
"""Of a program that doesn't come to its end."""


class Row(NamedTuple):
    """One fault.

    Attributes:
        fault: In ``program.py``.
        promises: What holds nevertheless.
        status: How the program ends.
        jobs: How many it has.
        speed: How fast its clocks run.
    """

    fault: str
    promises: tuple[int, ...] = ALL
    status: int = 0
    jobs: int = JOBS
    speed: float = 1


TABLE = [
    Row("nothing happens"),
    Row("many jobs", jobs=MANY),
    Row("the collector is dead"),
    Row("the clock is set forward"),
    Row("the clock is set back"),
    Row("jobs fork"),
    Row("standard error is closed"),
    Row("the outputs are broken pipes"),
    Row("standard error breaks"),
    Row("the thread pool is exhausted"),
    Row("the loop is blocked for 10 s", speed=50),
    Row("48 descriptors for 300 requests"),
    Row("SIGTERM", (4, 5, 7), status=143),
    Row("SIGINT", (4, 5, 7), status=-signal.SIGINT),
    Row("SIGKILL", LEFT_ALONE, status=-signal.SIGKILL),
]


class Seen:
    """What became of a row's program."""

    def __init__(self, row: Row, folder: Path, url: str, service: str) -> None:
        self.row = row
        self.folder = folder
        dead = row.fault == "the collector is dead"
        self.environment = {
            **plain_environ(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9" if dead else url,
            "SPANRUN_SPOOL": str(folder / "spool"),
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01" if row.jobs == MANY else "1",
            "SERVICE": service,
        }
        self.status, self.said = self.run(row.fault, row.speed)
        self.facts = self._facts()

    def run(self, fault: str, speed: float = 1) -> tuple[int, str]:
        """Run the program, to which ``fault`` happens."""
        environment = dict(self.environment)
        if speed != 1:
            environment["SPANRUN_TEST_SPEED"] = str(speed)
        with (
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.program", fault, str(self.folder)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
            killed_when_stuck(process, self._written),
        ):
            _, said = process.communicate()
        return process.returncode, said

    def _written(self) -> dict[Path, int]:
        """What the program has in its folder, by its size."""
        sizes: dict[Path, int] = {}
        for path in files_below(self.folder):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
        return sizes

    def _facts(self) -> dict[str, Any]:
        path = self.folder / "facts.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def finished(self) -> Counter[int]:
        """The items whose jobs have come to their end, and how often."""
        lines = (self.folder / "log").read_text().split()
        return Counter(map(int, lines))

    def kept(self) -> Counter[int]:
        """The items with a result in the checkpoint, which must be whole."""
        with closing(sqlite3.connect(self.folder / "run.checkpoint")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = db.execute("SELECT id FROM outcomes WHERE outcome = 'ok'")
            return Counter(item for (item,) in rows)

    def recorded(self) -> list[int]:
        """The indexes of the jobs in the local store: none if it died before that."""
        if self.status == -signal.SIGKILL and not (self.folder / "store").exists():
            return []
        with recordings.open(self.folder / "store") as recording:
            return [job.index for job in recording.jobs()]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """A collector and a service."""
    embed = lambda texts: ([[0.5]] * len(texts), len(texts))
    with (
        receiving() as receiver,
        EmbeddingServer(
            embed=embed,  # type: ignore[arg-type]
            latency=0,
            jitter=0,
            rate_limited=0,
            unavailable=0,
        ) as service,
    ):
        yield receiver.url, service.url


@pytest.fixture(scope="module")
def seen(
    servers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Seen]:
    """The programs that have run, by their faults."""

    class Runs(dict[str, Seen]):
        def __missing__(self, fault: str) -> Seen:
            row = next(row for row in TABLE if row.fault == fault)
            folder = tmp_path_factory.mktemp("faults")
            self[fault] = found = Seen(row, folder, *servers)
            return found

    return Runs()


def cases(promise: int) -> pytest.MarkDecorator:
    faults = [row.fault for row in TABLE if promise in row.promises]
    return pytest.mark.parametrize("fault", faults)


@cases(1)
def test_promise_1_each_item_has_one_outcome(fault: str, seen: dict[str, Seen]) -> None:
    found = seen[fault]
    assert found.status == 0, found.said
    jobs = found.row.jobs
    failed = len(range(0, jobs, FAILS))
    assert not found.facts["errors"]
    assert found.facts["jobs"] == jobs
    assert found.facts["outcomes"] == {"ok": jobs - failed, "failed": failed}
    assert found.facts["in order"]


@cases(4)
def test_promise_4_results_are_right_and_telemetry_adds_up(
    fault: str, seen: dict[str, Seen]
) -> None:
    found = seen[fault]
    assert found.status == found.row.status, found.said
    if found.row.status == 0:
        assert found.facts["right"]
        assert "Traceback" not in found.said
    if found.facts:
        made, *gone = found.facts["account"]
        assert made == sum(gone)
        lost = gone[-1]
        assert made > 0
    jobs = found.recorded()
    assert len(jobs) == len(set(jobs))
    if found.row.status == 0:
        assert len(jobs) >= found.row.jobs - lost


@cases(5)
def test_promise_5_nothing_is_left(fault: str, seen: dict[str, Seen]) -> None:
    facts = seen[fault].facts
    assert facts["tasks"] == 1
    assert facts["threads"] == ["MainThread"]
    assert facts["descriptors"] <= 0


@cases(7)
def test_promise_7_what_is_finished_is_kept_and_never_done_again(
    fault: str, seen: dict[str, Seen]
) -> None:
    found = seen[fault]
    kept, before = found.kept(), found.finished()
    jobs = found.row.jobs
    results = {item for item in range(jobs) if item % FAILS}
    assert all(count == 1 for count in kept.values())
    assert kept.keys() <= before.keys()
    if found.status not in (0, -signal.SIGKILL):
        assert kept.keys() == before.keys() & results  # it had the time to write all
    if found.status == 0:
        assert kept.keys() == results
    status, said = found.run("many jobs" if jobs == MANY else "nothing happens")
    assert status == 0, said
    again = found.finished() - before
    assert found.kept().keys() == results
    assert not again.keys() & kept.keys()
    assert set(found.finished()) == set(range(jobs))


def test_the_table_has_each_fault() -> None:
    assert [row.fault for row in TABLE] == list(FAULTS)
