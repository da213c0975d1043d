"""What a run does that goes on from a checkpoint: hand out, run again, refuse."""

import asyncio
import itertools
import logging
import signal
import subprocess
import sys
from functools import partial

import pytest

import spanrun as sr
from spanrun.errors import CheckpointError, RemoteJobError


class Job:
    """Doubles numbers, notes which, and fails for those in ``bad``."""

    def __init__(self):
        self.ran = []
        self.bad = set()

    async def one(self, item):
        self.ran.append(item)
        if item in self.bad:
            raise ValueError(f"{item} is bad")
        return item * 2

    async def many(self, items):
        return [await self.one(item) for item in items]

    def took(self):
        ran, self.ran = self.ran, []
        return sorted(ran)


@pytest.fixture
def job():
    return Job()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


async def mapped(job, items, checkpoint, **options):
    async with sr.Runner("kept", limit=4) as runner:
        return await runner.map(job.one, items, checkpoint=checkpoint, **options)


async def streamed(job, items, checkpoint, **options):
    async with (
        sr.Runner("kept", limit=4) as runner,
        runner.stream(job.one, items, checkpoint=checkpoint, **options) as outcomes,
    ):
        return [outcome async for outcome in outcomes]


async def batched(job, items, checkpoint, **options):
    async with sr.Runner("kept", limit=4) as runner:
        return await runner.map_batches(
            job.many, items, size=3, checkpoint=checkpoint, **options
        )


async def later(items):
    for item in items:
        yield item


@pytest.mark.parametrize("run", [mapped, batched])
@pytest.mark.parametrize("source", [list, iter, later])
async def test_results_are_handed_out_and_their_jobs_not_run_again(
    job, path, run, source
):
    items = list(range(20))
    for expected in (items, []):
        found = await run(job, source(items), sr.Checkpoint(path))
        assert found == [item * 2 for item in items]
        assert job.took() == expected


@pytest.mark.parametrize("run", [mapped, batched])
async def test_progress_counts_what_was_there(job, path, run, capsys):
    await run(job, range(6), sr.Checkpoint(path))
    await run(job, range(9), sr.Checkpoint(path), progress=True)
    assert "kept: 9/9 · " in capsys.readouterr().err


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_stream_gives_stored_outcomes_in_their_places(job, path, ordered):
    await mapped(job, range(5), sr.Checkpoint(path))
    job.took()
    found = await streamed(job, range(9), sr.Checkpoint(path), ordered=ordered)
    assert sorted((each.index, each.value) for each in found) == [
        (item, 2 * item) for item in range(9)
    ]
    if ordered:
        assert [each.index for each in found] == list(range(9))
    assert job.took() == [5, 6, 7, 8]


async def test_many_stored_outcomes_leave_other_tasks_their_turn(job, path):
    items = range(5_000)
    await mapped(job, items, sr.Checkpoint(path))
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await mapped(job, items, sr.Checkpoint(path)) == [2 * n for n in items]
    assert turns >= 5
    assert job.took() == list(items)
    task.cancel()


async def test_a_stream_pulls_no_more_stored_outcomes_than_are_taken(job, path):
    await mapped(job, range(3_000), sr.Checkpoint(path))
    pulled = []

    def source():
        for item in itertools.count():
            pulled.append(item)
            yield item

    async with (
        sr.Runner("kept", limit=4) as runner,
        runner.stream(job.one, source(), checkpoint=sr.Checkpoint(path)) as outcomes,
    ):
        for expected in range(100):
            outcome = await anext(outcomes)
            assert (outcome.index, outcome.value) == (expected, 2 * expected)
            assert len(pulled) <= expected + 20


@pytest.mark.parametrize("run", [mapped, batched])
async def test_failed_jobs_run_again(job, path, run):
    job.bad = {3, 8}
    found = await run(job, range(10), sr.Checkpoint(path), errors="collect")
    assert [each.index for each in found if isinstance(each, sr.Err)] == [3, 8]
    job.bad = set()
    job.took()
    assert await run(job, range(10), sr.Checkpoint(path)) == list(range(0, 20, 2))
    assert job.took() == [3, 8]
    assert await run(job, range(10), sr.Checkpoint(path)) == list(range(0, 20, 2))
    assert job.took() == []


