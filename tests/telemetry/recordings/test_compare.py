"""`compare`: what changed between two recordings, and how sure that is."""

import itertools
import random
from array import array
from pathlib import Path

import pytest
from tests.telemetry.recordings.sessions import Recorded, record

from spanrun import recordings
from spanrun.telemetry.recordings.compare import (
    BLOCKS,
    DRAWS,
    Comparison,
    Jobs,
    RunnerChange,
    Side,
    changes,
    compare,
    means,
)


def compared(folder: Path, a: str, b: str) -> Comparison:
    with recordings.open(folder) as recording:
        return compare(recording, recording.find(a), recording.find(b))


def jobs_of(durations: list[float]) -> Jobs:
    """Jobs that took so long, all of it in the service."""
    jobs = Jobs()
    for place, column in enumerate(jobs.columns):
        is_service = place == len(jobs.columns) - 1
        column.extend(durations if not place or is_service else [0.0] * len(durations))
    return jobs


def test_time_as_a_whole_follows_little(tmp_path: Path) -> None:
    # 8 jobs of 2 s, 4 at once, is 4 s; of 3 s, 2 at once, 12 s: 2 × 1.5 = 3 times.
    a = [Recorded(0, 2.0 + at, limit=at) for at in (0, 2) for _ in range(4)]
    b = [Recorded(0, 3.0 + at, limit=at) for at in (0, 3, 6, 9) for _ in range(2)]
    names = record(tmp_path, {"embed": a}), record(tmp_path, {"embed": b})
    (found,) = compared(tmp_path, *names).runners
    assert found.a is not None
    assert found.b is not None
    assert (found.a.seconds, found.b.seconds) == pytest.approx((4, 12))
    assert (found.a.at_once, found.b.at_once) == pytest.approx((4, 2))
    assert (found.a.work, found.b.work) == pytest.approx((2, 3))
    for side in (found.a, found.b):
        assert side.seconds == pytest.approx(side.jobs * side.work / side.at_once)


def test_a_pause_between_two_runs_is_nobodys_time(tmp_path: Path) -> None:
    name = record(tmp_path, {"embed": [Recorded(0, 2)]}, {"embed": [Recorded(100, 3)]})
    (found,) = compared(tmp_path, name, name).runners
    assert found.a is not None
    assert found.a.seconds == pytest.approx(5)


def test_a_run_compared_with_itself_has_not_changed(tmp_path: Path) -> None:
    some = random.Random(1)
    jobs = [Recorded(0, some.expovariate(1), busy=0.001) for _ in range(300)]
    name = record(tmp_path, {"embed": jobs}, policies='{"limit":{"concurrency":2}}')
    found = compared(tmp_path, name, name)
    assert found.settings == []
    (runner,) = found.runners
    assert runner.a == runner.b
    assert not any(each.is_certain for each in runner.changes.values())
    assert not any(each.difference for each in runner.changes.values())


def test_a_phase_that_grew_is_certain_and_the_others_are_not(tmp_path: Path) -> None:
    some = random.Random(2)

    def jobs(limit: float) -> list[Recorded]:
        waits = [some.uniform(0.9, 1.1) for _ in range(200)]
        return [
            Recorded(0, w + limit * w + 0.01, limit=limit * w, busy=0.01) for w in waits
        ]

    a, b = (record(tmp_path, {"embed": jobs(limit)}) for limit in (0.1, 0.4))
    (found,) = compared(tmp_path, a, b).runners
    certain = {name for name, each in found.changes.items() if each.is_certain}
    assert certain == {"mean", "limit", "p50", "p95", "p99"}
    limit = found.changes["limit"]
    assert limit.interval is not None
    assert limit.interval[0] < 0.3 < limit.interval[1]
    assert limit.difference == limit.b - limit.a


def test_a_change_below_one_percent_is_none_however_sure() -> None:
    a, b = (jobs_of([base + n * 1e-6 for n in range(100)]) for base in (1.0, 1.009))
    found = changes(a, b)["mean"]
    assert found.interval is not None
    assert found.interval[0] > 0
    assert not found.is_certain
    assert changes(a, jobs_of([1.011 + n * 1e-6 for n in range(100)]))["p95"].is_certain


