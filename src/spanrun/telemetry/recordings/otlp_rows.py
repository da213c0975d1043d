"""What spans of OTLP tell: jobs with their ledger, runs, and rows of other programs.

A job's span of spanrun says all of a job but for when its run began. Of another SDK's
spans each local root is a row: its name is the runner, and all its time is `service`,
as nobody measured its phases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from math import isfinite
from typing import Any, Final, NamedTuple

from spanrun import semconv
from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES, SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.records import TIMES
from spanrun.telemetry.recordings.rows import are_policies
from spanrun.telemetry.recordings.spans import HEADER
from spanrun.telemetry.span import ERROR, ROOT
from spanrun.telemetry.span.decode import mapping
from spanrun.telemetry.span.wire import varint

_TRACE_ID: Final = 16
_SPAN_ID: Final = 8
_RUN_ID: Final = 16
_KNOWN: Final = 0x100  # whether the parent is remote
_REMOTE: Final = 0x200
_SERVED: Final = (2, 5)  # SERVER, CONSUMER
_KINDS: Final = 6
_CODES: Final = 3
_FAILED: Final = 2
_MAX_SECONDS: Final = 1e10
_MAX_INT: Final = 2**63
_EVENTS: Final[dict[str, tuple[str, Mapping[str, str]]]] = {
    semconv.EVENT_SPANRUN_JOB_RETRY: (
        "retry",
        {semconv.ERROR_TYPE: "error", semconv.SPANRUN_JOB_RETRY_DELAY: "delay"},
    ),
    semconv.EVENT_SPANRUN_JOB_HEDGE: (
        "hedge",
        {semconv.SPANRUN_JOB_HEDGE_AFTER: "after"},
    ),
    semconv.EVENT_SPANRUN_RUNNER_BREAKER: (
        "breaker",
        {semconv.SPANRUN_BREAKER_STATE: "state"},
    ),
    semconv.EVENT_SPANRUN_RUNNER_OUTAGE: (
        "outage",
        {semconv.SPANRUN_OUTAGE_STATE: "state"},
    ),
    semconv.EVENT_SPANRUN_LOOP_BLOCKED: (
        "blocked",
        {semconv.SPANRUN_LOOP_BLOCKED_DURATION: "seconds"},
    ),
}
_FRAME: Final = re.compile(r'File "([^"\n]{1,500})", line (\d{1,9}), in ([^\n]{1,200})')


class RunTold(NamedTuple):
    """What a span tells of a run; ``ended`` is 0 where it is a job's."""

    id: str
    runner: str
    started: int
    ended: int = 0
    total: int | None = None
    trace: str | None = None
    policies: str | None = None


class JobTold(NamedTuple):
    """A job, in the order of `row_of_values`; its index is None for one in a row."""

    index: int | None  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] -- tuples have one
    seconds: tuple[float, ...]
    attempts: int
    outcome: str
    trace: bytes
    texts: tuple[str | None, str | None, str | None]


def normal(span: Any) -> bool:
    """Make ``span`` one that can be kept; False if it has no ids.

    Kinds and codes that OTLP hasn't are 0, and an end before the start is the start.
    """
    ids = len(span.trace_id), len(span.span_id), len(span.parent_span_id)
    if ids[:2] != (_TRACE_ID, _SPAN_ID) or not any(span.trace_id):
        return False
    if ids[2] != _SPAN_ID or not any(span.parent_span_id):
        span.ClearField("parent_span_id")
    if not 0 <= span.kind < _KINDS:
        span.kind = 0
    if not 0 <= span.status.code < _CODES:
        span.status.code = 0
    start = span.start_time_unix_nano = min(span.start_time_unix_nano, _MAX_INT - 1)
    end = min(span.end_time_unix_nano, _MAX_INT - 1)
    span.end_time_unix_nano = max(start, end)
    return True


def encoded(span: Any) -> tuple[bytes, bytes]:
    """A span as a field of its scope, and the header that stands beside it."""
    content = span.SerializeToString(deterministic=True)
    field = b"\x12" + varint(len(content)) + content
    duration = span.end_time_unix_nano - span.start_time_unix_nano
    flags = ERROR * (span.status.code == _FAILED) | ROOT * is_root(span)
    return field, HEADER.pack(span.trace_id, duration, len(field), flags)


def is_root(span: Any) -> bool:
    """Whether it is the topmost span that its trace has in its process."""
    if not span.parent_span_id:
        return True
    if span.flags & _KNOWN:
        return bool(span.flags & _REMOTE)
    return span.kind in _SERVED


