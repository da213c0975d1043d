"""A run whose jobs are in workers is the same run: results, order, counts, errors."""

import asyncio
import itertools
import sys
from collections import Counter

import pytest
from tests.engines import jobs
from tests.engines.jobs import Once
from tests.runner.test_events import Heard
from tests.waiting import becomes

import spanrun as sr
from spanrun import semconv
from spanrun.engines import ProcessEngine
from spanrun.errors import RemoteJobError
from spanrun.testing import capture

JOBS = semconv.METRIC_SPANRUN_JOBS.name
DURATION = semconv.METRIC_SPANRUN_JOB_DURATION.name


def runner(workers=2, *, chunk=None, lost_after=60, **policies):
    engine = ProcessEngine(workers, chunk=chunk, lost_after=lost_after)
    return sr.Runner("remote", engine=engine, **{"limit": 8, **policies})


async def test_results_are_in_the_order_of_the_items():
    async with runner() as remote:
        assert await remote.map(jobs.double, range(500)) == list(range(0, 1000, 2))
        assert await remote.map(jobs.double, []) == []


async def test_the_first_error_is_raised_as_it_is_with_its_job_and_where_it_was():
    async with runner() as remote:
        with pytest.raises(KeyError) as caught:
            await remote.map(jobs.double_or_raise, range(5, 9))
        assert caught.value.args == (7,)
        notes = "\n".join(caught.value.__notes__)
        assert "job 2 of 'remote'" in notes
        assert "in double_or_raise" in notes
        # The runner goes on.
        assert await remote.map(jobs.double, [1]) == [2]


async def test_outcomes_and_counts_equal_the_local_ones():
    async def outcomes(runner):
        with capture() as captured:
            async with runner as open_runner:
                found = await open_runner.map(
                    jobs.double_or_raise, range(300), errors="collect", key=str
                )
        told = [
            (each.index, each.key, getattr(each, "value", None), type(each))
            for each in found
        ]
        by = captured.totals(JOBS, semconv.SPANRUN_JOB_OUTCOME)
        durations = {
            outcome: captured.count(DURATION, {semconv.SPANRUN_JOB_OUTCOME: outcome})
            for outcome in ("ok", "failed")
        }
        failed = captured.value(JOBS, {semconv.ERROR_TYPE: "KeyError"})
        return told, by, durations, failed

    local = await outcomes(sr.Runner("remote", limit=8))
    assert await outcomes(runner()) == local
    assert local[2] == {"ok": 270, "failed": 30}


class Ended:
    """Counts the outcomes that an observer hears of."""

    def __init__(self):
        self.outcomes = Counter()

    def run_opened(self, run): ...

    def job_ended(self, run, outcome):
        self.outcomes[outcome.index] += 1

    def run_closed(self, run): ...


async def test_what_happens_in_a_worker_is_heard_here(tmp_path):
    heard = Heard()
    items = [Once(n, str(tmp_path)) for n in range(4)]
    retry = sr.Retry(on=ConnectionError, base=0.001, budget=None)
    with capture():
        async with runner(retry=retry, observers=[heard]) as remote:
            await remote.map(jobs.at_second, items)
            await remote.map(jobs.blocking, range(2))
    retries, blocked = heard.of("retry"), heard.of("blocked")
    assert sorted(each.index for each in retries) == [0, 1, 2, 3]
    assert {each.run for each in retries} == {heard.runs[0].id}
    assert {each.value["error"] for each in retries} == {"ConnectionError"}
    assert {each.run for each in blocked} == {heard.runs[1].id}
    assert {each.index for each in blocked} == {0, 1}
    workers = {each.value["worker"] for each in heard.events}
    assert len(workers) in (1, 2)
    assert all(len(each) == 36 for each in workers)
    assert not heard.of("limit")  # though slots are lent


async def test_no_job_is_lost_or_counted_twice_when_workers_are_killed(tmp_path):
    ended = Ended()
    items = [Once(n, str(tmp_path), n % 400 == 100) for n in range(2_000)]
    with capture() as captured:
        async with runner(observers=[ended]) as remote:
            values = await remote.map(jobs.killing, items)
    assert values == [2 * n for n in range(2_000)]
    assert ended.outcomes == Counter(range(2_000))
    assert captured.value(JOBS) == 2_000
    assert captured.count(DURATION) == 2_000
    assert len(list(tmp_path.iterdir())) == 5


async def test_a_job_that_kills_three_workers_alone_fails_alone(tmp_path):
    items = [Once(n, str(tmp_path), 100 * (n == 5)) for n in range(20)]
    async with runner() as remote:
        outcomes = await remote.map(jobs.killing, items, errors="collect")
    failed = [each for each in outcomes if isinstance(each, sr.Err)]
    assert [each.index for each in failed] == [5]
    assert isinstance(failed[0].error, RemoteJobError)
    assert "SIGKILL" in str(failed[0].error)


async def test_a_worker_that_stands_still_is_lost(tmp_path):
    items = [Once(n, str(tmp_path), n == 5) for n in range(20)]
    async with runner(lost_after=1.0) as remote:
        values = await remote.map(jobs.suspended, items)
    assert values == [2 * n for n in range(20)]


