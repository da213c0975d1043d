"""The rules against a count by hand, of processes that come, go and fail at random.

The count knows nothing of PromQL: an event happens at a minute, and is counted at the
next one.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.slo.files import AVAILABILITY, FAILED, OK, rules_of
from tests.slo.promtool import Values, counter, evaluate, nothing, program

from spanrun.slo.burn import MINUTES

WINDOWS = {**MINUTES, "period": 30 * 1_440}


@dataclass
class Process:
    """Its jobs by minute, good and bad, from ``start`` on; the first one at once.

    ``zero`` is whether its counters were exported before the first job.
    """

    start: int
    jobs: Sequence[tuple[int, int]]
    zero: bool

    def series(self, number: int) -> Mapping[str, Values]:
        before = nothing(self.start - 1) if self.zero else nothing(self.start)
        good, bad = ([each[part] for each in self.jobs] for part in (0, 1))
        skip = 0 if self.zero else 1
        return {
            OK % number: [*before, *counter(good)[skip:]],
            FAILED % number: [*before, *counter(bad)[skip:]],
        }


processes = st.builds(
    Process,
    start=st.integers(1, 150),
    jobs=st.lists(
        st.tuples(st.integers(0, 1_000), st.integers(0, 50)), min_size=1, max_size=40
    ),
    zero=st.booleans(),
)


def counted(running: Sequence[Process], window: int, now: int) -> tuple[float, float]:
    """Good and bad events of the window that ends at the minute ``now``."""
    good = bad = 0.0
    for process in running:
        for minute, (more_good, more_bad) in enumerate(process.jobs, process.start):
            if now - window < minute + 1 <= now:
                good += more_good
                bad += more_bad
    return good, bad


# To shrink what fails would start promtool hundreds of times.
@settings(max_examples=12, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(st.lists(processes, min_size=1, max_size=4), st.integers(5, 220))
def test_rules_count_as_by_hand(running: list[Process], now: int) -> None:
    series: dict[str, Values] = {}
    for number, process in enumerate(running):
        series |= process.series(number)
    expected: dict[tuple[int, str], float | None] = {}
    for name, window in WINDOWS.items():
        good, bad = counted(running, window, now)
        expected[now, f"slo:total:increase_{name}"] = good + bad
        expected[now, f"slo:bad:increase_{name}"] = bad
        ratio = bad / (good + bad) if good + bad else None
        expected[now, f"slo:bad:ratio_{name}"] = ratio
    _, bad = counted(running, WINDOWS["period"], 1_000)
    every = sum(good + bad for process in running for good, bad in process.jobs)
    expected[230, "slo:total:increase_period"] = every
    expected[230, "slo:bad:increase_period"] = bad
    left = 1 - bad / every / 0.01 if every else 1
    expected[230, "slo:budget_remaining:ratio"] = left
    with tempfile.TemporaryDirectory() as folder:
        evaluate(rules_of(Path(folder), AVAILABILITY), series, expected)


def test_the_count_by_hand_can_fail(tmp_path: Path) -> None:
    program()
    one = Process(1, [(10, 0)], zero=True)
    with pytest.raises(AssertionError, match="got"):
        evaluate(
            rules_of(tmp_path, AVAILABILITY),
            one.series(1),
            {(30, "slo:total:increase_period"): 11},
        )
