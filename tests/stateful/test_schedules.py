"""Random schedules: whatever happens, promises 1, 2 and 5 hold.

A schedule is a runner with some policies, jobs that follow scripts (wait, fail,
time out, cancel themselves, swallow cancellation), a source that may fail, and
a course of events: the limit changes, the stream is left early, everything is
cancelled. It is drawn by hypothesis and played in virtual time.

``SPANRUN_SOAK=10000`` sets the number of schedules.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spanrun as sr
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.breaker import Breaker
from spanrun.policies.hedge import Hedge
from spanrun.policies.rate import RateLimit
from spanrun.testing import FakeClock, capture, no_leaks

SCHEDULES = int(os.environ.get("SPANRUN_SOAK", "400"))

WAYS = ("map", "collect", "stream", "unordered", "calls", "batches", "batches collect")
ENDS = ("value", "value", "value", "error", "transient", "cancel itself", "never")
WHEN_CANCELLED = ("leave", "leave", "slowly", "swallow", "raise", "swallow all")


class OwnError(Exception):
    """What a job, a source or a consumer raises."""


@dataclass(frozen=True)
class Script:
    """What one job does."""

    waits: list[float]
    end: str
    cancelled: str


@dataclass(frozen=True)
class Schedule:
    """One drawn case."""

    way: str
    scripts: list[Script]
    limit: int
    adaptive: bool
    policies: dict[str, object]
    source: str
    source_fails_at: int | None
    size: int
    pause: float
    take: int | None
    resizes: list[tuple[float, int]]
    cancelled_calls: list[tuple[int, int]]
    cancel_at_step: int | None
    cancel_again: int


@dataclass
class Stage:
    """What happens while a schedule is played."""

    schedule: Schedule
    clock: FakeClock
    pulled: int = 0
    sources_open: int = 0
    runs: dict[str, list[object]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    # The observer's side.
    def run_opened(self, run):
        self.runs[run.id] = []

    def job_ended(self, run, outcome):
        self.runs[run.id].append(outcome)

    def run_closed(self, run):
        self.closed.append(run.id)

    # The jobs' side.
    async def job(self, index):
        script = self.schedule.scripts[index]
        patience = 3 if script.cancelled == "swallow all" else 1
        while True:
            try:
                return await self.follow(script, index)
            except asyncio.CancelledError:
                patience -= 1
                match script.cancelled:
                    case "slowly":
                        await asyncio.sleep(0.5)
                    case "raise":
                        raise OwnError("instead of a cancellation") from None
                    case "swallow" | "swallow all" if script.end != "cancel itself":
                        if patience <= 0:
                            return index
                        continue
                raise

    async def follow(self, script, index):
        for seconds in script.waits:
            if seconds < 0:
                self.clock.advance(-seconds)
            else:
                await asyncio.sleep(seconds)
        match script.end:
            case "error":
                raise OwnError(index)
            case "transient":
                raise ConnectionError(index)
            case "cancel itself":
                asyncio.current_task().cancel()
                await asyncio.sleep(1)
            case "never":
                await asyncio.sleep(40)
        return index

    async def batch(self, indexes):
        return [await self.job(index) for index in indexes]

    def numbers(self):
        for index in range(len(self.schedule.scripts)):
            if index == self.schedule.source_fails_at:
                raise OwnError("the source's own")
            self.pulled += 1
            yield index

    async def numbers_async(self):
        self.sources_open += 1
        try:
            for index in self.numbers():
                await asyncio.sleep(0.25)
                yield index
        finally:
            self.sources_open -= 1

    def items(self):
        match self.schedule.source:
            case "list" if self.schedule.source_fails_at is None:
                self.pulled = len(self.schedule.scripts)
                return list(range(self.pulled))
            case "async":
                return self.numbers_async()
        return self.numbers()

    # The consumer's side.
    async def play(self, runner):
        schedule, items, size = self.schedule, self.items(), self.schedule.size
        for moment, limit in schedule.resizes:
            slots = runner._core.slots
            asyncio.get_running_loop().call_later(moment, slots.resize, limit)
        match schedule.way:
            case "map":
                assert await runner.map(self.job, items) == [*range(self.pulled)]
            case "collect":
                self.check_all(await runner.map(self.job, items, errors="collect"))
            case "calls":
                await self.call_all(runner)
            case "batches":
                got = await runner.map_batches(self.batch, items, size=size)
                assert got == [*range(self.pulled)]
            case "batches collect":
                options = {"size": size, "errors": "collect", "max_wait": 1.5}
                got = await runner.map_batches(self.batch, items, **options)
                self.check_all(got)
            case ordered:
                await self.read(runner, items, ordered=ordered == "stream")

    async def call_all(self, runner):
        self.pulled = len(self.schedule.scripts)
        calls = [
            asyncio.create_task(runner.call(self.job, index))
            for index in range(self.pulled)
        ]
        for index, after in self.schedule.cancelled_calls:
            if index < self.pulled:
                self.clock.at_step(self.clock.steps + after, calls[index].cancel)
        await asyncio.gather(*calls, return_exceptions=True)

    async def read(self, runner, items, *, ordered):
        seen = []
        async with runner.stream(self.job, items, ordered=ordered) as outcomes:
            async for outcome in outcomes:
                seen.append(outcome)
                if len(seen) == self.schedule.take:
                    break
                await asyncio.sleep(self.schedule.pause)
            else:
                self.check_all(sorted(seen, key=lambda outcome: outcome.index))
        if ordered:
            assert [outcome.index for outcome in seen] == [*range(len(seen))]

    def check_all(self, outcomes):
        """Every item that was pulled has its one outcome, in its place."""
        assert [outcome.index for outcome in outcomes] == [*range(self.pulled)]
        for outcome in outcomes:
            match outcome:
                case sr.Ok(index=index, value=value):
                    assert value == index
                case sr.Err(error=error):
                    assert isinstance(error, Exception)

    def check(self, captured):
        """Promises 1 and 2, as the observer and the metrics saw them."""
        assert sorted(self.closed) == sorted(self.runs)
        ended = [outcome for run in self.runs.values() for outcome in run]
        for run in self.runs.values():
            indexes = sorted(outcome.index for outcome in run)
            assert indexes == [*range(len(run))]
        if "batches" not in self.schedule.way:
            left = self.pulled - len(ended)
            assert left >= 0
            if self.schedule.source == "generator" and self.schedule.way != "calls":
                assert left == 0  # an async one may have an item in its hand
        for outcome in ended:
            parts = [seconds for _, seconds in outcome.timings.phases()]
            assert min(parts) >= 0
            assert sum(parts) == pytest.approx(outcome.timings.duration, rel=0.01)
        counted = captured.totals("spanrun.jobs", by="spanrun.job.outcome")
        for end in ("ok", "failed", "timed_out", "cancelled"):
            those = [o for o in ended if getattr(o, "outcome", "ok") == end]
            assert counted.get(end, 0) == len(those)
        assert len(captured.find("job test")) == len(ended)


seconds = st.sampled_from([0, 0, 0.25, 0.5, 1, 3, -0.25, -1])
scripts = st.builds(
    Script,
    waits=st.lists(seconds, max_size=3),
    end=st.sampled_from(ENDS),
    cancelled=st.sampled_from(WHEN_CANCELLED),
)
maybe_seconds = st.none() | st.sampled_from([0.5, 1, 3, 7])
retries = st.builds(
    sr.Retry,
    on=st.sampled_from([ConnectionError, (ConnectionError, TimeoutError)]),
    attempts=st.integers(1, 3),
    base=st.sampled_from([0, 0.5, 2]),
    budget=st.sampled_from([None, 0.1]),
    reserve=st.integers(0, 3),
)
timeouts = (
    st.tuples(maybe_seconds, maybe_seconds)
    .filter(lambda drawn: None in drawn or drawn[0] <= drawn[1])
    .map(lambda drawn: sr.Timeout(attempt=drawn[0], total=drawn[1]))
)
policies = st.fixed_dictionaries(
    {},
    optional={
        "retry": retries,
        "timeout": timeouts,
        "rate": st.sampled_from([RateLimit(2), RateLimit(8, burst=4)]),
        "hedge": st.sampled_from([Hedge(at=0.5, share=1.0), Hedge(at=1)]),
        "breaker": st.just(Breaker(failures=2, open_for=1)),
    },
)
schedules = st.builds(
    Schedule,
    way=st.sampled_from(WAYS),
    scripts=st.lists(scripts, max_size=8),
    limit=st.integers(1, 4),
    adaptive=st.integers(0, 4).map(lambda drawn: drawn == 4),
    policies=policies,
    source=st.sampled_from(["list", "generator", "async"]),
    source_fails_at=st.none() | st.integers(0, 8),
    size=st.integers(1, 4),
    pause=st.sampled_from([0, 0, 0.25, 5]),
    take=st.none() | st.integers(1, 6),
    resizes=st.lists(st.tuples(st.sampled_from([0.25, 1, 3]), st.integers(1, 6))),
    cancelled_calls=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 20))),
    cancel_at_step=st.none() | st.integers(1, 60),
    cancel_again=st.integers(0, 3),
)


async def stage_it(stage):
    schedule = stage.schedule
    limit = AdaptiveLimit(schedule.limit) if schedule.adaptive else schedule.limit
    observers = [stage]

    async def whole():
        try:
            async with (
                no_leaks(),
                sr.Runner(
                    "test", limit=limit, observers=observers, **schedule.policies
                ) as runner,
            ):
                await stage.play(runner)
        finally:
            assert stage.sources_open == 0

    task = asyncio.create_task(whole())
    if schedule.cancel_at_step is not None:
        first = schedule.cancel_at_step
        for step in {first, first + schedule.cancel_again}:
            stage.clock.at_step(step, task.cancel)
    expected = OwnError, ConnectionError, TimeoutError, asyncio.CancelledError
    with contextlib.suppress(*expected, sr.SpanrunError):
        await task


@settings(
    max_examples=SCHEDULES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(schedule=schedules)
def test_whatever_happens_the_promises_hold(schedule):
    clock = FakeClock()
    stage = Stage(schedule, clock)
    with capture(clock) as captured:
        clock.run(stage_it(stage))
    stage.check(captured)