async def test_an_endless_source_is_pulled_as_far_as_there_is_room():
    pulled = itertools.count()
    async with (
        runner() as remote,
        remote.stream(jobs.double, pulled) as outcomes,
    ):
        taken = [await anext(outcomes) for _ in range(1_000)]
    assert [each.value for each in taken] == list(range(0, 2_000, 2))
    # As many as the workers want to have, and as many that nobody has taken.
    assert next(pulled) < 1_000 + 4 * (2_000 + 8)


async def test_a_stream_out_of_order_has_each_outcome_once():
    async with (
        runner() as remote,
        remote.stream(jobs.double, range(300), ordered=False) as outcomes,
    ):
        found = [each.index async for each in outcomes]
    assert sorted(found) == list(range(300))


async def test_a_poisoned_item_of_a_batch_is_found():
    async with runner() as remote:
        assert await remote.map_batches(jobs.double_all, range(50), size=8) == [
            2 * n for n in range(50)
        ]
        outcomes = await remote.map_batches(
            jobs.poisoned, range(50), size=8, errors="collect"
        )
    assert [each.index for each in outcomes if isinstance(each, sr.Err)] == [13]


async def test_a_checkpoint_has_what_was_done(tmp_path):
    path = tmp_path / "run.checkpoint"
    async with runner() as remote:
        for _ in range(2):
            values = await remote.map(
                jobs.double_or_raise,
                range(5),
                checkpoint=sr.Checkpoint(path),
            )
            assert values == [0, 2, 4, 6, 8]
        # Of these five no job runs again: they would fail there.
        values = await remote.map(
            jobs.double_or_raise, range(7), checkpoint=sr.Checkpoint(path)
        )
    assert values == [0, 2, 4, 6, 8, 10, 12]


async def test_an_error_that_cant_be_read_again_is_told_as_a_text():
    async with runner(1) as remote:
        (failed,) = await remote.map(jobs.raise_stubborn, [1], errors="collect")
    assert isinstance(failed.error, RemoteJobError)
    assert failed.error.type_name == "tests.engines.jobs.Stubborn"
    assert "in raise_stubborn" in "\n".join(failed.error.__notes__)


async def test_an_error_has_its_cause():
    async with runner(1) as remote:
        (failed,) = await remote.map(jobs.raise_from, [1], errors="collect")
    assert isinstance(failed.error.__cause__, OSError)


async def test_a_result_that_cant_be_pickled_fails_its_job():
    async with runner(1) as remote:
        (failed,) = await remote.map(jobs.give_lambda, [1], errors="collect")
        assert await remote.map(jobs.double, [1]) == [2]
    assert "return plain values" in "\n".join(failed.error.__notes__)


async def test_an_item_that_cant_be_pickled_fails_its_job():
    async with runner(1) as remote:
        outcomes = await remote.map(jobs.double, [1, lambda: None, 3], errors="collect")
    assert [type(each) for each in outcomes] == [sr.Ok, sr.Err, sr.Ok]


async def test_a_job_that_ends_the_program_ends_the_run():
    async with runner(1) as remote:
        with pytest.raises(SystemExit, match="3"):
            await remote.map(jobs.leave, [1])


async def test_a_cancellation_reaches_the_jobs(tmp_path):
    async with runner() as remote:
        task = asyncio.create_task(remote.map(jobs.hang, [str(tmp_path)] * 8))
        await becomes(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # It waited for the jobs, as it does here.
        assert len(list(tmp_path.glob("*.cancelled"))) == 2


async def test_an_error_cancels_the_siblings_in_other_workers(tmp_path):
    async def items():
        yield "hang", str(tmp_path)
        yield "hang", str(tmp_path)
        await becomes(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        yield "raise", 7

    async with runner(2, limit=4) as remote:
        with pytest.raises(KeyError):
            await remote.map(jobs.hang_or_raise, items())
    assert len(list(tmp_path.glob("*.cancelled"))) == 2


async def test_retries_are_made_by_the_worker_and_counted_here(tmp_path):
    items = [Once(n, str(tmp_path)) for n in range(10)]
    retry = sr.Retry(on=ConnectionError, base=0.001, budget=None)
    with capture() as captured:
        async with runner(retry=retry) as remote:
            outcomes = await remote.map(jobs.at_second, items, errors="collect")
    assert [each.value for each in outcomes] == list(range(10))
    assert {each.attempts for each in outcomes} == {2}
    retries = semconv.METRIC_SPANRUN_JOB_RETRIES.name
    assert captured.value(retries, {semconv.ERROR_TYPE: "ConnectionError"}) == 10


async def test_two_runs_share_the_workers():
    async with runner() as remote:
        both = await asyncio.gather(
            remote.map(jobs.double, range(200)),
            remote.map(jobs.double_or_raise, range(8, 17)),
        )
    assert both[0] == [2 * n for n in range(200)]
    assert both[1] == [2 * n for n in range(8, 17)]


async def test_nothing_of_a_local_runner_loads_an_engine(tmp_path):
    code = (
        "import asyncio, sys, spanrun as sr\n"
        "async def double(n): return 2 * n\n"
        "async def main():\n"
        "    async with sr.Runner('local') as runner:\n"
        "        return await runner.map(double, [1])\n"
        "print(asyncio.run(main()), [m for m in sys.modules if 'engine' in m "
        "and m != 'spanrun.runner.engine' and m.startswith('spanrun')])\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert told.decode().split() == ["[2]", "[]"]
