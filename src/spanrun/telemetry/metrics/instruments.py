"""A runner's metrics: exact, by the names of the registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry.metrics import Meter
from opentelemetry.trace import set_span_in_context

from spanrun import semconv
from spanrun.semconv import Metric, SpanrunJobOutcome
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.observed import Failed, Observed
from spanrun.telemetry.metrics.policies import PolicyMetrics, Reading
from spanrun.telemetry.metrics.runners import Gauges, Runners

if TYPE_CHECKING:  # they need the SDK, which only `configure` loads, or these here
    from spanrun.telemetry.metrics.aggregate import Aggregator
    from spanrun.telemetry.metrics.fallback import Cell, JobCells
    from spanrun.telemetry.units.recorder import OpenSpan


class Adds(Protocol):
    """Adds to one series."""

    def add(self, value: float, span: OpenSpan | None = None) -> None:
        """Add ``value``; ``span`` may become its exemplar."""
        ...


class AddsJob(Protocol):
    """Adds a job to all series in which it counts."""

    def add(
        self, seconds: float, parts: tuple[float, ...], span: OpenSpan | None = None
    ) -> None:
        """Add a job that took ``seconds``, with the ``parts`` of its phases."""
        ...


class Instruments:
    """The OTel instruments, each made at its first use from its registry entry.

    Attributes:
        runners: Those that are open; what they do is read at each collection.
    """

    def __init__(self, meter: Meter, account: Account, failed: Failed) -> None:
        self.runners: Final = Runners()
        self._meter: Final = meter
        self._failed: Final = failed
        self._add: Final[dict[str, Callable[..., None]]] = {}
        Observed(meter, self.runners, account, failed)

    def snapshot(self) -> None:
        """Export the metrics soon.

        Where the application owns the pipeline, it decides that.
        """

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: OpenSpan | None = None,
    ) -> None:
        """Add ``value`` to ``metric``; ``span`` may become its exemplar.

        Of ``attributes`` those count that the registry gives to the metric.
        """
        labels = {
            key: attributes[key] for key in metric.attributes if key in attributes
        }
        try:
            add = self._add.get(metric.name)
            if add is None:
                add = self._add[metric.name] = self._make(metric)
            add(value, labels, None if span is None else set_span_in_context(span.otel))
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._failed("metrics", error)

    def bind(self, metric: Metric, labels: Mapping[str, Any]) -> Adds:
        """What adds to one series."""
        return _Bound(self, metric, labels)

    def series(self, metric: Metric, attributes: Mapping[str, Any]) -> Adds:
        """Return what adds to the one series that `record` would add to."""
        has = {key: attributes[key] for key in metric.attributes if key in attributes}
        return self.bind(metric, has)

    def bind_job(self, count: Any, duration: Any, phases: Sequence[Any]) -> AddsJob:
        """What adds a job to series of `bind`."""
        return _BoundJob(count, duration, phases)

    def peek(self, series: Sequence[Adds]) -> list[tuple[Any, ...]] | None:  # noqa: ARG002 -- of natives
        """What these ``series`` of `bind` hold; None where the application has that."""
        return None

    def _make(self, metric: Metric) -> Callable[..., None]:
        about = (metric.name, metric.unit, metric.description)
        if metric.instrument == "counter":
            return self._meter.create_counter(*about).add
        if metric.instrument == "updowncounter":
            return self._meter.create_up_down_counter(*about).add
        return self._meter.create_histogram(
            *about, explicit_bucket_boundaries_advisory=metric.boundaries
        ).record


@dataclass(frozen=True, slots=True)
class _Bound:
    instruments: Instruments
    metric: Metric
    labels: Mapping[str, Any]

    def add(self, value: float, span: OpenSpan | None = None) -> None:
        self.instruments.record(self.metric, value, self.labels, span)


@dataclass(frozen=True, slots=True)
class _BoundJob:
    count: Adds
    duration: Adds
    phases: Sequence[Adds]

    def add(
        self, seconds: float, parts: tuple[float, ...], span: OpenSpan | None = None
    ) -> None:
        self.count.add(1, span)
        self.duration.add(seconds, span)
        for phase, part in zip(self.phases, parts, strict=True):
            if part:
                phase.add(part)


class NativeInstruments(Instruments):
    """Aggregates in place; only what is read at a collection goes through the SDK."""

    def __init__(
        self,
        meter: Meter,
        account: Account,
        failed: Failed,
        snapshot: Callable[[], None],
        aggregator: Aggregator,
    ) -> None:
        super().__init__(meter, account, failed)
        self._snapshot: Final = snapshot
        self._aggregator: Final = aggregator

    def snapshot(self) -> None:
        """Export the metrics soon."""
        self._snapshot()

    def record(
        self,
        metric: Metric,
        value: float,
        attributes: Mapping[str, Any],
        span: OpenSpan | None = None,
    ) -> None:
        """Add ``value`` to ``metric``; ``span`` may become its exemplar."""
        self._aggregator.record(metric, value, attributes, span)

    def bind(self, metric: Metric, labels: Mapping[str, Any]) -> Cell:
        """What adds to one series."""
        return self._aggregator.cell(metric, labels)

    def bind_job(self, count: Any, duration: Any, phases: Sequence[Any]) -> JobCells:
        """What adds a job to series of `bind`: to all of them at once."""
        return self._aggregator.job_cells(count, duration, phases)

    def peek(self, series: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What these ``series`` of `bind` hold; nothing begins anew by that."""
        return self._aggregator.group.read(series, peek=True)


