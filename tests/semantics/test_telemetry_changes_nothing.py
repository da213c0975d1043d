"""Promise 4, first half: telemetry never changes a result."""

import asyncio

import pytest
from opentelemetry.sdk.trace import SpanProcessor

import spanrun as sr
from spanrun.telemetry.observe import RunInfo
from spanrun.testing import capture
from spanrun.testing.leaks import keepers

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Unprintable(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError("no text to be had")

    __repr__ = __str__


class Strange:
    """Can be nothing but an object."""

    def __repr__(self):
        raise RuntimeError("no text to be had")

    __str__ = __repr__
    __hash__ = None


async def same(item):
    await asyncio.sleep(1)
    return item


@pytest.fixture(params=["without", "with"])
def telemetry(request, fake_clock):
    if request.param == "without":
        yield
    else:
        with capture(fake_clock):
            yield


@pytest.mark.usefixtures("telemetry")
async def test_an_error_that_can_not_be_printed_is_an_error_as_others(make_runner):
    error = Unprintable()

    async def job(number):
        await asyncio.sleep(1)
        if number in (1, [1]):
            raise error
        return number

    retry = sr.Retry(on=Unprintable, attempts=2, base=0, cap=0)
    async with make_runner(retry=retry) as runner:
        outcomes = await runner.map(job, range(3), errors="collect")
        assert [getattr(o, "value", None) for o in outcomes] == [0, None, 2]
        assert outcomes[1].error is error
        with pytest.raises(Unprintable):
            await runner.map(job, range(3))
        with pytest.raises(Unprintable):
            await runner.call(job, 1)
        with pytest.raises(Unprintable):
            await runner.map_batches(job, [1], size=1)


@pytest.mark.usefixtures("telemetry")
async def test_a_key_that_can_not_be_printed_is_a_key_as_others(make_runner):
    key = Strange()

    async def job(number):
        await asyncio.sleep(1)
        if number:
            raise LookupError
        return number

    async with make_runner() as runner:
        outcomes = await runner.map(job, [0, 1], errors="collect", key=lambda _: key)
    assert outcomes[0].value == 0
    assert isinstance(outcomes[1].error, LookupError)
    assert outcomes[1].key is key


@pytest.mark.usefixtures("telemetry")
async def test_an_error_that_takes_no_notes_is_an_error_as_others(make_runner):
    class Closed(Exception):  # noqa: N818
        def add_note(self, note):
            raise TypeError(note)

    class Odd(Exception):  # noqa: N818
        __notes__ = 5

    for kind in (Closed, Odd):

        async def job(_, kind=kind):
            raise kind

        async with make_runner() as runner:
            with pytest.raises(kind):
                await runner.map(job, [0])


@pytest.mark.usefixtures("telemetry")
async def test_a_unit_that_can_not_print_its_error_raises_it_nevertheless():
    with pytest.raises(Unprintable), sr.unit("mine", what="ever"):
        raise Unprintable


class Wrong:
    """An observer that raises whenever it is told something."""

    def __init__(self, at):
        self.at = at
        self.heard = []

    def hear(self, what):
        self.heard.append(what)
        if what == self.at:
            raise RuntimeError(f"wrong at {what}")

    def run_opened(self, run):
        self.hear("opened")

    def job_ended(self, run, outcome):
        self.hear("ended")

    def run_closed(self, run):
        self.hear("closed")


@pytest.mark.parametrize("at", ["opened", "ended", "closed"])
async def test_an_observer_that_raises_changes_nothing_and_is_logged_once(
    make_runner, at, caplog
):
    wrong, right = Wrong(at), Wrong("never")
    async with make_runner(observers=[wrong, right]) as runner:
        assert await runner.map(same, range(3)) == [0, 1, 2]
        assert await runner.call(same, 3) == 3
        async with runner.stream(same, range(2)) as outcomes:
            assert [o.value async for o in outcomes] == [0, 1]
    assert wrong.heard == right.heard
    assert right.heard.count("ended") == 6
    assert right.heard.count("opened") == right.heard.count("closed") == 3
    assert len(caplog.records) == 1
    assert f"wrong at {at}" in caplog.text


async def test_an_observer_hears_each_outcome_once_and_of_its_run(make_runner):
    heard = []

    class Notes:
        def run_opened(self, run):
            heard.append(("opened", run))

        def job_ended(self, run, outcome):
            heard.append((outcome.index, run))

        def run_closed(self, run):
            heard.append(("closed", run))

    async with make_runner(limit=2, observers=[Notes()]) as runner:
        await runner.map(same, range(5))
    assert [what for what, _ in heard] == ["opened", 0, 1, 2, 3, 4, "closed"]
    (run,) = {run.id: run for _, run in heard}.values()
    assert isinstance(run, RunInfo)
    assert (run.runner, run.total) == ("test", 5)
    assert run.ended_ns - run.started_ns == 3_000_000_000


class Broken(SpanProcessor):
    """A processor of the application's that fails."""

    def __init__(self, at):
        self.at = at

    def on_start(self, span, parent_context=None):
        if self.at == "start":
            raise RuntimeError("a broken processor")

    def on_end(self, span):
        if self.at == "end":
            raise RuntimeError("a broken processor")


@pytest.mark.parametrize("at", ["start", "end"])
async def test_a_broken_span_processor_changes_no_result(make_runner, fake_clock, at):
    async def job(number):
        await asyncio.sleep(1)
        if number == 1:
            raise LookupError
        return number

    with capture(fake_clock) as captured:
        captured.tracers.add_span_processor(Broken(at))
        async with make_runner(retry=sr.Retry(on=OSError)) as runner:
            outcomes = await runner.map(job, range(3), errors="collect")
            assert await runner.call(job, 5) == 5
            assert await runner.map_batches(same, range(3), size=2) == [0, 1, 2]
    lost = {"spanrun.telemetry.reason": "internal_error"}
    assert captured.value("spanrun.telemetry.items", lost) > 0
    keepers.discard(captured)  # a span that never came to be can't end
    assert [getattr(o, "value", None) for o in outcomes] == [0, None, 2]
    assert isinstance(outcomes[1].error, LookupError)
