import asyncio

import pytest

import spanrun as sr
from spanrun.telemetry import setup
from spanrun.testing import capture

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


async def work(runner):
    async def job(number):
        await asyncio.sleep(number)
        if number == 2:
            raise LookupError
        return number

    async with runner:
        return await runner.map(job, range(3), errors="collect")


async def test_spans_are_found_by_name_and_attributes(make_runner, spanrun_capture):
    await work(make_runner())
    assert len(spanrun_capture.find("job test")) == 3
    assert len(spanrun_capture.find(attributes={"error.type": "LookupError"})) == 1
    failed = spanrun_capture.span("job test", {"spanrun.job.outcome": "failed"})
    assert failed.attributes["spanrun.job.index"] == 2
    assert (failed.status, failed.duration, failed.kind) == ("ERROR", 2, "INTERNAL")


async def test_not_exactly_one_span_is_an_error_that_shows_them_all(
    make_runner, spanrun_capture
):
    await work(make_runner())
    with pytest.raises(AssertionError, match=r"(?s)3 spans match 'job test'.*run test"):
        spanrun_capture.span("job test")
    with pytest.raises(AssertionError, match="0 spans match 'nothing'"):
        spanrun_capture.span("nothing")


async def test_parents_and_children(make_runner, spanrun_capture):
    await work(make_runner())
    run = spanrun_capture.span("run test")
    jobs = spanrun_capture.children(run)
    assert len(jobs) == 3
    assert {spanrun_capture.parent(job) for job in jobs} == {run}
    assert spanrun_capture.parent(run) is None
    lines = spanrun_capture.tree().splitlines()
    assert lines[0].startswith("run test · 2 s · UNSET")
    assert [line.split(" · ")[0] for line in lines[1:]] == ["  job test"] * 3


async def test_metrics_are_read_as_they_are_now(make_runner, spanrun_capture):
    await work(make_runner())
    failed = {"spanrun.job.outcome": "failed"}
    assert spanrun_capture.value("spanrun.jobs") == 3
    assert spanrun_capture.value("spanrun.jobs", failed) == 1
    assert spanrun_capture.count("spanrun.job.duration") == 3
    assert spanrun_capture.value("spanrun.job.duration") == 3
    assert spanrun_capture.totals("spanrun.jobs", by="spanrun.job.outcome") == {
        "ok": 2,
        "failed": 1,
    }
    await work(make_runner())
    assert spanrun_capture.value("spanrun.jobs") == 6
    assert spanrun_capture.value("spanrun.nothing") == 0


async def test_it_stays_readable_afterwards(make_runner, fake_clock):
    with capture(fake_clock) as captured:
        await work(make_runner())
    assert captured.value("spanrun.jobs") == 3
    assert len(captured.spans) == 4
    await work(make_runner())
    assert captured.value("spanrun.jobs") == 3
    assert len(captured.spans) == 4


async def test_captures_do_not_mix(make_runner, fake_clock):
    for _ in range(3):
        with capture(fake_clock) as captured:
            await work(make_runner())
        assert captured.value("spanrun.jobs") == 3


async def test_the_inner_one_catches_and_the_outer_one_goes_on(make_runner, fake_clock):
    with capture(fake_clock) as outer:
        with capture(fake_clock) as inner:
            await work(make_runner())
        with sr.unit("outside"):
            pass
    assert len(inner.find("job test")) == 3
    assert [span.name for span in outer.spans] == ["outside"]


async def test_spans_that_have_not_ended_are_known(spanrun_capture):
    with sr.unit("open"):
        assert list(spanrun_capture.unfinished().values()) == ["open"]
        assert spanrun_capture.spans == []
    assert not spanrun_capture.unfinished()


async def test_nothing_is_in_force_afterwards():
    before = setup.recorder()

    def fail():
        assert setup.recorder() is not before
        raise LookupError

    with pytest.raises(LookupError), capture():
        fail()
    assert setup.recorder() is before


async def test_observers_in_force_are_left_out(make_runner):
    with capture():
        assert not setup.observers()
