"""Jobs are packed whole, whatever is in them, and come back."""

import struct
import zlib
from collections.abc import Sequence

import pytest

from spanrun.outcome import Err, Ok, Outcome, Timings
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.columns import blob
from spanrun.telemetry.recordings.jobs import jobs_of, pack_jobs, row_of
from spanrun.telemetry.recordings.records import Job

RUN = RunInfo("0123456789abcdef", "embed", None, 0, 1, opened=10.0)
OTHER = RunInfo("r2", "split", None, 0, 1)


def timings(number: int) -> Timings:
    made = Timings()
    made.submitted = 10.0 + number
    made.queue, made.busy, made.duration = 0.1 * number, 0.25, 1.5 * number + 1
    return made


def kept(outcomes: Sequence[tuple[RunInfo, Outcome[object]]]) -> list[Job]:
    errors = ErrorTypes()
    packed = pack_jobs([row_of(run, outcome, errors) for run, outcome in outcomes])
    assert packed.jobs == len(outcomes)
    jobs = list(jobs_of(packed.jobs, packed.rows, packed.texts, packed.traces))
    assert set(packed.runs) == {job.run for job in jobs}
    assert packed.failed == sum(job.outcome != "ok" for job in jobs)
    return jobs


def test_all_that_is_known_of_a_job_comes_back() -> None:
    outcomes: list[tuple[RunInfo, Outcome[object]]] = [
        (RUN, Ok(0, "value", timings(0), 1, None, 2**127 + 1)),
        (OTHER, Ok(2**62, None, timings(1), 3, "key é", 0)),
        (RUN, Err(5, LookupError("no"), timings(2), 2, 17, 3, "timed_out")),
        (RUN, Err(6, LookupError("no"), timings(3), 2, "key é", 3, "cancelled")),
    ]
    first, second, third, fourth = kept(outcomes)
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


def test_jobs_of_one_trace_keep_it_once() -> None:
    rows = [
        row_of(RUN, Ok(n, None, timings(n), 1, None, 9), ErrorTypes()) for n in (1, 2)
    ]
    packed = pack_jobs(rows)
    assert packed.traces == (9).to_bytes(16, "big")
    jobs = jobs_of(2, packed.rows, packed.texts, packed.traces)
    assert {job.trace_id for job in jobs} == {f"{9:032x}"}


def test_a_job_without_texts_is_bytes_alone() -> None:
    # So the garbage collector needn't look at those that wait, and holds no value.
    row = row_of(RUN, Ok(0, object(), timings(0)), ErrorTypes())
    assert type(row) is bytes


def test_texts_are_redacted() -> None:
    error = ValueError("password=hunter2secret")
    (job,) = kept([(RUN, Err(0, error, timings(0), 1, "token=abcdefgh12345678"))])
    assert "hunter2secret" not in str(job)
    assert "abcdefgh12345678" not in str(job)
    assert job.error == "password=[redacted]"


def test_a_key_is_kept_as_it_was_when_the_job_ended() -> None:
    key = ["before"]
    row = row_of(RUN, Ok(0, None, timings(0), 1, key), ErrorTypes())
    key.append("after")
    packed = pack_jobs([row])
    (job,) = jobs_of(1, packed.rows, packed.texts, packed.traces)
    assert job.key == "['before']"


def test_many_jobs_are_small() -> None:
    rows = [
        row_of(RUN, Ok(n, None, timings(n % 7)), ErrorTypes()) for n in range(1_000)
    ]
    assert len(pack_jobs(rows).rows) < 10_000


@pytest.mark.parametrize("damage", [b"", b"nonsense", blob(b"short")])
def test_damaged_rows_are_refused(damage: bytes) -> None:
    with pytest.raises((ValueError, struct.error, zlib.error)):
        jobs_of(5, damage, b"", bytes(16))
