import asyncio
import contextlib
import contextvars
import gc
import io
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
import tqdm.asyncio

import spanrun as sr
from spanrun.async_utils import (
    DEFAULT_NUM_WORKERS,
    asyncio_run,
    batch_gather,
    chunks,
    get_asyncio_module,
    run_async_tasks,
    run_jobs,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


async def double(number, steps=1):
    for _ in range(steps):
        await asyncio.sleep(0)
    return number * 2


async def fail(error, steps=1):
    await double(1, steps)
    raise error


class Load:
    """Counts how many of its jobs run at once, and all that began."""

    def __init__(self):
        self.now = self.most = self.begun = self.ended = 0

    async def job(self, number):
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await double(number, 3)
            self.ended += 1
        finally:
            self.now -= 1
        return number


def closed(coroutine):
    try:
        coroutine.send(None)
    except RuntimeError as error:
        return "already awaited" in str(error)
    return False


@contextlib.contextmanager
def nothing_unawaited():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(each.message) for each in caught]


def gather_here(jobs, **options):
    return asyncio.run(run_jobs(jobs, **options))


def gather_batches(jobs, **options):
    return asyncio.run(batch_gather(jobs, **options))


# Every function that runs many.
many = pytest.mark.parametrize("run", [run_async_tasks, gather_here, gather_batches])


@many
def test_results_stand_in_the_order_of_the_jobs(run):
    jobs = [double(number, steps=9 - number) for number in range(10)]

    assert run(jobs) == [number * 2 for number in range(10)]


@many
@pytest.mark.parametrize("jobs", [[], (), iter(())])
def test_no_jobs_give_no_results(run, jobs):
    assert run(jobs) == []


@many
def test_the_first_error_comes_out_as_it_was(run):
    error = RuntimeError("Cannot run the event loop while another loop is running")

    with pytest.raises(RuntimeError) as raised:
        run([double(1), fail(error), double(2)])

    assert raised.value is error
    assert "job 1 of" in error.__notes__[0]


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
    load = Load()
    jobs = [load.job(number) for number in range(50)]
    running = asyncio.create_task(run_jobs(jobs, workers=3))
    await asyncio.sleep(0.001)
    running.cancel()

    with nothing_unawaited(), pytest.raises(asyncio.CancelledError):
        await running

    assert load.now == 0
    assert all(map(closed, jobs))


def test_run_jobs_runs_no_more_than_the_workers_at_once():
    load = Load()
    gather_here([load.job(number) for number in range(20)], workers=3)

    assert (load.most, load.ended) == (3, 20)


def test_run_jobs_has_four_workers_unless_told_otherwise():
    load = Load()
    gather_here([load.job(number) for number in range(20)])

    assert load.most == DEFAULT_NUM_WORKERS == 4


def test_run_async_tasks_runs_all_at_once():
    load = Load()
    run_async_tasks([load.job(number) for number in range(50)])

    assert load.most == 50


def test_batch_gather_ends_a_group_before_it_begins_the_next():
    load = Load()
    starts = []

    async def job(number):
        starts.append((load.ended, number))
        await load.job(number)

    gather_batches([job(number) for number in range(5)], batch_size=2)

    assert starts == [(0, 0), (0, 1), (2, 2), (2, 3), (4, 4)]
    assert load.most == 2


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
def test_a_coroutine_given_twice_runs_once(run):
    load = Load()
    job = load.job(21)

    assert run([job, double(1), job]) == [21, 2, 21]
    assert load.begun == 1


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


async def test_tasks_of_the_running_loop_can_be_run():
    task = asyncio.create_task(double(1))

    assert await run_jobs([task, double(2)]) == [2, 4]


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


def test_asyncio_run_gives_the_value():
    assert asyncio_run(double(21)) == 42


async def test_asyncio_run_works_inside_a_loop():
    assert asyncio_run(double(21)) == 42


