"""`Observed`: what is read when metrics are collected, at no cost per job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from spanrun import semconv
from spanrun.semconv import Metric, SpanrunTelemetrySignal
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.policies import OBSERVED
from spanrun.telemetry.metrics.runners import Gauges, Runners

Failed: TypeAlias = Callable[[SpanrunTelemetrySignal, Exception], object]
"""Told of what a meter of somebody else raises."""
Read: TypeAlias = Callable[[CallbackOptions], Iterator[Observation]]

_MAKE: Final = {
    "counter": "create_observable_counter",
    "gauge": "create_observable_gauge",
    "updowncounter": "create_observable_up_down_counter",
}


class Observed:
    """The instruments that show what open runners do, and what became of telemetry.

    Args:
        meter: Makes them.
        runners: The open ones.
        account: Has counted what became of the telemetry.
        failed: Told of what the meter raises.
    """

    def __init__(
        self, meter: Meter, runners: Runners, account: Account, failed: Failed
    ) -> None:
        self._meter: Final = meter
        self._runners: Final = runners
        self._account: Final = account
        self._failed: Final = failed
        # Read first, as it was made first: what the others give is of that moment.
        self._add(semconv.METRIC_SPANRUN_RUNNER_LIMIT, self._limit)
        running = self._gauge(lambda now: now.running)
        self._add(semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT, running)
        stuck = self._gauge(lambda now: now.stuck)
        self._add(semconv.METRIC_SPANRUN_RUNNER_STUCK, stuck)
        age = self._gauge(lambda now: now.queue_age)
        self._add(semconv.METRIC_SPANRUN_RUNNER_QUEUE_AGE, age)
        self._add(semconv.METRIC_SPANRUN_JOB_ACTIVE, self._active)
        self._add(semconv.METRIC_SPANRUN_TELEMETRY_ITEMS, self._items)
        for metric in OBSERVED:
            self._add(metric, self._policy(metric))

    def _add(self, metric: Metric, read: Read) -> None:
        try:
            make: Any = getattr(self._meter, _MAKE[metric.instrument])
            make(metric.name, [read], metric.unit, metric.description)
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("metrics", error)

    def _limit(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, now in self._runners.read().items():
            yield Observation(now.limit, {semconv.SPANRUN_RUNNER_NAME: name})

    def _gauge(self, read: Callable[[Gauges], float]) -> Read:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for name, now in self._runners.now.items():
                yield Observation(read(now), {semconv.SPANRUN_RUNNER_NAME: name})

        return observe

    def _policy(self, metric: Metric) -> Read:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for name, readings in self._runners.policies.items():
                for series, value in readings.items():
                    if series.metric is metric:
                        yield Observation(value, series.labels(name))

        return observe

    def _active(self, _: CallbackOptions) -> Iterator[Observation]:
        for name, now in self._runners.now.items():
            for state in semconv.SPANRUN_JOB_STATE_VALUES:
                labels = {
                    semconv.SPANRUN_RUNNER_NAME: name,
                    semconv.SPANRUN_JOB_STATE: state,
                }
                yield Observation(getattr(now, state), labels)

    def _items(self, _: CallbackOptions) -> Iterator[Observation]:
        for signal, result, reason, count in self._account.results():
            labels = {
                semconv.SPANRUN_TELEMETRY_SIGNAL: signal,
                semconv.SPANRUN_TELEMETRY_RESULT: result,
                semconv.SPANRUN_TELEMETRY_REASON: reason,
            }
            yield Observation(count, labels)