@pytest.mark.parametrize(("count", "pairs", "least"), [(40, 60, 54), (1_500, 12, 10)])
def test_intervals_cover_a_known_shift(count: int, pairs: int, least: int) -> None:
    """95 % of the pairs' intervals should; the seeds are fixed."""
    some = random.Random(3)
    covered = dict.fromkeys(("mean", "p50"), 0)
    for _ in range(pairs):
        a = [some.lognormvariate(0, 0.5) for _ in range(count)]
        b = [some.lognormvariate(0, 0.5) + 0.25 for _ in range(count)]
        found = changes(jobs_of(a), jobs_of(b))
        for name in covered:
            interval = found[name].interval
            assert interval is not None
            covered[name] += interval[0] <= 0.25 <= interval[1]
    assert all(number >= least for number in covered.values()), covered


def test_of_equal_sides_few_seem_to_differ() -> None:
    some = random.Random(4)
    certain = 0
    for _ in range(40):
        a, b = ([some.expovariate(1) for _ in range(100)] for _ in range(2))
        certain += changes(jobs_of(a), jobs_of(b))["mean"].is_certain
    assert certain <= 4


def test_the_numbers_are_the_same_each_time() -> None:
    some = random.Random(5)
    a, b = ([some.expovariate(1) for _ in range(100)] for _ in range(2))
    assert changes(jobs_of(a), jobs_of(b)) == changes(jobs_of(a), jobs_of(b))


def test_many_jobs_are_drawn_by_blocks_of_which_the_last_may_be_short() -> None:
    some = random.Random(8)
    values = array("d", [some.uniform(0, 9) for _ in range(2 * BLOCKS + 501)])
    (drawn,) = means([values], random.Random(6))
    assert len(drawn) == DRAWS
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values) ** 2) ** 0.5
    assert sum(drawn) / DRAWS == pytest.approx(mean, rel=0.01)
    spread = (sum((v - mean) ** 2 for v in drawn) / DRAWS) ** 0.5
    assert spread == pytest.approx(deviation, rel=0.1)
    (constant,) = means([array("d", [7.0] * 2501)], random.Random(7))
    assert constant == pytest.approx([7.0] * DRAWS)


def test_few_jobs_have_no_intervals_and_it_says_why(tmp_path: Path) -> None:
    a = record(tmp_path, {"embed": [Recorded(0, 1.0)] * 20})
    b = record(tmp_path, {"embed": [Recorded(0, 2.0)] * 19})
    (found,) = compared(tmp_path, a, b).runners
    assert found.why == "fewer than 20 jobs (19 in B)"
    assert {each.interval for each in found.changes.values()} == {None}
    assert found.changes["p95"].difference == 1.0


def test_a_runner_on_one_side_alone_has_a_row(tmp_path: Path) -> None:
    a = record(tmp_path, {"one": [Recorded(0, 1.0)], "both": [Recorded(0, 1.0)]})
    failed = Recorded(0, 1.0, ok=False)
    b = record(tmp_path, {"both": [Recorded(0, 1.0)], "two": [failed]})
    found = compared(tmp_path, a, b).runners
    assert [(each.runner, bool(each.a), bool(each.b)) for each in found] == [
        ("one", True, False),
        ("both", True, True),
        ("two", False, True),
    ]
    assert found[2] == RunnerChange("two", None, Side(1, 1, 1.0, 1.0, 1.0), {}, "")


def test_settings_that_differ_are_named_to_their_leaves(tmp_path: Path) -> None:
    texts = (
        '{"limit":{"type":"Limit","concurrency":2},"timeout":{"total":3.0}}',
        '{"limit":{"type":"Limit","concurrency":8},"rate":{"rate":5}}',
    )
    a, b = (
        record(tmp_path, {"embed": [Recorded(0, 1.0)]}, policies=text) for text in texts
    )
    assert [(s.name, s.a, s.b) for s in compared(tmp_path, a, b).settings] == [
        ("limit.concurrency", 2, 8),
        ("timeout.total", 3.0, None),
        ("rate.rate", None, 5),
    ]


def test_one_run_of_a_session_can_be_compared(tmp_path: Path) -> None:
    record(tmp_path, {"one": [Recorded(0, 1.0)]}, {"two": [Recorded(0, 2.0)]})
    with recordings.open(tmp_path) as recording:
        first, second = (run.id for run in recording.runs())
    found = compared(tmp_path, first, second).runners
    assert list(itertools.chain(*((e.a, e.b) for e in found)))[1:3] == [None, None]
