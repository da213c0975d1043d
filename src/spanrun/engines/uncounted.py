"""`UncountedMetrics`: those of jobs that are counted in another process."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import NoOpMeter

from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.instruments import (
    Instruments,
    NativeInstruments,
    RunnerMetrics,
)
from spanrun.telemetry.metrics.runners import Gauges


class UncountedMetrics(RunnerMetrics):
    """Metrics of a runner that go nowhere: the driver counts jobs by their outcomes.

    A worker that counted them itself would take with it what it had not exported yet.

    Args:
        name: Of the runner.
        retried: Told of each attempt that another one follows: the type of its error.
        recorded: Spans are recorded here, by what is compiled if there is that.
    """

    def __init__(
        self, name: str, retried: Callable[[str], object], *, recorded: bool
    ) -> None:
        super().__init__(name, _instruments(recorded=recorded), _nothing)
        self._is_retried = retried
        self.open()

    def retry(self, error_type: str) -> None:
        """An attempt failed and another one follows."""
        self._is_retried(error_type)


def _instruments(*, recorded: bool) -> Instruments:
    meter, account = NoOpMeter("spanrun"), Account()
    if not recorded:
        return Instruments(meter, account, _ignore)
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- 60 ms

    from spanrun.telemetry.metrics.aggregate import Aggregator  # noqa: PLC0415

    nowhere = Aggregator(Resource.get_empty, exemplars=False)
    return NativeInstruments(meter, account, _ignore, _ignore, nowhere)


def _nothing() -> Gauges:
    return Gauges(0, 0, 0, 0, 0)


def _ignore(*_: object) -> None:
    """What is told goes nowhere."""
