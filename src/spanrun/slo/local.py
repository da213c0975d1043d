"""Count the events of an objective in what was recorded: each of them, exactly.

All jobs are counted. Calls of clients, and units, are counted from their spans, so only
those whose trace was kept are seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from spanrun import semconv
from spanrun.errors import ConfigurationError
from spanrun.semconv import Metric
from spanrun.slo.check import Verdict, judge
from spanrun.slo.indicator import RESOURCE
from spanrun.slo.model import Latency, Queried, Slo, Where, accepts

_JOBS: Final = (semconv.METRIC_SPANRUN_JOBS, semconv.METRIC_SPANRUN_JOB_DURATION)
_SPANS: Final = {
    semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION: semconv.HTTP_REQUEST_METHOD,
    semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION: semconv.GEN_AI_OPERATION_NAME,
    semconv.METRIC_DB_CLIENT_OPERATION_DURATION: semconv.DB_SYSTEM_NAME,
    semconv.METRIC_SPANRUN_UNIT_DURATION: semconv.SPANRUN_UNIT_NAME,
}
"""The attribute by which the spans are known that a metric counts."""


_KEPT: Final = {metric.name for metric in (*_JOBS, *_SPANS)}


class _Run(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def runner(self) -> str: ...
    @property
    def trace_id(self) -> str | None: ...


class _Job(Protocol):
    @property
    def run(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def duration(self) -> float: ...
    @property
    def trace_id(self) -> str | None: ...


class _Span(Protocol):
    @property
    def trace_id(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


class Recorded(Protocol):
    """What was recorded: a `spanrun.recordings.Recording`."""

    def runs(self, session: str = "") -> Iterable[_Run]:
        """The runs of a session."""
        ...

    def jobs(self, session: str = "", run: str = "") -> Iterable[_Job]:
        """The jobs of a session or a run."""
        ...

    def spans(self, session: str = "") -> Iterable[_Span]:
        """The spans of a session."""
        ...


class Part(NamedTuple):
    """What is looked at: all of a session (one process), or one run in it.

    Attributes:
        session: The id of the session.
        run: The id of the run; empty for all of the session.
    """

    session: str
    run: str = ""


class _Group(NamedTuple):
    """Events with the same attributes, and how many are up to the threshold."""

    attributes: dict[str, str]
    events: int
    within: int


def require_recorded(slos: Sequence[Slo]) -> None:
    """Make sure that recordings have what these objectives count.

    Raises:
        ConfigurationError: One of them counts what isn't recorded.
    """
    for slo in slos:
        indicator = slo.indicator
        counted = "" if isinstance(indicator, Queried) else indicator.metric.name
        if counted not in _KEPT:
            raise ConfigurationError(
                f"{slo.name} counts {counted or 'what a query says'}, which the local "
                "store doesn't keep: "
                "check it with --prometheus, or leave it out"
            )


def check_run(
    recording: Recorded, part: Part, slos: Sequence[Slo]
) -> Sequence[Verdict]:
    """Judge objectives by what was done in ``part``, each group by itself.

    Raises:
        ConfigurationError: What an objective counts isn't recorded.
        StoreError: The recording can't be read.
    """
    return [each for slo in slos for each in _judged(recording, part, slo)]


def _judged(recording: Recorded, of: Part, slo: Slo) -> Iterator[Verdict]:
    """One verdict or, of an objective with groups, one for each that has events."""
    require_recorded([slo])
    indicator = slo.indicator
    assert not isinstance(indicator, Queried)  # noqa: S101 -- just required
    wanted = _known_here(indicator.total)
    by = [name for name in slo.group_by if name not in RESOURCE]
    total: Counter[tuple[str, ...]] = Counter()
    part: Counter[tuple[str, ...]] = Counter()
    if isinstance(indicator, Latency):
        limit, of_part = indicator.threshold, wanted
    else:
        limit, of_part = 0.0, _known_here(indicator.part)
    for group in _groups(recording, of, indicator.metric, limit):
        key = tuple(group.attributes.get(name, "") for name in by)
        if accepts(wanted, group.attributes):
            total[key] += group.events
        if accepts(of_part, group.attributes):
            part[key] += group.within if limit else group.events
    for key in total or {(): 0}:
        yield judge(slo, total[key], part[key], dict(zip(by, key, strict=False)))


def _known_here(where: Where) -> Where:
    """Without the service's own attributes: a local store is of one service."""
    return tuple(match for match in where if match.attribute not in RESOURCE)


def _groups(
    recording: Recorded, of: Part, metric: Metric, limit: float
) -> Iterator[_Group]:
    if metric in _JOBS:
        yield from _jobs(recording, of, limit)
    else:
        yield from _spans(recording, of, _SPANS[metric], limit)


def _jobs(recording: Recorded, of: Part, limit: float) -> Iterator[_Group]:
    runners = {run.id: run.runner for run in recording.runs(of.session)}
    events: Counter[tuple[str, str, str]] = Counter()
    within: Counter[tuple[str, str, str]] = Counter()
    for job in recording.jobs(of.session, of.run):
        # As the metric has it: to be cancelled is no error.
        error = "" if job.outcome == "cancelled" else job.error_type or ""
        kind = runners.get(job.run, ""), job.outcome, error
        events[kind] += 1
        within[kind] += job.duration <= limit
    for kind, count in events.items():
        runner, outcome, error = kind
        attributes = {
            semconv.SPANRUN_RUNNER_NAME: runner,
            semconv.SPANRUN_JOB_OUTCOME: outcome,
            semconv.ERROR_TYPE: error,
        }
        yield _Group(attributes, count, within[kind])


def _spans(
    recording: Recorded, of: Part, known_by: str, limit: float
) -> Iterator[_Group]:
    traces: set[str | None] | None = None
    if of.run:
        traces = {job.trace_id for job in recording.jobs(of.session, of.run)}
        traces |= {
            run.trace_id for run in recording.runs(of.session) if run.id == of.run
        }
    for span in recording.spans(of.session):
        if known_by in span.attributes and (traces is None or span.trace_id in traces):
            attributes = {key: str(each) for key, each in span.attributes.items()}
            yield _Group(attributes, 1, span.duration <= limit)
