"""The part in C: that it is in use, what it refuses, and that it keeps nothing."""

import asyncio
import copy
import gc
import inspect
import os
import pickle
import sys

import pytest
from opentelemetry import trace
from tests.telemetry.test_native_units import KIND, RETRY, Sent

import spanrun
from spanrun.outcome import Timings
from spanrun.speed import FAST, Buffer, Shape
from spanrun.telemetry import setup
from spanrun.telemetry.cells import Gate, HistogramCell
from spanrun.telemetry.fast import FastCall, FastJob

needs_c = pytest.mark.skipif(not FAST, reason="the part in C isn't in use")


@pytest.mark.skipif(
    "SPANRUN_REQUIRE_NATIVE" not in os.environ, reason="it needn't be there"
)
def test_it_is_in_use_where_it_is_required():
    assert FAST or os.environ.get("SPANRUN_PURE_PYTHON")


@needs_c
def test_jobs_and_calls_are_units_in_c():
    seen = []

    async def job(_):
        seen.append(type(trace.get_current_span()))
        with setup.recorder_or_off().call(KIND):
            seen.append(type(trace.get_current_span()))

    async def main():
        async with spanrun.Runner("kinds") as runner:
            await runner.map(job, [1])
            await runner.map(job, [1], trace="linked")

    with setup.use(Sent(wire="buffer").recorder):
        spanrun.run(main())
    assert seen == [FastJob, FastCall] * 2


@needs_c
def test_a_buffer_tells_when_it_begins_and_when_it_is_full():
    begun, full = [], []
    buffer = Buffer(begun.append, lambda *some: full.append(some), 10)
    buffer((b"abc", 1))
    buffer((b"def", 2))
    assert (begun, full, buffer.spans) == ([buffer], [], 3)
    buffer((b"0123456789", 4))
    assert (full, buffer.spans) == ([(b"abcdef0123456789", 7)], 0)
    buffer((b"g", 1))  # who was told that it has begun has not come yet
    assert len(begun) == 1
    assert buffer.take() == (b"g", 1)
    assert buffer.take() == (b"", 0)
    buffer((b"h", 1))
    assert len(begun) == 2


@needs_c
def test_a_buffer_loses_nothing_when_nobody_can_be_told():
    def refuse(_):
        raise OSError("no")

    buffer = Buffer(refuse, print, 10)
    with pytest.raises(OSError, match="no"):
        buffer((b"abc", 1))
    assert buffer.take() == (b"abc", 1)


@needs_c
@pytest.mark.parametrize("given", [None, b"", (b"",), ("", 1), (b"", "1"), (b"", 1, 1)])
def test_a_buffer_refuses_nonsense(given):
    with pytest.raises(TypeError):
        Buffer(print, print, 10)(given)


@needs_c
@pytest.mark.parametrize(
    "places", [(), (0,) * 4, (0,) * 6, (-2,) * 5, (8, 0, 0, 0, 0), (0, 0, 0, 0, 17)]
)
def test_no_template_writes_outside_of_its_text(places):
    with pytest.raises(ValueError, match="place"):
        Shape(b"x" * 23, places, Gate(), print, None)


@needs_c
def test_a_shape_needs_a_cell_that_it_can_add_to():
    cell = HistogramCell({}, [1.0], lambda _: True)
    cell.bounds = ["1.0"]
    with pytest.raises(TypeError, match="bounds"):
        Shape(b"x" * 99, (0,) * 5, Gate(), print, cell)


@needs_c
def test_who_adds_waits_for_who_reads():
    async def job(_):
        with setup.recorder_or_off().call(KIND):
            await asyncio.sleep(0)

    async def main():
        async with spanrun.Runner("read", retry=RETRY) as runner:
            await runner.map(job, range(3))

    told = []
    for reading in (False, True):
        sent = Sent(wire="buffer")
        with setup.use(sent.recorder):
            if reading:
                with sent.aggregator.gate:
                    spanrun.run(main())
            else:
                spanrun.run(main())
        told.append((sent.told(), sent.metrics()))
    assert told[0] == told[1]


@needs_c
def test_nothing_is_kept_of_jobs_that_are_over():
    async def job(number):
        with setup.recorder_or_off().call(KIND) as call:
            call.set("http.response.status_code", 200)
            await asyncio.sleep(0)
            if number % 10 == 9:
                raise ConnectionError

    async def main(jobs):
        async with spanrun.Runner("kept", retry=RETRY) as runner:
            await runner.map(job, range(jobs), errors="collect", trace="linked")

    def count():
        gc.collect()
        return len(gc.get_objects()), sys.getallocatedblocks()

    sent = Sent(wire="buffer")
    with setup.use(sent.recorder):
        spanrun.run(main(300))
        before = count()
        spanrun.run(main(3_000))
        sent.by_itself.clear()
        sent.as_objects.clear()
        after = count()
    assert after[0] - before[0] < 300
    assert after[1] - before[1] < 3_000


@needs_c
def test_traced_jobs_do_not_bring_the_garbage_collector():
    collections = []

    def note(phase, _):
        if phase == "start":
            collections.append(phase)

    async def job(_):
        with setup.recorder_or_off().call(KIND) as call:
            call.set("http.response.status_code", 200)
            await asyncio.sleep(0)

    async def main(jobs):
        async with spanrun.Runner("width", limit=100, retry=RETRY) as runner:
            await runner.map(job, range(jobs), trace="linked")

    with setup.use(Sent(wire="buffer").recorder):
        spanrun.run(main(300))
        gc.callbacks.append(note)
        try:
            spanrun.run(main(3_000))
        finally:
            gc.callbacks.remove(note)
    assert len(collections) < 10  # 30 and more when each hundred brings it


def test_timings_are_made_without_arguments():
    assert str(inspect.signature(Timings)) == "()"
    with pytest.raises(TypeError, match=r"Timings\(\) takes no arguments"):
        Timings(0.5)
    with pytest.raises(TypeError, match=r"Timings\(\) takes no arguments"):
        Timings(queue=0.5)


@pytest.mark.parametrize("again", [copy.copy, lambda t: pickle.loads(pickle.dumps(t))])  # noqa: S301 -- ours
def test_timings_can_be_copied_and_pickled(again):
    timings = Timings()
    timings.queue, timings.busy, timings.duration = 0.25, 0.5, 1.0
    assert repr(again(timings)) == repr(timings)
    assert again(timings).service == 0.25
