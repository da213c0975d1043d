"""What the open runners do, told to whoever looks from outside."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import becomes, until

import spanrun as sr
from spanrun.loop.lag import lag_of
from spanrun.runner.live import MOST, Live
from spanrun.telemetry.live.files import Reader
from spanrun.telemetry.live.state import JobNow, ProcessNow

HOSTILE = "k\x1b]0;title\x07\u202e password=hunter2secret"


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Path]:
    sr.configure(store=tmp_path, summary=False)
    yield tmp_path
    sr.shutdown()


async def told(reader: Reader, true: Callable[[ProcessNow], object]) -> ProcessNow:
    """What this process says, as soon as ``true`` of it."""
    found: list[ProcessNow] = []

    def looks() -> bool:
        reader.beat()
        found[:] = reader.processes()
        return bool(found) and bool(true(found[0]))

    await becomes(looks)
    return found[0]


def written(folder: Path) -> list[Path]:
    return list(folder.glob("live-*"))


def phases(process: ProcessNow) -> dict[int, str]:
    return {job.index: job.phase for job in process.jobs}


class Gone(Exception):  # noqa: N818 -- what a service says
    pass


@asynccontextmanager
async def running(
    runner: sr.Runner, function: Any, items: Any, **options: Any
) -> AsyncIterator[asyncio.Task[Any]]:
    """A map that goes on for the time of the block, and is cancelled then."""
    async with runner:
        task = asyncio.create_task(runner.map(function, items, **options))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


async def forever(_: object) -> None:
    await asyncio.Event().wait()


async def test_nothing_is_written_while_nobody_looks(configured: Path):
    looked = threading.Event()

    class Folder(type(configured)):  # type: ignore[misc]
        def __fspath__(self) -> str:
            looked.set()
            return super().__fspath__()

    telemetry = sr.telemetry.setup.telemetry()
    telemetry.__dict__["live_folder"] = Folder(configured)
    async with running(sr.Runner("embed"), forever, [1]):
        await becomes(looked.is_set)
        assert not written(configured)
        with Reader(configured) as reader:
            await told(reader, lambda process: process.open == 1)
        await becomes(lambda: not written(configured))


async def test_a_runner_is_told_with_its_open_jobs(configured: Path):
    async def job(number: int) -> None:
        if number < 3:
            raise ValueError(str(number))
        await forever(number)

    with Reader(configured) as reader:
        async with running(
            sr.Runner("embed", limit=4),
            job,
            range(20),
            errors="collect",
            key=lambda number: HOSTILE if number == 3 else number,
        ):
            process = await told(reader, lambda process: process.window)
            (runner,) = process.runners
            assert (runner.name, runner.limit, runner.running) == ("embed", 4, 4)
            assert runner.ended["failed"] == 3
            assert runner.errors == {"ValueError": 3}
            assert runner.rate == 0
            assert runner.p95 is not None
            assert process.open == 4
            assert [job.key for job in process.jobs][1:] == ["4", "5", "6"]
            oldest = process.jobs[0]
            assert oldest.key.startswith("k\\x1b]0;title")
            assert "hunter2secret" not in oldest.key
            assert oldest.phase == "service"
            assert (oldest.index, oldest.attempt, oldest.cancelled) == (3, 1, False)
            assert len(oldest.trace_id) == 32
    assert not written(configured), "no runner is open"


async def test_a_dead_endpoint_has_it_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    sr.configure(endpoint="http://127.0.0.1:1", summary=False)
    try:
        with Reader(tmp_path / ".spanrun") as reader:
            async with running(sr.Runner("embed"), forever, [1]):
                process = await told(reader, lambda process: process.open)
                assert process.runners[0].name == "embed"
    finally:
        sr.shutdown(0)


async def test_the_phase_of_a_job_is_the_one_that_it_is_in(configured: Path):
    """Each wait is the real one: for a slot, a token, another attempt, the call."""

    async def job(name: str) -> None:
        if name == "retried" and not failed:
            failed.append(name)
            raise Gone
        await forever(name)

    failed: list[str] = []
    retry = sr.Retry(Gone, base=600, cap=600)
    uniform = type("Longest", (__import__("random").Random,), {"uniform": _longest})
    with Reader(configured) as reader:
        async with running(
            sr.Runner("slots", limit=1), forever, range(3), priority=int
        ):
            process = await told(reader, lambda each: len(each.jobs) == 2)
            assert sorted(phases(process).values()) == ["limit", "service"]
        rate = sr.RateLimit(1, per=3600)
        async with running(sr.Runner("tokens", rate=rate), forever, range(3)):
            process = await told(reader, lambda each: len(each.jobs) == 3)
            assert phases(process) == {0: "service", 1: "rate_limit", 2: "rate_limit"}
        runner = sr.Runner("retries", retry=retry, random=uniform())
        async with running(runner, job, ["retried", "b"]):
            process = await told(reader, lambda each: len(each.jobs) == 2)
            assert phases(process) == {0: "backoff", 1: "service"}
            assert process.runners[0].backing_off == 1


def _longest(_: object, __: float, high: float) -> float:
    return high


async def test_a_job_that_has_not_begun_is_in_the_queue(configured: Path):
    lag = lag_of(asyncio.get_running_loop())
    async with running(sr.Runner("embed"), forever, [1, 2]) as task:
        await asyncio.sleep(0)  # the map begins, and has made their tasks
        found = Live().state(0.0, [lag]).jobs
        assert [job.phase for job in found] == ["queue", "queue"]
        await becomes(
            lambda: all(job.phase == "service" for job in Live().state(0.0, [lag]).jobs)
        )
        assert not task.done()


async def test_a_job_that_blocks_the_loop_is_busy_and_named(configured: Path):
    """While it blocks: nothing on the loop could say that."""
    seen: list[ProcessNow] = []

    async def job(number: int) -> None:
        if number:
            await forever(number)
        with Reader(configured) as reader:

            def looks() -> bool:
                reader.beat()
                seen[:] = reader.processes()
                return any(loop.blocked for each in seen for loop in each.loops)

            until(looks)

    async with running(
        sr.Runner("embed"), job, [1, 0], key=lambda number: f"k{number}"
    ):
        await becomes(lambda: seen)
    (loop,) = seen[0].loops
    assert loop.blocked > 0.1
    assert loop.lag >= loop.blocked
    assert loop.by == "job 'k0' of runner 'embed'"
    assert ".py:" in loop.place
    assert phases(seen[0]) == {0: "service", 1: "busy"}


async def test_a_cancelled_job_that_does_not_end_is_said_to_be(configured: Path):
    release = asyncio.Event()

    async def stubborn(_: int) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    with Reader(configured) as reader:
        async with sr.Runner("embed") as runner:
            task = asyncio.create_task(runner.map(stubborn, [1]))
            await told(reader, lambda process: process.open == 1)
            task.cancel()
            process = await told(reader, lambda process: process.jobs[0].cancelled)
            assert process.jobs[0].phase == "service"
            release.set()
            await asyncio.wait([task])


async def test_the_oldest_are_told_and_all_are_counted(configured: Path):
    with Reader(configured) as reader:
        async with running(sr.Runner("embed", limit=MOST + 20), forever, range(500)):
            process = await told(reader, lambda process: process.open == MOST + 20)
    assert [job.index for job in process.jobs] == list(range(MOST))


@pytest.mark.parametrize("key", [object(), [1], ("a", 1), type("Odd", (), {})()])
async def test_no_code_of_the_users_runs_for_a_key(configured: Path, key: object):
    lag = lag_of(asyncio.get_running_loop())
    async with running(sr.Runner("embed"), forever, [1], key=lambda _: key):
        await becomes(lambda: Live().state(0.0, [lag]).jobs)
        (job,) = Live().state(0.0, [lag]).jobs
    assert job.key == f"<{type(key).__name__}>"


async def test_what_a_runner_does_is_read_while_runs_come_and_go():
    """As the thread of the metrics reads it, too."""

    class Coming:
        def __len__(self) -> int:
            runs.add(Coming())  # as another thread does between two bytecodes
            return 1

    async with sr.Runner("embed") as runner:
        core: Any = runner._core
        runs = core.runs
        runs.update([Coming(), Coming()])
        assert core.gauges().queued == 2
        runs.clear()


def test_a_look_that_fails_breaks_nothing(
    configured: Path, caplog: pytest.LogCaptureFixture
):
    class Broken:
        hosts = property(lambda _: 1 / 0)

    live = Live()
    lag: Any = Broken()
    with Reader(configured):
        live.look([lag])
        live._due = 0.0
        live.look([lag])
    assert caplog.text.count("spanrun top can't be told: ZeroDivisionError") == 1


def test_without_telemetry_nobody_looks(tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)

    async def main() -> list[JobNow]:
        async with sr.Runner("embed") as runner:
            await runner.map(asyncio.sleep, [0])
        return []

    with Reader(tmp_path / ".spanrun"):
        assert sr.run(main()) == []
        time.sleep(0)
        assert not written(tmp_path / ".spanrun")
        assert not [t for t in threading.enumerate() if t.name == "spanrun-watchdog"]
