"""`PolicyMetrics`: what the policies of a runner decide, counted; and `Reading`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spanrun import semconv
from spanrun.semconv import Metric

if TYPE_CHECKING:
    from spanrun.telemetry.metrics.instruments import Adds, Instruments


class Reading(NamedTuple):
    """One series of a runner's.

    Attributes:
        metric: It has the runner's name, and one more attribute at most.
        value: Of that attribute; empty where it has none.
    """

    metric: Metric
    value: str = ""

    def labels(self, runner: str) -> dict[str, Any]:
        """The series' attributes."""
        labels = {semconv.SPANRUN_RUNNER_NAME: runner}
        for attribute in self.metric.attributes:
            if attribute != semconv.SPANRUN_RUNNER_NAME:
                labels[attribute] = self.value
        return labels


Readings = Mapping[Reading, float]

OBSERVED: Final = (
    semconv.METRIC_SPANRUN_BREAKER_STATUS,
    semconv.METRIC_SPANRUN_RATE_LIMIT_RATE,
    semconv.METRIC_SPANRUN_RATE_LIMIT_TOKENS,
    semconv.METRIC_SPANRUN_RATE_LIMIT_WAITS,
    semconv.METRIC_SPANRUN_RETRY_BUDGET,
)
"""Those that are read when metrics are collected, at no cost per job."""


class PolicyMetrics:
    """Counts what policies of one runner decide.

    Args:
        runner: What its metrics are labelled with.
        instruments: Have the series.
    """

    def __init__(self, runner: str, instruments: Instruments) -> None:
        self._runner: Final = runner
        self._instruments: Final = instruments
        self._counts: Final[dict[Reading, Adds]] = {}

    def begin(self, series: Iterable[Reading]) -> None:
        """Have zero points of these: `rate` needs a point before the first."""
        for each in series:
            count = self._instruments.bind(each.metric, each.labels(self._runner))
            count.add(0)
            self._counts[each] = count

    def count(self, metric: Metric, value: str = "") -> None:
        """Count one decision."""
        series = Reading(metric, value)
        if series not in self._counts:
            self.begin([series])
            self._instruments.snapshot()
        self._counts[series].add(1)
