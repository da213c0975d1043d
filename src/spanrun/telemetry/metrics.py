"""A runner's metrics: exact, by the names of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from spanrun import semconv
from spanrun.outcome import Timings
from spanrun.semconv import Metric, SpanrunJobOutcome
from spanrun.telemetry.account import Account

_MAX_ERROR_TYPES: Final = 64
_OTHER: Final = "_OTHER"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a runner is doing at this moment, in jobs."""

    limit: int
    running: int
    queued: int
    backing_off: int


class ErrorTypes:
    """Names of error classes, at most 64 of them, so that the label stays bounded."""

    def __init__(self) -> None:
        self._names: dict[type[BaseException], str] = {}

    def name(self, error: BaseException) -> str:
        """The value of ``error.type`` for ``error``."""
        kind = type(error)
        name = self._names.get(kind)
        if name is None:
            if len(self._names) >= _MAX_ERROR_TYPES:
                return _OTHER
            builtin = kind.__module__ in ("builtins", "asyncio.exceptions")
            prefix = "" if builtin else f"{kind.__module__}."
            name = self._names[kind] = f"{prefix}{kind.__qualname__}"
        return name


class Instruments:
    """The OTel instruments, each made at its first use from its registry entry."""

    def __init__(
        self, meter: Meter, account: Account, snapshot: Callable[[], None]
    ) -> None:
        self.snapshot: Final = snapshot
        self._meter: Final = meter
        self._account: Final = account
        self._record: dict[str, Callable[..., None]] = {}
        self.runners: set[RunnerMetrics] = set()
        self._observed()

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> None:
        """Add ``value`` to ``metric``; the span in ``context`` is its exemplar."""
        record = self._record.get(metric.name)
        if record is None:
            record = self._record[metric.name] = self._make(metric)
        record(value, attributes, context)

    def _make(self, metric: Metric) -> Callable[..., None]:
        about = (metric.name, metric.unit, metric.description)
        if metric.instrument == "counter":
            return self._meter.create_counter(*about).add
        if metric.instrument == "updowncounter":
            return self._meter.create_up_down_counter(*about).add
        return self._meter.create_histogram(
            *about, explicit_bucket_boundaries_advisory=metric.boundaries
        ).record

    def _observed(self) -> None:
        """Instruments that are read when metrics are collected, at no cost per job."""

        def gauge(metric: Metric, read: Callable[[Gauges], int]) -> None:
            def observe(_: CallbackOptions) -> Iterable[Observation]:
                return [
                    Observation(read(runner.gauges()), runner.attributes)
                    for runner in tuple(self.runners)
                ]

            self._meter.create_observable_gauge(
                metric.name, [observe], metric.unit, metric.description
            )

        gauge(semconv.METRIC_SPANRUN_RUNNER_LIMIT, lambda now: now.limit)
        gauge(semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT, lambda now: now.running)
        active = semconv.METRIC_SPANRUN_JOB_ACTIVE
        self._meter.create_observable_up_down_counter(
            active.name, [self._active], active.unit, active.description
        )
        items = semconv.METRIC_SPANRUN_TELEMETRY_ITEMS
        self._meter.create_observable_counter(
            items.name, [self._items], items.unit, items.description
        )

    def _active(self, _: CallbackOptions) -> Iterable[Observation]:
        for runner in tuple(self.runners):
            now = runner.gauges()
            for state in semconv.SPANRUN_JOB_STATE_VALUES:
                yield Observation(
                    getattr(now, state),
                    {**runner.attributes, semconv.SPANRUN_JOB_STATE: state},
                )

    def _items(self, _: CallbackOptions) -> Iterable[Observation]:
        for signal, result, reason, count in self._account.results():
            yield Observation(
                count,
                {
                    semconv.SPANRUN_TELEMETRY_SIGNAL: signal,
                    semconv.SPANRUN_TELEMETRY_RESULT: result,
                    semconv.SPANRUN_TELEMETRY_REASON: reason,
                },
            )


class RunnerMetrics:
    """The metrics of one runner. Every job is counted, whatever the sampling."""

    def __init__(
        self, name: str, instruments: Instruments, gauges: Callable[[], Gauges]
    ) -> None:
        self.attributes: Final = {semconv.SPANRUN_RUNNER_NAME: name}
        self.gauges: Final = gauges
        self._record: Final = instruments.record
        self._snapshot: Final = instruments.snapshot
        self._runners: Final = instruments.runners
        self._counted: Final[dict[tuple[str, str], dict[str, str]]] = {}
        self._by_outcome: Final = {
            outcome: {**self.attributes, semconv.SPANRUN_JOB_OUTCOME: outcome}
            for outcome in semconv.SPANRUN_JOB_OUTCOME_VALUES
        }
        self._by_phase: Final = [
            {**self.attributes, semconv.SPANRUN_JOB_PHASE: phase}
            for phase in semconv.SPANRUN_JOB_PHASE_VALUES
        ]

    def open(self) -> None:
        """Make every series start at zero: `rate` needs a point before the first."""
        self._runners.add(self)
        for attributes in self._by_outcome.values():
            self._record(semconv.METRIC_SPANRUN_JOBS, 0, attributes)
        for attributes in self._by_phase:
            self._record(semconv.METRIC_SPANRUN_JOB_PHASE_TIME, 0, attributes)
        self._snapshot()

    def close(self) -> None:
        """Send the last values, and stop reporting what the runner is doing."""
        self._snapshot()
        self._runners.discard(self)

    def job(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        error_type: str | None,
        context: Context | None,
    ) -> None:
        """A job ended; the span in ``context`` becomes its exemplar."""
        by_outcome = self._by_outcome[outcome]
        counted = by_outcome
        if error_type is not None:
            counted = self._with_error(
                semconv.METRIC_SPANRUN_JOBS, by_outcome, outcome, error_type
            )
        record = self._record
        record(semconv.METRIC_SPANRUN_JOBS, 1, counted, context)
        record(
            semconv.METRIC_SPANRUN_JOB_DURATION, timings.duration, by_outcome, context
        )
        for attributes, (_, seconds) in zip(
            self._by_phase, timings.phases(), strict=True
        ):
            if seconds:
                record(semconv.METRIC_SPANRUN_JOB_PHASE_TIME, seconds, attributes)

    def retry(self, error_type: str) -> None:
        """An attempt failed and another one follows."""
        retries = semconv.METRIC_SPANRUN_JOB_RETRIES
        attributes = self._with_error(retries, self.attributes, "retry", error_type)
        self._record(retries, 1, attributes)

    def batch(self, items: int, seconds: float, context: Context | None) -> None:
        """A batch ended."""
        self._record(semconv.METRIC_SPANRUN_BATCH_SIZE, items, self.attributes, context)
        self._record(
            semconv.METRIC_SPANRUN_BATCH_DURATION, seconds, self.attributes, context
        )

    def _with_error(
        self, metric: Metric, base: Mapping[str, str], kind: str, error_type: str
    ) -> dict[str, str]:
        """The labels of a series that an error begins, started at zero as well."""
        attributes = self._counted.get((kind, error_type))
        if attributes is None:
            attributes = {**base, semconv.ERROR_TYPE: error_type}
            self._counted[kind, error_type] = attributes
            self._record(metric, 0, attributes)
            self._snapshot()
        return attributes
