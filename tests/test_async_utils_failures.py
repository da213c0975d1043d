"""What the LlamaIndex names refuse, and what no failure of theirs leaves behind."""

import asyncio
import io
import sys

import pytest
from tests.jobs import (
    closed,
    double,
    fail,
    gather_batches,
    gather_here,
    many,
    nothing_unawaited,
)

import spanrun as sr
from spanrun.async_utils import (
    asyncio_run,
    chunks,
    run_async_tasks,
    run_jobs,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


@many
def test_siblings_of_a_failed_job_are_cancelled_and_awaited(run):
    ended = []

    async def sibling():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(KeyError):
        run([sibling(), fail(KeyError("mine")), sibling()])

    assert ended == [True, True]


@pytest.mark.parametrize("run", [gather_here, gather_batches])
def test_coroutines_that_never_ran_are_closed(run):
    jobs = [fail(KeyError("mine")), *(double(number, 9) for number in range(50))]

    with nothing_unawaited(), pytest.raises(KeyError):
        run(jobs)

    assert all(map(closed, jobs))


async def test_cancelling_run_jobs_cancels_the_running_and_closes_the_rest():
    busy, three = set(), asyncio.Event()

    async def wait_for_ever(number):
        busy.add(number)
        if len(busy) == 3:
            three.set()
        try:
            await asyncio.Event().wait()
        finally:
            busy.remove(number)

    jobs = [wait_for_ever(number) for number in range(50)]
    running = asyncio.create_task(run_jobs(jobs, workers=3))
    await three.wait()
    running.cancel()

    with nothing_unawaited(), pytest.raises(asyncio.CancelledError):
        await running

    assert not busy
    assert all(map(closed, jobs))


@pytest.mark.parametrize("workers", [0, -1, None, "4", True, 2.0])
def test_workers_that_cannot_work_are_refused_and_the_jobs_closed(workers):
    jobs = [double(1)]

    with (
        nothing_unawaited(),
        pytest.raises(sr.ConfigurationError, match=r"run_jobs\(workers=.*\): must be"),
    ):
        gather_here(jobs, workers=workers)

    assert closed(jobs[0])


def test_a_batch_size_of_zero_is_refused_and_the_jobs_closed():
    with (
        nothing_unawaited(),
        pytest.raises(sr.ConfigurationError, match=r"batch_gather\(batch_size=0\)"),
    ):
        gather_batches([double(1)], batch_size=0)


@many
def test_a_job_that_cancels_itself_does_not_cancel_the_caller(run):
    async def cancel_itself():
        raise asyncio.CancelledError

    with pytest.raises(sr.JobCancelled):
        run([cancel_itself()])


@many
def test_a_coroutine_that_has_run_is_refused_and_the_others_closed(run):
    spent = double(1)
    asyncio.run(spent)

    with (
        nothing_unawaited(),
        pytest.raises(sr.ConfigurationError, match=r"item 1, the coroutine double"),
    ):
        run([double(2), spent])


@many
def test_what_cannot_be_awaited_is_refused_by_its_place(run):
    with pytest.raises(sr.ConfigurationError, match="item 0, a function, can't be"):
        run([double])


async def test_a_task_of_another_loop_is_refused():
    task = asyncio.create_task(double(1))

    with pytest.raises(sr.ConfigurationError, match="a Task, belongs to another loop"):
        run_async_tasks([task])

    assert await task == 2


async def test_a_task_cannot_be_moved_to_another_loop():
    task = asyncio.create_task(double(1))

    with pytest.raises(sr.ConfigurationError, match=r"asyncio_run\(Task\): it belongs"):
        asyncio_run(task)

    assert await task == 2


@pytest.mark.parametrize("run", [run_async_tasks, gather_here])
def test_progress_never_swallows_the_error_of_a_job(run, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    with pytest.raises(KeyError, match="mine"):
        run([double(1), fail(KeyError("mine"))], show_progress=True)


class Broken(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stderr", [Broken(), None])
@pytest.mark.parametrize("run", [run_async_tasks, gather_here])
def test_a_broken_terminal_changes_no_result(run, stderr, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr)

    assert run([double(1), double(2)], show_progress=True) == [2, 4]


def test_batch_gather_gives_its_results_though_it_cannot_say_so(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken())

    assert gather_batches([double(1)], verbose=True) == [2]


@pytest.mark.parametrize("size", [0, -1, None])
def test_a_chunk_size_that_gives_no_chunks_is_refused(size):
    with pytest.raises(sr.ConfigurationError, match=r"chunks\(size="):
        chunks([1], size)
