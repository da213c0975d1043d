"""Below a run each job is decided on by itself; what is kept leads up to its root."""

import random
from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN, set_span_in_context
from tests.telemetry.span.making import remote as caller
from tests.telemetry.span.test_tail import DRAWN, UNDRAWN, Stage, fail, retry

from spanrun.telemetry.span.budget import Budget
from spanrun.telemetry.units.recorder import JOB, RUN


@pytest.fixture
def stage(part: Any) -> Stage:
    return Stage(part)


class Program:
    """What a runner makes of spans, in a trace that isn't drawn."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def run(self, above: Any = None, name: str = "run") -> Any:
        if above is None:
            return self.stage.root(name, role=RUN)
        return self.stage.below(above, name, start_time=0, role=RUN)

    def job(self, above: Any, name: str = "job") -> Any:
        return self.stage.below(above, name, start_time=0, role=JOB)

    def linked(self, run: Any, name: str = "job", *, drawn: bool = False) -> Any:
        self.stage.ids.randomness = DRAWN if drawn else UNDRAWN
        nothing = set_span_in_context(INVALID_SPAN)
        return self.stage.start(name, nothing, start_time=0, anchored=run, role=JOB)


@pytest.fixture
def program(stage: Stage) -> Program:
    return Program(stage)


# Jobs that are children of their run


def test_a_run_is_kept_though_nothing_happens_in_it(
    stage: Stage, program: Program
) -> None:
    run = program.run()
    for number in range(3):
        job = program.job(run, f"job {number}")
        stage.child(job).end(1)
        job.end(1)
        assert stage.out == 2 * (number + 1)  # at once, and not at the run's end
    run.end(1)
    assert stage.reasons() == {"run": "run"}


@pytest.mark.parametrize("happen", [fail, retry])
def test_a_job_is_kept_for_itself_alone(
    stage: Stage, program: Program, happen: Any
) -> None:
    run = program.run()
    jobs = [program.job(run, f"job {number}") for number in range(3)]
    for number, job in enumerate(jobs):
        call = stage.child(job, f"call {number}")
        if number == 1:
            happen(call)
        call.end(1)
        job.end(1)
    run.end(1)
    assert stage.reasons() == {
        "call 1": None,
        "job 1": "error" if happen is fail else "retried",
        "run": "run",
    }
    assert stage.out == 4


def test_a_slow_job_is_kept_though_its_run_is_longer_than_all(part: Any) -> None:
    stage = Stage(part, slow=2.0)
    program = Program(stage)
    run = program.run()
    for seconds in (1, 2):
        program.job(run, f"{seconds} s").end(seconds * 1_000_000_000)
    run.end(1)
    assert stage.reasons() == {"2 s": "slow", "run": "run"}


def test_an_exemplar_keeps_its_job_and_the_path(part: Any) -> None:
    stage = Stage(part, runs=(0.0, 0.0), reasons=(0.0, 0.0))
    program = Program(stage)
    run = program.run()
    pinned, other = program.job(run, "pinned"), program.job(run, "other")
    assert stage.child(pinned, "call").pin()
    for span in (other, pinned, run):
        span.end(1)
    assert stage.reasons() == {"pinned": "exemplar", "run": "path"}


def test_the_spans_above_a_run_are_kept_and_not_those_beside_it(
    stage: Stage, program: Program
) -> None:
    root = stage.root()
    between, beside = stage.child(root, "between"), stage.child(root, "beside")
    run = program.run(between)
    for span in (program.job(run), beside, run, between, root):
        span.end(1)
    assert stage.reasons() == {"run": "run", "between": None, "root": "path"}
    assert stage.out == 2


def test_what_happens_beside_a_run_keeps_what_is_beside_it(
    stage: Stage, program: Program
) -> None:
    root = stage.root()
    run = program.run(root)
    program.job(run).end(1)
    beside = stage.child(root, "beside")
    fail(beside)
    for span in (run, beside, root):
        span.end(1)
    assert stage.reasons() == {"run": "run", "beside": None, "root": "error"}
    assert stage.out == 1


def test_where_a_span_above_a_run_has_ended_all_beside_it_is_kept(
    stage: Stage, program: Program
) -> None:
    root = stage.root()
    between = stage.child(stage.child(root, "far above"), "between")
    between.end(1)
    stage.child(root, "beside").end(1)
    for span in (program.run(between), root):
        span.end(1)
    assert set(stage.arrived()) == {"run", "between", "beside", "root"}


def test_where_a_span_above_a_run_ends_after_its_root_all_is_kept(
    stage: Stage, program: Program
) -> None:
    root = stage.root()
    above = stage.child(root, "above")
    between = stage.child(above, "between")
    above.end(1)
    stage.child(root, "beside").end(1)
    for span in (program.run(between), root, between):
        span.end(1)
    assert set(stage.arrived()) == {"run", "between", "above", "beside", "root"}
    assert stage.out == 0


def test_a_batch_is_decided_on_with_its_jobs(stage: Stage, program: Program) -> None:
    run = program.run()
    for number in range(2):
        batch = program.job(run, f"batch {number}")
        for half in range(2):
            job = program.job(batch, f"half {number}.{half}")
            if number and half:
                fail(job)
            job.end(1)
        batch.end(1)
    run.end(1)
    assert stage.reasons() == {
        "half 1.0": None,
        "half 1.1": None,
        "batch 1": "error",
        "run": "run",
    }


def test_a_run_in_a_job_belongs_to_the_job(stage: Stage, program: Program) -> None:
    run = program.run()
    for number in range(2):
        job = program.job(run, f"job {number}")
        inner = program.run(job, f"inner run {number}")
        innermost = program.job(inner, f"inner job {number}")
        if number:
            fail(innermost)
        for span in (innermost, inner, job):
            span.end(1)
    run.end(1)
    kept = {"inner job 1", "inner run 1", "job 1", "run"}
    assert stage.reasons().keys() == kept
    assert stage.out == 3


def test_a_job_that_is_no_runs_belongs_to_its_caller(
    stage: Stage, program: Program
) -> None:
    root = stage.root()
    jobs = [program.job(root, f"job {number}") for number in range(2)]
    fail(jobs[1])
    for span in (*jobs, root):
        span.end(1)
    assert stage.reasons() == {"job 0": None, "job 1": None, "root": "error"}


@pytest.mark.parametrize("sampled", [True, False])
def test_below_a_caller_from_elsewhere_it_is_the_same(
    stage: Stage, program: Program, *, sampled: bool
) -> None:
    above = caller(flags=sampled)
    for number in range(2):
        run = program.run(above, f"run {number}")
        jobs = [program.job(run, f"job {number}.{n}") for n in range(2)]
        fail(jobs[number])
        for span in (*jobs, run):
            span.end(1)
    kept = {"job 0.0": "error", "job 1.1": "error", "run 0": "run", "run 1": "run"}
    if sampled:
        kept = dict.fromkeys([*kept, "job 0.1", "job 1.0"])
    assert stage.reasons() == kept


def test_in_a_drawn_trace_all_is_kept_and_nothing_has_a_reason(
    stage: Stage, program: Program
) -> None:
    run = stage.root("run", drawn=True, role=RUN)
    job = program.job(run)
    fail(job)
    for span in (job, run):
        span.end(1)
    assert stage.reasons() == {"job": None, "run": None}


def test_jobs_of_drawn_traces_tell_what_is_slow_as_well(
    stage: Stage, program: Program
) -> None:
    drawn = stage.root("run", drawn=True, role=RUN)
    for _ in range(200):
        program.job(drawn).end(1_000_000_000)
    stage.arrived()
    stage.kept.clear()
    program.job(program.run()).end(2_000_000_000)
    assert stage.reasons() == {"job": "slow"}


# Jobs in traces of their own


def test_a_linked_job_keeps_the_run_that_it_leads_to(part: Any) -> None:
    for drawn in (False, True):
        stage = Stage(part, runs=(0.0, 0.0))
        program = Program(stage)
        root = stage.root()
        run = program.run(root)
        for number in range(3):
            job = program.linked(run, f"job {number}", drawn=drawn and number == 1)
            if number == 1 and not drawn:
                fail(job)
            job.end(1)
        for span in (run, root):
            span.end(1)
        kept = {"job 1", "run", "root"}
        assert stage.reasons().keys() == kept
        assert stage.out == 2


def test_over_their_budget_runs_are_kept_for_a_reason_alone(part: Any) -> None:
    stage = Stage(part, runs=(0.0, 2.0))
    program = Program(stage)
    for number in range(4):
        run = program.run(name=f"run {number}")
        if number == 3:
            fail(run)
        run.end(1)
    assert stage.reasons() == {"run 0": "run", "run 1": "run", "run 3": "error"}


# The budget


def test_over_the_budget_of_a_reason_traces_are_left_out_and_counted_so(
    part: Any,
) -> None:
    stage = Stage(part, reasons=(0.0, 2.0), slow=2.0)
    program = Program(stage)
    run = program.run()
    for number in range(5):
        for happen, name in ((fail, "failed"), (retry, "retried")):
            job = program.job(run, f"{name} {number}")
            call = stage.child(job, f"call of {name} {number}")
            happen(call)
            call.end(1)
            job.end(1)
        program.job(run, f"slow {number}").end(3_000_000_000)
    run.end(1)
    kept = [f"{name} {n}" for n in range(2) for name in ("failed", "retried")]
    wanted = {*kept, *(f"call of {name}" for name in kept), "slow 0", "slow 1", "run"}
    assert set(stage.arrived()) == wanted
    assert stage.over == {"error": 6, "retried": 6, "slow": 3}


def test_what_went_over_the_budget_may_still_become_an_exemplar(part: Any) -> None:
    stage = Stage(part, reasons=(0.0, 0.0))
    root = stage.root()
    child = stage.child(root)
    fail(child)
    child.end(1)
    assert root.pin()
    root.end(1)
    assert stage.reasons() == {"child": None, "root": "exemplar"}
    assert stage.out == 0


def test_a_trace_is_charged_once_whatever_happens_in_it(part: Any) -> None:
    stage = Stage(part, reasons=(0.0, 1.0))
    for number in range(2):
        root = stage.root(f"root {number}")
        for _ in range(3):
            child = stage.child(root)
            fail(child)
            child.end(1)
        root.end(1)
    assert stage.arrived().count("child") == 3
    assert stage.over == {"error": 4}


def test_a_budget_comes_back_with_time_and_is_bounded() -> None:
    budget = Budget(2.0, 3.0)
    taken = [budget.take(now) for now in (9, 9, 9, 9, 9.4, 9.5, 9.5, 10)]
    assert taken == [True, True, True, False, False, True, False, True]
    assert [budget.take(100) for _ in range(4)] == [True, True, True, False]
    assert not budget.take(99)  # a clock that goes back gives nothing


# Whatever happens, in whatever order


class Chance:
    """Programs by chance: runs in jobs and jobs in runs, some linked, some bad.

    Attributes:
        links: Of each job in a trace of its own, its run.
    """

    def __init__(self, part: Any, seed: int) -> None:
        self.draw = random.Random(seed)
        self.stage = Stage(part, runs=(0.0, 3.0), reasons=(0.0, 20.0), max_spans=1_000)
        self.program = Program(self.stage)
        self.links: dict[bytes, bytes] = {}

    def happens(self, chance: float) -> bool:
        return self.draw.random() < chance

    def end(self, span: Any) -> None:
        if self.happens(0.1):
            self.draw.choice([fail, retry, lambda span: span.pin()])(span)
        span.end(1)

    def job(self, run: Any) -> Any:
        if self.happens(0.5):
            return self.program.job(run)
        job = self.program.linked(run, drawn=self.happens(0.3))
        self.links[job.span_id.to_bytes(8, "big")] = run.span_id.to_bytes(8, "big")
        return job

    def run(self, above: Any, depth: int) -> None:
        between = [self.stage.child(above, "between")] if self.happens(0.5) else []
        run = self.program.run(*(between or [above]))
        for _ in range(self.draw.randrange(6)):
            job = self.job(run)
            if depth and self.happens(0.4):
                call = self.stage.child(job, "call")
                self.run(call, depth - 1)
                self.end(call)
            self.end(job)
        for span in (run, *between):
            self.end(span)

    def request(self) -> None:
        root = self.stage.root(drawn=self.happens(0.2))
        self.end(self.stage.child(root, "beside"))
        self.run(root, 2)
        self.end(root)


@pytest.mark.parametrize("seed", range(30))
def test_nothing_that_is_kept_hangs_in_the_air(part: Any, seed: int) -> None:
    chance = Chance(part, seed)
    for _ in range(10):
        chance.request()
    stage = chance.stage
    stage.arrived()
    known = {span.span_id for span in stage.kept}
    assert known
    assert len(known) == len(stage.kept)
    for span in stage.kept:
        assert not span.parent_span_id or span.parent_span_id in known, span.name
        assert chance.links.get(span.span_id, span.span_id) in known
