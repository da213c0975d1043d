"""SIGKILL costs what was counted since the last snapshot: it is on disk, or arrived."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.programs import plain_environ
from tests.telemetry.conftest import PRELUDE
from tests.telemetry.export.receiver import Got, Receiver, receiving
from tests.telemetry.test_variables import Arrived
from tests.waiting import PATIENCE, until

from spanrun import semconv
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.queue.files import opened, reader
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.scan import Found, scan

pytestmark = pytest.mark.slow

JOBS = semconv.METRIC_SPANRUN_JOBS.name
PROGRAM = (
    PRELUDE
    + """
from spanrun.telemetry import setup

async def main():
    async with sr.Runner("killed") as runner:
        for line in sys.stdin:
            if line == "export\\n":
                assert setup.telemetry().flush(60)
            else:
                await runner.map(double, range(int(line)))
            print("done", flush=True)

sr.configure(endpoint=sys.argv[1], store="none")
sr.run(main())
print(sr.shutdown())
"""
)


class Life:
    """A program that does as it is told, with a folder of its own."""

    def __init__(self, folder: Path, url: str, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            # Nothing but what the test asks for leaves by the clock.
            env={
                **plain_environ(),
                "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
                **environ,
            },
        )

    def do(self, what: str) -> str:
        """Have it done, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self) -> str:
        """Let it end by itself; what it says then."""
        out, _ = self._process.communicate(timeout=PATIENCE)
        return out.strip()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=PATIENCE)


@contextmanager
def living(folder: Path, receiver: Receiver, **environ: str) -> Iterator[Life]:
    """A program whose first snapshot has arrived: its runner is open."""
    life = Life(folder, receiver.url, environ)
    try:
        assert life.do("export") == "done"
        yield life
    finally:
        life.kill()


def snapshots(folder: Path) -> list[Path]:
    return [
        path
        for path in (folder / ".spanrun" / "spool").rglob("metrics.*")
        if len(path.name) > len("metrics.00000000")
    ]


def saved(folder: Path) -> int:
    """The jobs that the snapshot counts."""
    total = 0
    for path in snapshots(folder):
        try:
            with opened(path) as fd:
                size = os.fstat(fd).st_size
                found = list(scan(reader(fd), 0, size))
        except FileNotFoundError:
            continue
        (frame,) = [each.frame for each in found if isinstance(each, Found)]
        total = max(total, *counted([frame.payload]))
    return total


def counted(bodies: list[bytes]) -> list[int]:
    """How many jobs each request counts."""
    requests = [Got("metrics", {}, body) for body in bodies]
    return [
        sum(point.as_int for point in metric.sum.data_points)
        for metric in Arrived(requests).named(JOBS)
    ]


def arrived(receiver: Receiver) -> int:
    return max(counted([g.body for g in receiver.requests if "metrics" in g.path]))


def recover(folder: Path, url: str) -> int:
    """Deliver what was left, as the next process does; how many points that was."""
    where = Destination("metrics", "http/protobuf", f"{url}/v1/metrics", timeout=10.0)
    root = folder / ".spanrun" / "spool"
    last = QueuedExporter(root, {"metrics": HttpExporter(where)}, Account())
    try:
        assert last.flush(PATIENCE, recovered=True)
        found = last.status().signals["metrics"]
        assert found.recovered == found.delivered
        return found.delivered
    finally:
        last.close()


def known(folder: Path, receiver: Receiver) -> int:
    """The jobs that are counted where a kill costs nothing any more."""
    return max(saved(folder), arrived(receiver))


def test_what_was_counted_before_the_last_snapshot_is_delivered_by_the_next(
    tmp_path: Path,
) -> None:
    with receiving() as receiver, living(tmp_path, receiver) as life:
        for total in (100, 200, 300):
            assert life.do("100") == "done"
            until(lambda: known(tmp_path, receiver) == total, "the counts")  # noqa: B023
            assert len(snapshots(tmp_path)) <= 1
        life.kill()
        recover(tmp_path, receiver.url)
        assert arrived(receiver) == 300
    assert not (tmp_path / ".spanrun" / "spool").exists()


def test_what_was_delivered_is_not_kept_for_the_next(tmp_path: Path) -> None:
    with receiving() as receiver, living(tmp_path, receiver) as life:
        assert life.do("100") == "done"
        assert life.do("export") == "done"
        assert arrived(receiver) == 100
        until(lambda: not snapshots(tmp_path), "the end of what is delivered")


def test_an_end_leaves_nothing(tmp_path: Path) -> None:
    with receiving() as receiver, living(tmp_path, receiver) as life:
        assert life.do("100") == "done"
        until(lambda: known(tmp_path, receiver) == 100, "the counts")
        assert life.end() == "True"
        assert arrived(receiver) == 100
    assert not (tmp_path / ".spanrun" / "spool").exists()


def test_nothing_is_kept_of_deltas(tmp_path: Path) -> None:
    """They would be added once more to what has arrived."""
    deltas = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    with receiving() as receiver, living(tmp_path, receiver, **deltas) as life:
        assert life.do("100") == "done"
        assert life.do("export") == "done"
        assert not snapshots(tmp_path)
