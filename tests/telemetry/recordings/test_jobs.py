"""Jobs are packed whole, whatever is in them, and come back."""

import struct
import weakref
import zlib
from collections.abc import Callable, Sequence

import pytest

from spanrun.accelerator import WHY_NOT, core
from spanrun.outcome import Err, Ok, Outcome, Timings
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings import jobs as recorded
from spanrun.telemetry.recordings.columns import blob
from spanrun.telemetry.recordings.jobs import (
    ROW_BYTES,
    JobRows,
    PackedJobs,
    job_rows,
    jobs_of,
    pack_jobs,
)
from spanrun.telemetry.recordings.records import Job

Outcomes = Sequence[tuple[RunInfo, Outcome[object]]]
Make = Callable[[], JobRows]

RUN = RunInfo("0123456789abcdef", "embed", None, 0, 1, opened=10.0)
OTHER = RunInfo("r2", "split", None, 0, 1)


def timings(number: int) -> Timings:
    made = Timings()
    made.submitted = 10.0 + number
    made.queue, made.busy, made.duration = 0.1 * number, 0.25, 1.5 * number + 1
    return made


def in_python() -> JobRows:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recorded, "core", None)
        return job_rows(ErrorTypes())


def compiled() -> JobRows:
    return job_rows(ErrorTypes())


SIDES = [in_python] if core is None else [in_python, compiled]


@pytest.fixture(params=SIDES, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def waiting(make: Make, outcomes: Outcomes) -> JobRows:
    rows = make()
    for run, outcome in outcomes:
        rows.add(run, outcome)
    return rows


def pack(make: Make, outcomes: Outcomes) -> PackedJobs:
    return pack_jobs(*waiting(make, outcomes).take(len(outcomes)))


def kept(make: Make, outcomes: Outcomes) -> list[Job]:
    packed = pack(make, outcomes)
    assert packed.jobs == len(outcomes)
    jobs = list(jobs_of(packed.jobs, packed.rows, packed.texts, packed.traces))
    assert set(packed.runs) == {job.run for job in jobs}
    assert packed.failed == sum(job.outcome != "ok" for job in jobs)
    return jobs


def all_kinds() -> Outcomes:
    return [
        (RUN, Ok(0, "value", timings(0), 1, None, 2**127 + 1)),
        (OTHER, Ok(2**62, None, timings(1), 3, "key é", 0)),
        (RUN, Err(5, LookupError("no"), timings(2), 2, 17, 3, "timed_out")),
        (RUN, Err(6, LookupError("no"), timings(3), 2, "key é", 3, "cancelled")),
    ]


def test_all_that_is_known_of_a_job_comes_back(make: Make) -> None:
    outcomes = all_kinds()
    first, second, third, fourth = kept(make, outcomes)
    for (run, outcome), job in zip(
        outcomes, (first, second, third, fourth), strict=True
    ):
        assert (job.run, job.index) == (run.id, outcome.index)
        assert job.attempts == outcome.attempts
        assert job.submitted == outcome.timings.submitted - run.opened
        assert job.duration == outcome.timings.duration
        assert list(job.phases.items()) == list(outcome.timings.phases())
        assert job.service == outcome.timings.service
    assert (first.key, first.outcome, first.error) == (None, "ok", None)
    assert first.trace_id == f"{2**127 + 1:032x}"
    assert (second.key, second.trace_id) == ("key é", None)
    assert (third.key, third.outcome, third.error) == ("17", "timed_out", "no")
    assert (fourth.key, fourth.error_type) == ("key é", "LookupError")


@pytest.mark.skipif(core is None, reason=f"nothing is compiled: {WHY_NOT}")
def test_both_sides_give_the_same() -> None:
    long = RunInfo("longer than a row has room", "split", None, 0, 1)
    outcomes = [*all_kinds(), (long, Ok(-1, None, timings(4)))]
    one, other = waiting(in_python, outcomes), waiting(compiled, outcomes)
    assert type(one) is not type(other)
    for most in (0, 2, 9):
        assert one.take(most) == other.take(most)
    assert len(one) == len(other) == 0


def test_rows_are_taken_in_their_order_each_with_its_texts(make: Make) -> None:
    rows = waiting(make, all_kinds())
    whole = waiting(make, all_kinds()).take(9)[0]
    first, some = rows.take(2)
    assert (len(first), [number for number, _ in some]) == (2 * ROW_BYTES, [1])
    rows.add(RUN, Ok(7, None, timings(1), 1, "newest"))
    assert len(rows) == 3
    rows.pop()
    second, others = rows.take(9)
    assert first + second == whole
    assert [number for number, _ in others] == [0, 1]
    assert rows.take(1) == (b"", [])
    with pytest.raises(IndexError):
        rows.pop()


def test_an_odd_number_costs_its_own_row_alone(make: Make) -> None:
    rows = waiting(make, [(RUN, Ok(0, None, timings(0)))])
    with pytest.raises((struct.error, OverflowError)):
        rows.add(RUN, Ok(2**64, None, timings(0), 1, "key"))
    with pytest.raises((struct.error, OverflowError)):
        rows.add(RUN, Ok(0, None, timings(0), 1, None, -1))
    assert len(rows) == 1
    rows.clear()
    assert rows.take(9) == (b"", [])


def test_jobs_of_one_trace_keep_it_once(make: Make) -> None:
    packed = pack(make, [(RUN, Ok(n, None, timings(n), 1, None, 9)) for n in (1, 2)])
    assert packed.traces == (9).to_bytes(16, "big")
    jobs = jobs_of(2, packed.rows, packed.texts, packed.traces)
    assert {job.trace_id for job in jobs} == {f"{9:032x}"}


def test_no_value_is_held(make: Make) -> None:
    class Value: ...

    value = Value()
    held = weakref.ref(value)
    rows = waiting(make, [(RUN, Ok(0, value, timings(0)))])
    del value
    assert held() is None
    assert len(rows) == 1


def test_texts_are_redacted(make: Make) -> None:
    error = ValueError("password=hunter2secret")
    (job,) = kept(make, [(RUN, Err(0, error, timings(0), 1, "token=abcdefgh12345678"))])
    assert "hunter2secret" not in str(job)
    assert "abcdefgh12345678" not in str(job)
    assert job.error == "password=[redacted]"


def test_a_key_is_kept_as_it_was_when_the_job_ended(make: Make) -> None:
    key = ["before"]
    rows = waiting(make, [(RUN, Ok(0, None, timings(0), 1, key))])
    key.append("after")
    packed = pack_jobs(*rows.take(1))
    (job,) = jobs_of(1, packed.rows, packed.texts, packed.traces)
    assert job.key == "['before']"


def test_many_jobs_are_small(make: Make) -> None:
    outcomes = [(RUN, Ok(n, None, timings(n % 7))) for n in range(1_000)]
    assert len(pack(make, outcomes).rows) < 10_000


@pytest.mark.parametrize("damage", [b"", b"nonsense", blob(b"short")])
def test_damaged_rows_are_refused(damage: bytes) -> None:
    with pytest.raises((ValueError, struct.error, zlib.error)):
        jobs_of(5, damage, b"", bytes(16))
