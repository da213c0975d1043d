"""Objectives are checked against what a real run left in the local store."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.programs import plain_environ
from tests.slo.files import AVAILABILITY, LATENCY, changed, one
from tests.waiting import PATIENCE

from spanrun import recordings, semconv
from spanrun.errors import ConfigurationError
from spanrun.slo import Slo, Verdict
from spanrun.slo.local import Part, check_run

FORMAT_3 = Path(__file__).parents[1] / "data" / "store" / "format-3.db"

SCRIPT = """
import asyncio
import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.testing import EmbeddingServer

async def job(number):
    if number % 10 == 3:
        raise LookupError(number)
    if number % 50 == 9:
        raise asyncio.CancelledError
    with sr.unit("parse"):
        await asyncio.sleep(0.15 if number % 20 == 1 else 0)

async def main():
    async with sr.Runner("main", limit=20) as runner:
        await runner.map(job, range(100), errors="collect")
    async with sr.Runner("slow", timeout=sr.Timeout(total=0.02)) as runner:
        await runner.map(asyncio.sleep, [0, 0, 0, 5], errors="collect")
    with EmbeddingServer(latency=0, jitter=0, rate_limited=0, unavailable=0) as server:
        async with Embeddings(server.url + "/v1", model=server.model) as embeddings:
            await embeddings.aget_query_embedding("text")

sr.configure(service_name="real")
sr.run(main())
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=plain_environ(),
        check=True,
        timeout=PATIENCE,
    )
    return folder / ".spanrun" / "telemetry.db"


def check(store: Path, run: str, slos: list[Slo]) -> Sequence[Verdict]:
    with recordings.open(store) as recording:
        found = recording.find(run)
        if isinstance(found, recordings.Session):
            return check_run(recording, Part(found.id), slos)
        return check_run(recording, Part(found.session, found.id), slos)


def counted(store: Path, slo: Slo, run: str = "last") -> tuple[float, float]:
    (verdict,) = check(store, run, [slo])
    return verdict.bad, verdict.total


def ask(where: str, total: str = "spanrun.runner.name: [main, slow]") -> Slo:
    """Bad is what is ``where``, of the ``total``."""
    text = changed(AVAILABILITY, "spanrun.job.outcome: [failed, timed_out]", where)
    return one(changed(text, "spanrun.job.outcome: [ok, failed, timed_out]", total))


def test_jobs_are_counted_by_outcome(store: Path) -> None:
    """100 jobs: 10 failed, 2 cancelled themselves; 4 more, of which 1 timed out.

    The two that cancelled themselves don't count; the call for embeddings does.
    """
    assert counted(store, one(AVAILABILITY)) == (11, 103)


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        ("spanrun.runner.name: main", 100),
        ("{spanrun.runner.name: main, spanrun.job.outcome: cancelled}", 2),
        ("{spanrun.runner.name: main, spanrun.job.outcome: {not: ok}}", 12),
        ("{spanrun.runner.name: [main, slow], error.type: {present: true}}", 11),
        ("{spanrun.runner.name: [main, slow], error.type: LookupError}", 10),
        ("{spanrun.runner.name: main, service.name: whatever}", 100),
    ],
)
def test_jobs_are_counted_by_attribute(where: str, bad: int, store: Path) -> None:
    assert counted(store, ask(where)) == (bad, 104)


def test_durations_are_compared_one_by_one(store: Path) -> None:
    slo = one(changed(LATENCY, "value: 1", "value: 0.1"))
    with recordings.open(store) as recording:
        ok = [job.duration for job in recording.jobs() if job.outcome == "ok"]
    slow, every = sum(seconds > 0.1 for seconds in ok), len(ok)
    assert counted(store, slo) == (slow, every)
    assert slow >= 5


@pytest.mark.parametrize(
    ("metric", "events"),
    [
        (semconv.METRIC_SPANRUN_UNIT_DURATION, 88),
        (semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION, 1),
        (semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION, 1),
        (semconv.METRIC_DB_CLIENT_OPERATION_DURATION, 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_calls_and_units_are_counted_by_their_spans(
    metric: semconv.Metric, events: int, store: Path
) -> None:
    text = changed(LATENCY, "spanrun.job.duration", metric.name)
    text = changed(text, "spanrun.job.outcome: ok", "service.name: x")
    text = changed(text, "value: 1", f"value: {max(metric.boundaries)}")
    assert counted(store, one(text)) == (0, events)


def test_a_single_run_is_judged_alone(store: Path) -> None:
    with recordings.open(store) as recording:
        (run,) = [run.id for run in recording.runs() if run.runner == "slow"]
        session = recording.session().id
    assert counted(store, one(AVAILABILITY), run) == (1, 4)
    assert counted(store, one(AVAILABILITY), session[:8]) == (11, 103)


@pytest.mark.parametrize("name", ["", "%", "_", "zz", "' OR 1"])
def test_a_run_that_is_not_there(name: str, store: Path) -> None:
    with pytest.raises(LookupError, match=r"no such session or run|begin so"):
        check(store, name, [one(AVAILABILITY)])


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="run something first"):
        check(tmp_path / "telemetry.db", "last", [])
    assert not list(tmp_path.iterdir())


def test_the_store_of_an_earlier_release(tmp_path: Path) -> None:
    shutil.copy(FORMAT_3, tmp_path / "telemetry.db")
    assert counted(tmp_path / "telemetry.db", one(AVAILABILITY)) == (2, 21)


def test_a_metric_that_is_not_kept(store: Path) -> None:
    text = changed(LATENCY, "spanrun.job.duration", "spanrun.loop.lag")
    text = changed(text, "spanrun.job.outcome: ok", "service.name: x")
    with pytest.raises(ConfigurationError, match="which the local store doesn't keep"):
        check(store, "last", [one(text)])
