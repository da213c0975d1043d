"""When each wait of a job was: the phases of its ledger, on the axis of its trace.

The ledger says how long a job waited; the order of its layers (`policies.base.ORDER`)
and its attempts say when. So nothing is recorded for it while jobs run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from spanrun import semconv
from spanrun.checks import each
from spanrun.semconv import SpanrunJobPhase
from spanrun.telemetry.recordings.records import Span


class Wait(NamedTuple):
    """A time in which a job waited for something of its runner's.

    Attributes:
        span_id: Of the job's span.
        phase: ``"queue"``, ``"limit"``, ``"rate_limit"`` or ``"backoff"``.
        start_ns: When it began, in nanoseconds since the Unix epoch.
        end_ns: When it was over.
    """

    span_id: str
    phase: SpanrunJobPhase
    start_ns: int
    end_ns: int


def waits(spans: Iterable[Span]) -> list[Wait]:
    """The waits of the jobs among these spans of a trace, by their starts.

    A wait is as long as its phase, in which a blocked event loop doesn't count. What a
    hedge's second call waited isn't told apart from what the first one did, and isn't
    in it.

    Raises:
        ConfigurationError: ``spans`` is no list or the like.

    Example:
        >>> import asyncio, spanrun
        >>> from spanrun import recordings
        >>> _ = spanrun.configure()
        >>> async def main():
        ...     async with spanrun.Runner("nap", limit=1) as runner:
        ...         await asyncio.gather(*(
        ...             runner.call(asyncio.sleep, 0.01) for _ in range(2)
        ...         ))
        >>> spanrun.run(main())
        >>> _ = spanrun.shutdown()
        >>> with recordings.open() as recording:
        ...     traces = [job.trace_id for job in recording.jobs()]
        ...     found = recordings.waits(recording.trace(traces[-1]))
        >>> any(wait.phase == "limit" for wait in found)
        True
    """
    attempts: defaultdict[str, list[Span]] = defaultdict(list)
    jobs: list[Span] = []
    for span in each("waits", "spans", spans, "spans"):
        if semconv.SPANRUN_ATTEMPT_NUMBER in span.attributes and span.parent_id:
            attempts[span.parent_id].append(span)
        elif semconv.SPANRUN_JOB_TIME_QUEUE in span.attributes:
            jobs.append(span)
    found = [
        wait
        for job in jobs
        for wait in _of(job, sorted(attempts[job.span_id], key=attrgetter("start_ns")))
    ]
    return sorted(found, key=attrgetter("start_ns"))


def _of(job: Span, attempts: Sequence[Span]) -> Iterator[Wait]:
    told = job.attributes
    at, queue = job.start_ns, _nanoseconds(told, semconv.SPANRUN_JOB_TIME_QUEUE)
    yield from _one(job, "queue", at, queue)
    if not attempts:  # none had a span of its own
        names = semconv.SPANRUN_JOB_TIME_LIMIT, semconv.SPANRUN_JOB_TIME_RATE_LIMIT
        yield from _in_turn(job, at + queue, told, names)
    names = semconv.SPANRUN_ATTEMPT_TIME_LIMIT, semconv.SPANRUN_ATTEMPT_TIME_RATE_LIMIT
    backoff = _nanoseconds(told, semconv.SPANRUN_JOB_TIME_BACKOFF)
    for place, attempt in enumerate(attempts):
        yield from _in_turn(job, attempt.start_ns, attempt.attributes, names)
        following = attempts[place + 1 : place + 2]
        until = following[0].start_ns if following else job.end_ns
        took = min(backoff, max(0, until - attempt.end_ns))
        backoff -= took
        yield from _one(job, "backoff", attempt.end_ns, took)


def _in_turn(
    job: Span, at: int, told: Mapping[str, Any], names: tuple[str, str]
) -> Iterator[Wait]:
    """First for a slot, then for a token."""
    phases: tuple[SpanrunJobPhase, SpanrunJobPhase] = "limit", "rate_limit"
    for phase, name in zip(phases, names, strict=True):
        took = _nanoseconds(told, name)
        yield from _one(job, phase, at, took)
        at += took


def _one(job: Span, phase: SpanrunJobPhase, at: int, took: int) -> Iterator[Wait]:
    end = min(at + took, job.end_ns)
    if end > at:
        yield Wait(job.span_id, phase, at, end)


def _nanoseconds(told: Mapping[str, Any], name: str) -> int:
    seconds: float = told.get(name, 0.0)
    return round(seconds * 1e9)