async def test_an_error_that_is_kept_comes_out_as_a_text(job, path):
    job.bad = {3}
    await mapped(job, range(5), sr.Checkpoint(path), errors="collect")
    job.took()
    kept = sr.Checkpoint(path, failed="keep")
    found = await mapped(job, range(5), kept, errors="collect", key=str)
    failed = found[3]
    assert isinstance(failed, sr.Err)
    assert (failed.outcome, failed.attempts, failed.key) == ("failed", 1, "3")
    assert isinstance(failed.error, RemoteJobError)
    assert (failed.error.type_name, failed.error.text) == ("ValueError", "3 is bad")
    assert "raise ValueError" in failed.error.traceback
    assert str(failed.error) == "ValueError: 3 is bad"
    assert job.took() == []
    with pytest.raises(RemoteJobError):
        await mapped(job, range(5), kept)


async def test_attempts_are_counted_over_all_runs(job, path):
    job.bad = {1}
    retry = sr.Retry(on=ValueError, attempts=3, base=0.001, budget=None)

    async def run(**options):
        async with sr.Runner("kept", retry=retry) as runner:
            kept = sr.Checkpoint(path, **options)
            return await runner.map(
                job.one, range(2), checkpoint=kept, errors="collect"
            )

    assert [each.attempts for each in await run()] == [1, 3]
    await run()
    assert [each.attempts for each in await run(failed="keep")] == [1, 6]


async def test_only_what_failed_is_run(job, path):
    job.bad = {1}
    await mapped(job, range(3), sr.Checkpoint(path), errors="collect")
    job.bad = set()
    job.took()
    kept = sr.Checkpoint(path, only_failed=True)
    found = await mapped(job, range(5), kept, errors="collect")
    assert job.took() == [1]
    assert [each.value for each in found[:3]] == [0, 2, 4]
    assert [each.outcome for each in found[3:]] == ["skipped", "skipped"]
    await mapped(job, range(5), sr.Checkpoint(path))
    assert job.took() == [3, 4]


async def test_cancelled_jobs_run_again(path):
    ran = []
    wait = True
    begun = asyncio.Event()

    async def job(item):
        ran.append(item)
        if len(ran) == 4:
            begun.set()
        if item and wait:
            await asyncio.Event().wait()
        if not item and wait:
            await begun.wait()
            raise ValueError

    async def run(**options):
        async with sr.Runner("kept", limit=4) as runner:
            await runner.map(job, range(4), checkpoint=sr.Checkpoint(path, **options))

    with pytest.raises(ValueError):
        await run()
    assert ran == [0, 1, 2, 3]
    wait = False
    with pytest.raises(RemoteJobError):
        await run(failed="keep")
    ran.clear()
    await run()
    assert set(ran) >= {0, 3}


async def test_more_items_at_the_end_go_on(job, path):
    await mapped(job, range(4), sr.Checkpoint(path))
    job.took()
    assert await mapped(job, range(6), sr.Checkpoint(path)) == list(range(0, 12, 2))
    assert job.took() == [4, 5]


@pytest.mark.parametrize("run", [mapped, streamed, batched])
@pytest.mark.parametrize("items", [[1, 0, 2, 3], [0, 1, 2, 4], ["0", 1, 2, 3]])
async def test_other_items_are_refused(job, path, run, items):
    await run(job, range(4), sr.Checkpoint(path))
    job.took()
    with pytest.raises(
        CheckpointError, match=r"isn't the one that .* has there"
    ) as why:
        await run(job, items, sr.Checkpoint(path))
    assert why.value.reason == "mismatch"
    assert await run(job, range(4), sr.Checkpoint(path))


async def test_items_with_a_key_may_come_in_another_order(job, path):
    kept = sr.Checkpoint(path, key=str)
    await mapped(job, [3, 1, 2], kept)
    job.took()
    assert await mapped(job, [5, 1, 2, 3], kept) == [10, 2, 4, 6]
    assert job.took() == [5]


