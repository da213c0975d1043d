"""What is said of why jobs took their time."""

from array import array

import pytest

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.causes import explain, limit_full
from spanrun.telemetry.recordings.ledger import Ledger


def ledger(*jobs: dict[str, float], limit: int | None = None) -> Ledger:
    """Of jobs given as their start and the seconds of each phase."""
    phases = [
        array("d", (job.get(phase, 0.0) for job in jobs))
        for phase in SPANRUN_JOB_PHASE_VALUES
    ]
    durations = array("d", map(sum, zip(*phases, strict=True)))
    starts = array("d", (job.get("start", 0.0) for job in jobs))
    return Ledger(starts, durations, phases, limit)


def test_without_jobs_it_says_so() -> None:
    assert explain({}).sentence == "There are no jobs."
    found = explain({"fetch": ledger()})
    assert (found.sentence, found.causes) == ("There are no jobs.", ())
    assert explain({"fetch": ledger({})}).sentence == "The jobs took no time."


def test_a_service_that_takes_all_is_said_in_one_sentence() -> None:
    found = explain({"fetch": ledger({"service": 2.0}, {"service": 1.0})})
    assert found.sentence == "What fetch calls takes 100 % of the jobs' time."
    (only,) = found.causes
    assert (only.runner, only.phase, only.seconds, only.jobs) == ("", "service", 3.0, 2)
    assert only.fact == "Waiting for the service: fetch 100 %."


@pytest.mark.parametrize(("jobs", "improves"), [(39, False), (40, True)])
def test_a_p95_without_a_cause_is_told_of_enough_jobs(
    jobs: int, *, improves: bool
) -> None:
    fetch = ledger(*[{"service": 6.0, "backoff": 3.0}] * jobs)
    found = explain({"fetch": fetch})
    told = {cause.phase: cause.improves for cause in found.causes}
    assert told == {"backoff": improves, "service": False}
    assert ("at best" in found.sentence) == improves


def test_what_can_be_changed_comes_first_and_the_services_last() -> None:
    fetch = ledger(*[{"service": 6.0, "backoff": 3.0, "queue": 0.1}] * 40)
    found = explain({"fetch": fetch})
    assert [cause.phase for cause in found.causes] == ["backoff", "service"]
    assert found.causes[0].share == pytest.approx(3 / 9.1)
    assert found.causes[0].fact == (
        "fetch's back-off before retries: 40 jobs, at most 3.00 s each."
    )
    assert found.sentence == (
        "What fetch calls takes 66 % of the jobs' time. Beside that: fetch's back-off "
        "before retries (33 %). Without fetch's back-off before retries, p95 would be "
        "6.10 s at best, instead of 9.10 s."
    )


def test_a_blocked_loop_is_one_cause_whoever_waited() -> None:
    jobs = {"loop_lag": 2.0, "service": 1.0}
    found = explain({"a": ledger(jobs), "b": ledger(jobs)})
    assert [(cause.runner, cause.phase) for cause in found.causes] == [
        ("", "loop_lag"),
        ("", "service"),
    ]
    assert found.causes[0].seconds == pytest.approx(4.0)
    assert found.sentence.startswith(
        "A blocked event loop takes 67 % of the jobs' time. Beside that: waiting for "
        "services (33 %)."
    )


def test_no_more_than_four_things_to_change() -> None:
    jobs = dict.fromkeys(SPANRUN_JOB_PHASE_VALUES, 1.0)
    found = explain({"fetch": ledger(jobs)})
    assert len(found.causes) == 5
    assert found.causes[-1].phase == "service"


def test_the_p95_without_a_phase_is_that_of_the_durations_less_it() -> None:
    slow = {"service": 1.0, "rate_limit": 9.0}
    found = explain({"fetch": ledger(*[{"service": 1.0}] * 18, slow, slow)})
    cause = found.causes[0]
    assert (cause.phase, cause.p95, cause.p95_without) == ("rate_limit", 10.0, 1.0)


def test_many_jobs_are_sampled_for_it() -> None:
    jobs = [{"service": 1.0}, {"service": 1.0, "limit": 1.0}] * 60_000
    found = explain({"fetch": ledger(*jobs, limit=7)})
    cause = found.causes[0]
    assert cause.jobs == 60_000
    assert cause.fact.startswith("fetch's wait for a slot (limit 7): 60,000 jobs")


def test_a_limit_is_full_while_so_many_jobs_hold_a_slot() -> None:
    # Two at once for 4 s, then one for 4 s more.
    jobs = [
        {"start": 0.0, "service": 4.0},
        {"start": 0.0, "service": 4.0},
        {"start": 4.0, "service": 4.0},
    ]
    assert limit_full(ledger(*jobs, limit=2)) == pytest.approx(0.5, abs=0.01)
    assert limit_full(ledger(*jobs, limit=1)) == pytest.approx(1.0, abs=0.01)
    assert limit_full(ledger(*jobs, limit=3)) == 0
    assert limit_full(ledger(*jobs)) is None
    assert limit_full(ledger(limit=2)) is None
    assert limit_full(ledger({}, limit=2)) is None


def test_who_waits_for_a_slot_holds_none() -> None:
    jobs = [{"start": 0.0, "limit": 2.0, "service": 2.0}] * 2
    assert limit_full(ledger(*jobs, limit=2)) == 0


def test_the_fullest_runner_sets_the_pace() -> None:
    full = ledger({"service": 4.0}, {"service": 4.0}, limit=2)
    idle = ledger({"service": 4.0}, limit=100)
    found = explain({"idle": idle, "full": full})
    assert found.sentence.endswith(
        "The pace is set by full: its limit is full 100 % of the time."
    )
    assert found.limit_full == {"idle": 0, "full": pytest.approx(1.0)}


def test_names_are_of_one_line_and_without_secrets() -> None:
    name = "fetch\nall ?api_key=abcdefghijklmnop\x1b[31m"
    jobs = ledger({"service": 1.0, "limit": 9.0})
    found = explain({name: jobs})
    told = found.sentence + "".join(c.fact + c.advice for c in found.causes)
    assert "abcdefghijklmnop" not in told
    assert "\n" not in told
    assert "\x1b" not in told


def test_what_blocked_the_loop_is_named() -> None:
    jobs = ledger({"loop_lag": 2.0, "service": 1.0})
    found = explain({"a": jobs}, "big_table (ingest.py:33)")
    assert found.causes[0].advice == (
        "Move big_table (ingest.py:33) to a thread or a process."
    )