class Totals(NamedTuple):
    """What the metrics of a runner hold of its jobs.

    Attributes:
        ended: How many there are, by outcome and type of error.
        durations: The buckets of how long they took, as cells give them, by outcome.
    """

    ended: Mapping[tuple[str, str | None], int]
    durations: Sequence[tuple[Any, ...]]


class RunnerMetrics:
    """The metrics of one runner. Every job is counted, whatever the sampling.

    Each series starts at zero and is exported so: `rate` needs a point before
    the first. That goes for one that an error begins in mid-run, too.

    Attributes:
        name: The runner's.
        label: What its metrics are labelled with: ``name``, or ``_OTHER``.
        policies: What its policies decide.
    """

    def __init__(
        self, name: str, instruments: Instruments, gauges: Callable[[], Gauges]
    ) -> None:
        self.name: Final = name
        self.label: Final = instruments.runners.name_of(name)
        self.attributes: Final = {semconv.SPANRUN_RUNNER_NAME: self.label}
        self.gauges: Final = gauges
        self.policies: Final = PolicyMetrics(self.label, instruments)
        self._instruments: Final = instruments
        self._jobs: Final[dict[tuple[str, str | None], AddsJob]] = {}
        self._counts: Final[dict[tuple[str, str | None], Adds]] = {}
        self._durations: Final[dict[str, Adds]] = {}
        self._phases: Final[list[Adds]] = []
        self._retries: Final[dict[str, Adds]] = {}
        self._blocked: Adds | None = None
        self._late: Adds | None = None
        self._process: Final = os.getpid()

    def open(self, policies: Iterable[Reading] = ()) -> None:
        """Export the zero points, those of ``policies`` as well."""
        instruments = self._instruments
        self.policies.begin(policies)
        instruments.runners.open(self.label, self.gauges)
        for outcome in semconv.SPANRUN_JOB_OUTCOME_VALUES:
            labels = {**self.attributes, semconv.SPANRUN_JOB_OUTCOME: outcome}
            count = self._begin(semconv.METRIC_SPANRUN_JOBS, labels)
            self._counts[outcome, None] = count
            self._durations[outcome] = instruments.bind(
                semconv.METRIC_SPANRUN_JOB_DURATION, labels
            )
        for phase in semconv.SPANRUN_JOB_PHASE_VALUES:
            labels = {**self.attributes, semconv.SPANRUN_JOB_PHASE: phase}
            self._phases.append(
                self._begin(semconv.METRIC_SPANRUN_JOB_PHASE_TIME, labels)
            )
        for (outcome, _), count in self._counts.items():
            self._jobs[outcome, None] = instruments.bind_job(
                count, self._durations[outcome], self._phases
            )
        self._blocked = self._begin(
            semconv.METRIC_SPANRUN_LOOP_BLOCKED, self.attributes
        )
        self._late = self._begin(semconv.METRIC_SPANRUN_JOB_LATE, self.attributes)
        instruments.snapshot()

    def close(self) -> None:
        """Export the last values, and stop reporting what the runner is doing."""
        self._instruments.runners.close(self.label, self.gauges)
        self._instruments.snapshot()

    def job(
        self,
        seconds: float,
        parts: tuple[float, ...],
        outcome: SpanrunJobOutcome,
        error_type: str | None,
        span: OpenSpan | None,
    ) -> None:
        """A job ended.

        Args:
            seconds: That it took.
            parts: Of its time, phase by phase.
            outcome: How it ended.
            error_type: By which error.
            span: Its own, which may become an exemplar; None if it isn't here.
        """
        found = self._jobs.get((outcome, error_type))
        if found is None:
            found = self._new_error(outcome, error_type)
        found.add(seconds, parts, span)

    def of_success(self) -> AddsJob:
        """Return what `job` adds a job to that succeeds."""
        return self._jobs["ok", None]

    def totals(self) -> Totals | None:
        """What there is of the runner's jobs; None where the application has that."""
        counts, durations = dict(self._counts), list(self._durations.values())
        read = self._instruments.peek([*counts.values(), *durations])
        if read is None:
            return None
        ended = {key: int(value[0]) for key, value in zip(counts, read, strict=False)}
        return Totals(ended, read[len(counts) :])

    def retry(self, error_type: str) -> None:
        """An attempt failed and another one follows."""
        count = self._retries.get(error_type)
        if count is None:
            labels = {**self.attributes, semconv.ERROR_TYPE: error_type}
            count = self._begin(semconv.METRIC_SPANRUN_JOB_RETRIES, labels)
            self._retries[error_type] = count
            self._instruments.snapshot()
        count.add(1)

    def blocked(self) -> None:
        """A step of the runner blocks the event loop."""
        assert self._blocked is not None  # noqa: S101 -- made in `open`
        self._blocked.add(1)

    def late(self) -> None:
        """A job has ended that was abandoned before."""
        assert self._late is not None  # noqa: S101 -- made in `open`
        self._late.add(1)

    def batch(self, items: int, seconds: float, span: OpenSpan) -> None:
        """A batch ended."""
        record = self._instruments.record
        labels = self.attributes
        record(semconv.METRIC_SPANRUN_BATCH_SIZE, items, labels, span)
        record(semconv.METRIC_SPANRUN_BATCH_DURATION, seconds, labels, span)

    def _new_error(self, outcome: SpanrunJobOutcome, error_type: str | None) -> AddsJob:
        if os.getpid() != self._process:
            return self.of_success()  # in a fork's child nobody reads any of these
        labels = {
            **self.attributes,
            semconv.SPANRUN_JOB_OUTCOME: outcome,
            semconv.ERROR_TYPE: error_type,
        }
        count = self._begin(semconv.METRIC_SPANRUN_JOBS, labels)
        self._counts[outcome, error_type] = count
        found = self._instruments.bind_job(
            count, self._durations[outcome], self._phases
        )
        self._jobs[outcome, error_type] = found
        self._instruments.snapshot()
        return found

    def _begin(self, metric: Metric, labels: Mapping[str, Any]) -> Adds:
        add = self._instruments.bind(metric, labels)
        add.add(0)
        return add