@pytest.mark.parametrize("run", [mapped, batched])
@pytest.mark.parametrize("before", [[], [1, 2, 3], [2, 3]])
async def test_keys_that_collide_are_refused_by_name(job, path, run, before):
    kept = sr.Checkpoint(path, key=lambda item: f"key {item % 10}")
    await run(job, before, kept)
    with pytest.raises(CheckpointError, match=r"two items have the key 'key 1'"):
        await run(job, [1, 2, 3, 11], kept)


@pytest.mark.parametrize("key", [None, True, 1.5, (1,), 1 << 63])
async def test_a_key_is_a_text_or_a_whole_number(job, path, key):
    kept = sr.Checkpoint(path, key=lambda _: key)
    with pytest.raises(sr.ConfigurationError, match="must give a text or a whole"):
        await mapped(job, [1], kept)


async def test_an_item_without_content_needs_a_key(path):
    async def job(_):
        return 1

    async with sr.Runner("kept") as runner:
        with pytest.raises(CheckpointError, match="item 0, a object, has no content"):
            await runner.map(job, [object()], checkpoint=sr.Checkpoint(path))


async def test_another_function_is_refused(job, path):
    await mapped(job, range(3), sr.Checkpoint(path))
    async with sr.Runner("kept") as runner:
        with pytest.raises(CheckpointError, match=r"is of .*Job\.one, and .*Job\.many"):
            await runner.map(job.many, range(3), checkpoint=sr.Checkpoint(path))


async def test_another_version_of_the_function_is_told(path, caplog):
    async def job(item):
        return item

    one, job.__qualname__ = job, "job"

    async def job(item):
        return item + 1

    job.__qualname__ = "job"
    for function, told in ((one, False), (partial(one), False), (job, True)):
        async with sr.Runner("kept") as runner:
            kept = sr.Checkpoint(path)
            with caplog.at_level(logging.WARNING, "spanrun"):
                assert await runner.map(function, [1], checkpoint=kept) == [1]
        assert ("another version" in caplog.text) == told


async def test_items_known_by_their_keys_and_by_their_places_dont_mix(job, path):
    await mapped(job, range(3), sr.Checkpoint(path))
    with pytest.raises(CheckpointError, match="knows items by their place"):
        await mapped(job, range(3), sr.Checkpoint(path, key=str))


@pytest.mark.parametrize("commit", ["group", "each"])
@pytest.mark.parametrize("durability", ["process", "power"])
async def test_each_way_of_writing_keeps_all(job, path, commit, durability):
    kept = sr.Checkpoint(path, commit=commit, durability=durability)
    for expected in (list(range(30)), []):
        await mapped(job, range(30), kept)
        assert job.took() == expected


async def test_a_source_that_fails_leaves_what_was_done(job, path):
    def source():
        yield from range(5)
        raise KeyError("the end")

    with pytest.raises(KeyError):
        await mapped(job, source(), sr.Checkpoint(path))
    done = set(job.took())
    await mapped(job, range(6), sr.Checkpoint(path))
    assert set(job.took()) >= set(range(6)) - done


async def test_a_stream_that_is_left_keeps_what_was_done(job, path):
    async with (
        sr.Runner("kept", limit=2) as runner,
        runner.stream(
            job.one, itertools.count(), checkpoint=sr.Checkpoint(path)
        ) as outcomes,
    ):
        for _ in range(10):
            await anext(outcomes)
    job.took()
    found = await streamed(job, range(10), sr.Checkpoint(path))
    assert [each.value for each in found] == list(range(0, 20, 2))
    assert job.took() == []


async def test_no_thread_is_left(job, path, no_leaks):
    await mapped(job, range(10), sr.Checkpoint(path))
    await streamed(job, range(20), sr.Checkpoint(path))


def test_sigint_tells_what_is_safe(path, tmp_path):
    """In a program of its own, as its user sees it."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, os, signal, sys\n"
        "import spanrun as sr\n"
        "async def job(item):\n"
        "    if item == 5:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await asyncio.Event().wait()\n"
        "    return item\n"
        "async def main():\n"
        "    async with sr.Runner('kept', limit=1) as runner:\n"
        "        kept = sr.Checkpoint(sys.argv[1])\n"
        "        await runner.map(job, range(9), checkpoint=kept)\n"
        "sr.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, program, path], capture_output=True, text=True, check=False
    )
    assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert f"5 results safe in {path}; run the same again" in done.stderr
