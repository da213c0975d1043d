"""What a reader of recordings gives: sessions, runs, jobs, traces and spans.

Jobs and traces are many: they are tuples with names, which are made in a third of the
time that a dataclass takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from spanrun import semconv
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES

PHASES: Final = len(SPANRUN_JOB_PHASE_VALUES)
TIMES: Final = (
    semconv.SPANRUN_JOB_TIME_QUEUE,
    semconv.SPANRUN_JOB_TIME_LIMIT,
    semconv.SPANRUN_JOB_TIME_RATE_LIMIT,
    semconv.SPANRUN_JOB_TIME_BACKOFF,
    semconv.SPANRUN_JOB_TIME_BUSY,
    semconv.SPANRUN_JOB_TIME_LOOP_LAG,
    semconv.SPANRUN_JOB_TIME_SERVICE,
)
"""The attributes of a job's span with its phases, in their order."""

T = TypeVar("T", bound=tuple[Any, ...])


def made(kind: type[T], *columns: Iterable[Any]) -> Iterator[T]:
    """A named tuple of ``kind`` for each row of its fields, all of one length.

    It goes past ``kind._make``, which takes twice the time.
    """
    new: Callable[..., Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- of tuples of anything
    return map(partial(new, kind), zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Session:
    """One process that recorded.

    Times are in nanoseconds since the Unix epoch.

    Attributes:
        id: Random hex digits.
        started_ns: When it switched telemetry on.
        written_ns: When something was last written of it.
        pid: Of the process.
        command: Its arguments, without secrets.
        forgotten: Jobs, spans and events that were deleted as the file had become too
            large.
    """

    id: str
    started_ns: int
    written_ns: int
    pid: int
    command: str
    forgotten: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a runner: a `map`, a `stream`, or all its single calls.

    Attributes:
        id: Random hex digits.
        session: The id of its session.
        runner: The runner's name.
        total: How many jobs there were to be, where that was known.
        trace_id: Of its span, in hexadecimal digits; None without one.
        started_ns: In nanoseconds since the Unix epoch.
        ended_ns: The same; None while it is open, and where its process died.
        calls: These are single calls.
        source_wait: Seconds in which there was room for a job, and its source, an
            asynchronous one, gave no item; waits below a millisecond don't count.
        consumer_wait: Seconds in which no job could begin, as the outcomes that there
            were had not been taken.
        events_left_out: How many of its events weren't kept, as there were too many.
        policies: The runner's, as an object of JSON; None where they weren't kept.
    """

    id: str
    session: str
    runner: str
    total: int | None
    trace_id: str | None
    started_ns: int
    ended_ns: int | None
    calls: bool
    source_wait: float
    consumer_wait: float
    events_left_out: int
    policies: str | None


class Job(NamedTuple):
    """A job that was recorded, and where its time went, in seconds.

    Attributes:
        run: The id of its run.
        index: Its place among the items of its run.
        key: The user's name for it, as a text.
        submitted: When, counted from the beginning of its run.
        duration: From submission to the outcome.
        queue: Until its task first ran.
        limit: Waiting for a slot.
        rate_limit: Waiting for a token, or a pause that the service asked for.
        backoff: Waiting before another attempt.
        busy: Running on the event loop.
        loop_lag: Ready to run, while something else blocked the event loop.
        service: Waiting for what it had called.
        attempts: How many there were.
        outcome: ``"ok"``, ``"failed"``, ``"timed_out"`` or ``"cancelled"``.
        error_type: The class of its error; None without one.
        error: What the error says; None without one.
        trace_id: In hexadecimal digits; None where it had no trace. Whether that was
            kept, `Recording.trace` tells.
    """

    run: str
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] -- tuples have one
    key: str | None
    submitted: float
    duration: float
    queue: float
    limit: float
    rate_limit: float
    backoff: float
    busy: float
    loop_lag: float
    service: float
    attempts: int
    outcome: str
    error_type: str | None
    error: str | None
    trace_id: str | None

    @property
    def phases(self) -> dict[str, float]:
        """Each phase's name and seconds, in the order in which a job meets them."""
        return dict(zip(SPANRUN_JOB_PHASE_VALUES, self.seconds, strict=True))

    @property
    def seconds(self) -> tuple[float, ...]:
        """The seconds of each phase, in that order."""
        return self[5:12]  # pyright: ignore[reportReturnType] -- these are


class Trace(NamedTuple):
    """The topmost span that a trace has in one process.

    Attributes:
        id: Of the trace, in hexadecimal digits.
        name: The span's.
        start_ns: In nanoseconds since the Unix epoch.
        duration: In seconds.
        failed: Its status is ERROR.
    """

    id: str
    name: str
    start_ns: int
    duration: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a span; see `RunEvent` for what isn't of one."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    """Another span, which may be in another trace."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A log record that was kept. Ids are in hexadecimal digits.

    Attributes:
        time_ns: In nanoseconds since the Unix epoch.
        severity: OTLP's number: 9 is INFO, 13 WARNING, 17 ERROR.
        level: What it is called.
        body: A text as a rule.
        trace_id: Of the trace that it was made in; None outside of any.
        span_id: Of the span.
        attributes: By name: of the job, of the line that made it, and its own.
        logger: The name of the logger.
    """

    time_ns: int
    severity: int
    level: str
    body: Any
    trace_id: str | None
    span_id: str | None
    attributes: Mapping[str, Any]
    logger: str


@dataclass(frozen=True, slots=True)
class Span:
    """A span that was kept. Ids are in hexadecimal digits.

    Attributes:
        trace_id: Of its trace.
        span_id: Its own.
        parent_id: Of the span that it is below; None for the topmost one.
        name: What it is called.
        kind: ``"INTERNAL"``, ``"CLIENT"`` and so on.
        start_ns: In nanoseconds since the Unix epoch.
        end_ns: The same.
        status: ``"UNSET"``, ``"OK"`` or ``"ERROR"``.
        status_text: What is said of an error; may be empty.
        attributes: By name.
        events: In their order.
        links: The same.
        scope: The name of the library that made it.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_text: str
    attributes: Mapping[str, Any]
    events: Sequence[Event]
    links: Sequence[Link]
    scope: str

    @property
    def duration(self) -> float:
        """In seconds."""
        return (self.end_ns - self.start_ns) / 1e9