def told_by(span: Any) -> tuple[RunTold, JobTold | None] | None:
    """The run that a span of spanrun tells of, and its job if it is a job's span."""
    attributes = mapping(span.attributes)
    run = attributes.get(semconv.SPANRUN_RUN_ID)
    runner = attributes.get(semconv.SPANRUN_RUNNER_NAME)
    if not isinstance(run, str) or not isinstance(runner, str):
        return None
    start, run = span.start_time_unix_nano, run_id(run)
    if semconv.SPANRUN_JOB_INDEX in attributes:
        job = _job(span, attributes)
        return None if job is None else (RunTold(run, runner, start), job)
    policies = attributes.get(semconv.SPANRUN_RUN_POLICIES)
    if policies is None:  # of a batch, or of a pipeline
        return None
    total = attributes.get(semconv.SPANRUN_RUN_TOTAL)
    run_told = RunTold(
        run,
        runner,
        start,
        span.end_time_unix_nano,
        total if _is_whole(total) else None,
        span.trace_id.hex(),
        policies if are_policies(policies) else "{}",
    )
    return run_told, None


def row_by(span: Any, session: str) -> tuple[RunTold, JobTold]:
    """The row of another program's root span."""
    attributes = mapping(span.attributes)
    start, seconds = span.start_time_unix_nano, _seconds(span)
    kind = attributes.get(semconv.ERROR_TYPE)
    text = span.status.message or None
    failed = span.status.code == _FAILED
    for event in span.events:
        if failed and event.name == semconv.EVENT_EXCEPTION:
            said = mapping(event.attributes)
            kind = kind or said.get(semconv.EXCEPTION_TYPE)
            text = text or said.get(semconv.EXCEPTION_MESSAGE)
    ledger = dict.fromkeys(SPANRUN_JOB_PHASE_VALUES, 0.0) | {"service": seconds}
    texts = None, str(kind or "error") if failed else None, str(text or "")
    job = JobTold(
        None,
        (seconds, *ledger.values()),
        1,
        "failed" if failed else "ok",
        span.trace_id,
        texts if failed else (None, None, None),
    )
    return RunTold(run_id(f"{session} {span.name}"), span.name, start), job


def events_by(span: Any, run: str, index: int | None) -> Iterator[RunEvent]:
    """What happened in a run or a job of spanrun, as far as its span tells of it."""
    attempts = 0
    for event in span.events:
        known = _EVENTS.get(event.name)
        if known is None:
            continue
        kind, names = known
        given = mapping(event.attributes)
        plain = {name: short for name, short in names.items() if _is_plain(given, name)}
        value = {short: given[name] for name, short in plain.items()}
        stack = given.get(semconv.SPANRUN_LOOP_BLOCKED_STACK)
        stack = stack if isinstance(stack, str) else None
        if kind == "retry":
            attempts += 1
            value["attempt"] = attempts
            value["error"] = str(value.get("error", "")).rpartition(".")[2]
        if kind == "blocked":
            if not _is_time(value.get("seconds")):
                continue
            value |= _place(stack or "")
        whose = None if kind == "blocked" and index is None else run
        yield RunEvent(event.time_unix_nano, kind, whose, index, value, stack)


def _is_plain(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    return isinstance(value, str) or _is_time(value)


def _place(stack: str) -> dict[str, Any]:
    """Of its last frame."""
    frames = _FRAME.findall(stack)
    if not frames:
        return {}
    file, line, function = frames[-1]
    return {"function": function, "file": file, "line": int(line)}


def run_id(text: str) -> str:
    """An id that the store can hold: ``text``, or digits that stand for it."""
    fits = text.isascii() and text.isalnum() and len(text) <= _RUN_ID
    if fits:
        return text
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _job(span: Any, attributes: Mapping[str, Any]) -> JobTold | None:
    index = attributes[semconv.SPANRUN_JOB_INDEX]
    outcome = attributes.get(semconv.SPANRUN_JOB_OUTCOME)
    phases = [attributes.get(name, 0.0) for name in TIMES]
    if not _is_whole(index) or outcome not in SPANRUN_JOB_OUTCOME_VALUES:
        return None
    if not all(map(_is_time, phases)):
        return None
    attempts = attributes.get(semconv.SPANRUN_JOB_ATTEMPTS, 1)
    key = attributes.get(semconv.SPANRUN_JOB_KEY)
    kind = attributes.get(semconv.ERROR_TYPE)
    text = None
    if outcome != "ok":
        kind = str(kind or outcome)
        text = span.status.message.removeprefix(f"{kind}: ")
    return JobTold(
        index,
        (_seconds(span), *map(float, phases)),
        attempts if _is_whole(attempts) and 0 < attempts < 2**31 else 1,
        outcome,
        span.trace_id,
        (None if key is None else str(key), kind, text),
    )


def _seconds(span: Any) -> float:
    nanoseconds: int = span.end_time_unix_nano - span.start_time_unix_nano
    return nanoseconds / 1e9


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isfinite(value) and 0 <= value < _MAX_SECONDS


def _is_whole(value: Any) -> bool:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return is_int and 0 <= value < _MAX_INT