def test_asyncio_run_runs_a_body_once_whatever_it_raises():
    runs = []

    async def body():
        runs.append(1)
        raise RuntimeError("There is no current event loop in thread")

    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio_run(body())

    assert runs == [1]


async def test_run_async_tasks_works_inside_a_loop_in_a_thread_of_its_own():
    async def where():
        return threading.get_ident()

    here = threading.get_ident()

    assert here not in run_async_tasks([where(), where()])


async def test_context_variables_go_into_the_jobs_and_out_of_asyncio_run():
    async def look():
        return variable.get()

    async def change():
        variable.set("from inside")

    token = variable.set("from outside")
    assert run_async_tasks([look()]) == ["from outside"]
    assert await run_jobs([change(), look()]) == [None, "from outside"]
    assert variable.get() == "from outside"
    asyncio_run(change())
    assert variable.get() == "from inside"
    variable.reset(token)


@many
def test_every_job_is_instrumented(run, spanrun_capture):
    run([double(number) for number in range(3)])

    name = {run_async_tasks: "run_async_tasks", gather_here: "run_jobs"}.get(
        run, "batch_gather"
    )
    assert len(spanrun_capture.find(f"job {name}")) == 3


@pytest.mark.parametrize("run", [run_async_tasks, gather_here])
def test_progress_shows_the_words_that_were_asked_for(run, monkeypatch):
    words = {"progress_bar_desc": "Embedding"}
    if run is gather_here:
        words = {"desc": "Embedding"}
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)

    assert run([double(1), double(2)], show_progress=True, **words) == [2, 4]
    assert "Embedding: 2/2" in shown.getvalue()


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


def test_batch_gather_says_how_far_it_is(capsys):
    gather_batches([double(number) for number in range(5)], batch_size=2, verbose=True)

    assert capsys.readouterr().out.splitlines() == [
        "Completed 2 out of 5 tasks",
        "Completed 4 out of 5 tasks",
        "Completed 5 out of 5 tasks",
    ]


def test_batch_gather_gives_its_results_though_it_cannot_say_so(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken())

    assert gather_batches([double(1)], verbose=True) == [2]


def test_chunks_fills_the_last_group():
    assert list(chunks(range(5), 2)) == [(0, 1), (2, 3), (4, None)]
    assert list(chunks([], 2)) == []


def test_chunks_reads_no_further_than_it_must():
    groups = chunks(iter(lambda: 7, None), 3)

    assert next(iter(groups)) == (7, 7, 7)


@pytest.mark.parametrize("size", [0, -1, None])
def test_a_chunk_size_that_gives_no_chunks_is_refused(size):
    with pytest.raises(sr.ConfigurationError, match=r"chunks\(size="):
        chunks([1], size)


def test_get_asyncio_module_gives_what_has_gather():
    assert get_asyncio_module() is asyncio
    assert get_asyncio_module(show_progress=False) is asyncio
    assert get_asyncio_module(show_progress=True) is tqdm.asyncio.tqdm_asyncio


def test_it_works_on_uvloop_inside_and_outside_a_loop():
    pytest.importorskip("uvloop", reason="uvloop is not installed")
    source = """
        import asyncio, uvloop
        from spanrun.async_utils import asyncio_run, run_async_tasks, run_jobs
        uvloop.install()
        async def job(number):
            await asyncio.sleep(0)
            assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
            return number
        async def inside():
            return run_async_tasks([job(1), job(2)], show_progress=True)
        assert run_async_tasks([job(1), job(2)]) == [1, 2]
        assert asyncio_run(run_jobs([job(1), job(2)])) == [1, 2]
        assert asyncio.run(inside()) == [1, 2]
        """
    quiet = ["-W", "ignore:uvloop.install:DeprecationWarning"]
    subprocess.run(
        [sys.executable, "-W", "error", *quiet, "-c", textwrap.dedent(source)],
        check=True,
        timeout=30,
    )
