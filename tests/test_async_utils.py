"""What the LlamaIndex names give."""

import asyncio
import contextvars
import inspect
import io
import subprocess
import sys
import textwrap
import threading

import pytest
import tqdm.asyncio
from tests.jobs import (
    Load,
    double,
    fail,
    gather_batches,
    gather_here,
    many,
)
from tests.waiting import PATIENCE

from spanrun import async_utils
from spanrun.async_utils import (
    DEFAULT_NUM_WORKERS,
    asyncio_module,
    asyncio_run,
    batch_gather,
    chunks,
    get_asyncio_module,
    run_async_tasks,
    run_jobs,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (asyncio_run, "coro"),
        (
            run_async_tasks,
            "tasks show_progress=False progress_bar_desc='Running async tasks'",
        ),
        (run_jobs, "jobs show_progress=False workers=4 desc=None"),
        (batch_gather, "tasks batch_size=10 verbose=False"),
        (chunks, "iterable size"),
        (get_asyncio_module, "show_progress=False"),
        (asyncio_module, "show_progress=False"),
    ],
)
def test_parameters_are_those_of_llama_index(function, parameters):
    found = inspect.signature(function).parameters.values()

    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in found)
    assert (
        " ".join(
            each.name if each.default is each.empty else f"{each.name}={each.default!r}"
            for each in found
        )
        == parameters
    )


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


@many
def test_a_coroutine_given_twice_runs_once(run):
    load = Load()
    job = load.job(21)

    assert run([job, double(1), job]) == [21, 2, 21]
    assert load.begun == 1


async def test_tasks_of_the_running_loop_can_be_run():
    task = asyncio.create_task(double(1))

    assert await run_jobs([task, double(2)]) == [2, 4]


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


async def test_context_variables_go_into_the_jobs_and_do_not_come_back_out():
    async def look():
        return variable.get()

    async def change():
        variable.set("from inside")

    token = variable.set("from outside")
    assert run_async_tasks([look()]) == ["from outside"]
    assert await run_jobs([change(), look()]) == [None, "from outside"]
    assert variable.get() == "from outside"
    asyncio_run(change())
    assert variable.get() == "from outside"
    variable.reset(token)


@many
def test_every_job_is_instrumented(run, spanrun_capture):
    run([double(number) for number in range(3)])

    name = {run_async_tasks: "run_async_tasks", gather_here: "run_jobs"}.get(
        run, "batch_gather"
    )
    assert len(spanrun_capture.find(f"job {name}")) == 3


@many
def test_many_jobs_are_one_trace_and_one_run(run, spanrun_capture):
    run([double(number) for number in range(50)])

    assert len({span.trace_id for span in spanrun_capture.spans}) == 1
    assert len([s for s in spanrun_capture.spans if s.name.startswith("run ")]) == 1


def words_of(run, **options):
    option = "progress_bar_desc" if run is run_async_tasks else "desc"
    return {option: "Embedding nodes", **options}


@pytest.mark.parametrize("run", [run_async_tasks, gather_here])
def test_the_words_that_were_asked_for_are_on_the_runs_span(run, spanrun_capture):
    async def nested():
        return await run_jobs([double(1)])

    run([nested()], **words_of(run))

    titles = [
        span.attributes.get("spanrun.run.title")
        for span in spanrun_capture.spans
        if span.name.startswith("run ")
    ]
    assert sorted(titles, key=str) == ["Embedding nodes", None]


@many
def test_without_words_the_runs_span_has_none(run, spanrun_capture):
    run([double(1)])

    assert "spanrun.run.title" not in spanrun_capture.spans[-1].attributes


@pytest.mark.parametrize("run", [run_async_tasks, gather_here])
def test_progress_shows_the_words_that_were_asked_for(run, monkeypatch):
    words = {"progress_bar_desc": "Embedding"}
    if run is gather_here:
        words = {"desc": "Embedding"}
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)

    assert run([double(1), double(2)], show_progress=True, **words) == [2, 4]
    assert "Embedding: 2/2" in shown.getvalue()


def test_batch_gather_says_how_far_it_is(capsys):
    gather_batches([double(number) for number in range(5)], batch_size=2, verbose=True)

    assert capsys.readouterr().out.splitlines() == [
        "Completed 2 out of 5 tasks",
        "Completed 4 out of 5 tasks",
        "Completed 5 out of 5 tasks",
    ]


def test_chunks_fills_the_last_group():
    assert list(chunks(range(5), 2)) == [(0, 1), (2, 3), (4, None)]
    assert list(chunks([], 2)) == []


def test_chunks_reads_no_further_than_it_must():
    groups = chunks(iter(lambda: 7, None), 3)

    assert next(iter(groups)) == (7, 7, 7)


def test_get_asyncio_module_gives_what_has_gather():
    assert get_asyncio_module() is asyncio
    assert get_asyncio_module(show_progress=False) is asyncio
    assert get_asyncio_module(show_progress=True) is tqdm.asyncio.tqdm_asyncio


def test_asyncio_module_is_the_older_name_of_that():
    assert asyncio_module() is asyncio
    assert asyncio_module(show_progress=True) is tqdm.asyncio.tqdm_asyncio


def test_all_that_llama_index_imports_from_there_is_here():
    theirs = pytest.importorskip(
        "llama_index.core.async_utils", reason="llama-index-core is not installed"
    )
    functions = {
        name
        for name, value in vars(theirs).items()
        if inspect.isfunction(value) and value.__module__ == theirs.__name__
    }

    assert functions | {"DEFAULT_NUM_WORKERS"} <= set(async_utils.__all__)


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
        timeout=PATIENCE,
    )
