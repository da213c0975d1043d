"""`summary_of`: the numbers of a session, from what was recorded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.outcome import Err, Ok, Outcome, Timings
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.causes import explain
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.recordings.summary import Summary, summary_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = LocalStore(tmp_path)
    yield opened
    opened.close(5)


def timings(duration: float, **phases: float) -> Timings:
    made = Timings()
    for name, seconds in phases.items():
        setattr(made, name, seconds)
    made.duration = duration
    return made


def ok(
    index: int, duration: float, attempts: int = 1, **phases: float
) -> Outcome[None]:
    return Ok(index, None, timings(duration, **phases), attempts, trace_id=index + 1)


def keep(
    store: LocalStore,
    runner: str,
    outcomes: Sequence[Outcome[None]],
    *,
    calls: bool = False,
    run: str = "",
) -> None:
    info = RunInfo(run or runner, runner, len(outcomes), 7, 1, calls=calls)
    store.run_opened(info)
    for outcome in outcomes:
        store.job_ended(info, outcome)
    store.run_closed(info)


def read(store: LocalStore) -> Summary:
    assert store.flush(PATIENCE)
    with recordings.open(store.path) as recording:
        return summary_of(recording, store.session)


def test_an_empty_session(store: LocalStore) -> None:
    assert read(store) == Summary(0.0, (), (), None, explain({}))


def test_counts_and_phases_of_a_runner(store: LocalStore) -> None:
    keep(
        store,
        "embed",
        [
            ok(0, 1.0, attempts=3, queue=0.1, backoff=0.5, busy=0.1),
            ok(1, 2.0, limit=1.0, rate_limit=0.25),
            Err(2, ValueError("no"), timings(0.5, loop_lag=0.25)),
        ],
    )
    (stats,) = read(store).runners
    assert (stats.name, stats.jobs, stats.ok, stats.retries) == ("embed", 3, 2, 2)
    assert stats.phases == pytest.approx(
        {
            "queue": 0.1,
            "limit": 1.0,
            "rate_limit": 0.25,
            "backoff": 0.5,
            "busy": 0.1,
            "loop_lag": 0.25,
            "service": 0.3 + 0.75 + 0.25,
        }
    )
    assert sum(stats.phases.values()) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 1, 1)),
        (2, (1, 2, 2)),
        (20, (10, 19, 20)),
        (100, (50, 95, 99)),
        (101, (51, 96, 100)),
    ],
)
def test_percentiles_are_durations_that_were_measured(
    store: LocalStore, count: int, expected: tuple[float, ...]
) -> None:
    # By the nearest rank: the ⌈p·n⌉-th of them in order.
    order = sorted(range(1, count + 1), key=lambda n: n * 7919 % 101)
    keep(store, "split", [ok(n, float(n)) for n in order])
    (stats,) = read(store).runners
    assert stats.percentiles == expected


def test_runners_come_in_the_order_of_a_pipeline(store: LocalStore) -> None:
    keep(store, "embed", [ok(0, 1.0)], calls=True, run="probe")
    keep(store, "split", [ok(0, 1.0)])
    keep(store, "embed", [ok(0, 1.0)])
    keep(store, "store", [ok(0, 1.0)])
    keep(store, "search", [ok(0, 1.0)], calls=True)
    names = [stats.name for stats in read(store).runners]
    assert names == ["split", "embed", "store", "search"]
    assert [stats.jobs for stats in read(store).runners] == [1, 2, 1, 1]


def test_failures_are_grouped_the_most_frequent_first(store: LocalStore) -> None:
    def failed(index: int, error: Exception, outcome: str = "failed") -> Err:
        ends = timings(0.1)
        return Err(index, error, ends, trace_id=index + 1, outcome=outcome)  # type: ignore[arg-type]

    keep(
        store,
        "embed",
        [
            failed(0, ValueError("rare")),
            failed(1, OSError("often")),
            failed(2, OSError("often")),
            ok(3, 0.1),
            failed(4, TimeoutError("late"), "timed_out"),
            failed(5, TimeoutError("late"), "timed_out"),
            failed(6, TimeoutError("late"), "timed_out"),
        ],
    )
    failures = read(store).failures
    assert [(f.error_type, f.error, f.count) for f in failures] == [
        ("TimeoutError", "late", 3),
        ("OSError", "often", 2),
        ("ValueError", "rare", 1),
    ]
    assert failures[1].trace_id == f"{2:032x}"
    assert {failure.runner for failure in failures} == {"embed"}


def test_the_slowest_job_has_a_name_a_trace_and_its_phases(store: LocalStore) -> None:
    keep(store, "split", [ok(0, 0.5)])
    slow = Ok(3, None, timings(2.0, backoff=1.5), key="a.txt", trace_id=10)
    keep(store, "store", [ok(0, 1.0), slow])
    slowest = read(store).slowest
    assert slowest is not None
    assert (slowest.name, slowest.duration) == ("store a.txt", 2.0)
    assert slowest.trace_id == f"{10:032x}"
    assert slowest.phases["backoff"] == 1.5


def test_a_job_without_a_key_is_named_by_its_place(store: LocalStore) -> None:
    keep(store, "split", [ok(4, 0.5)])
    slowest = read(store).slowest
    assert slowest is not None
    assert slowest.name == "split #4"


def test_other_sessions_are_not_counted(store: LocalStore, tmp_path: Path) -> None:
    keep(store, "split", [ok(0, 0.5)])
    other = LocalStore(tmp_path)
    keep(other, "split", [ok(0, 9.0)] * 3, run="other")
    assert other.close(PATIENCE)
    (stats,) = read(store).runners
    assert stats.jobs == 1
    slowest = read(store).slowest
    assert slowest is not None
    assert slowest.duration == 0.5
