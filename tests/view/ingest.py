"""A session of four runners made from numbers alone: the same on every machine.

Its jobs wait, fail, time out and retry; one blocks the event loop; the limit of one
runner adapts. All of them have spans.
"""

import heapq
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from opentelemetry.trace import (
    Link,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from tests.waiting import PATIENCE

from spanrun import semconv
from spanrun.outcome import Err, Ok, Outcome, Timings
from spanrun.telemetry.account import Account
from spanrun.telemetry.observe import RunEvent, RunInfo
from spanrun.telemetry.recordings.store import LocalStore
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span_pipe import SpanPipe

BEGAN = 1_750_000_000 * 10**9
BLOCKED = 0.06, 0.3
"""When the loop is blocked, by the last job of parse that was submitted before, and
for how long."""
DEADLINE = 0.5
LIMITS = ((0.2, 12), (0.5, 6), (0.8, 9))
"""When the limit of embed changes, and to what."""
SERVICE = {"fetch": 0.012, "parse": 0.004, "embed": 0.1, "store": 0.01}
POLICIES: Mapping[str, Mapping[str, object]] = {
    "fetch": {"limit": {"type": "Limit", "concurrency": 8}},
    "parse": {"limit": {"type": "Limit", "concurrency": 4}},
    "embed": {
        "limit": {"type": "AdaptiveLimit", "start": 16},
        "rate": {"type": "RateLimit", "per_second": 130},
        "timeout": {"type": "Timeout", "attempt": DEADLINE},
    },
    "store": {"limit": {"type": "Limit", "concurrency": 4}},
}
_SLOTS = {"fetch": 8, "parse": 4, "embed": 16, "store": 4}
_IN_ATTEMPT = ("limit", "rate_limit", "busy", "loop_lag", "service")
_numbers = count(1)


class UnavailableError(Exception):
    pass


@dataclass
class Made:
    """A job: when it was submitted, and its phases in seconds."""

    index: int
    submitted: float
    seconds: dict[str, float]
    attempts: int = 1
    outcome: str = "ok"
    error: Exception | None = None

    @property
    def duration(self) -> float:
        return sum(self.seconds.values())

    def ended(self, trace_id: int) -> Outcome[None]:
        made = Timings()
        for phase, amount in self.seconds.items():
            if phase != "service":
                setattr(made, phase, amount)
        made.submitted, made.duration = self.submitted, self.duration
        key = f"docs/page-{self.index:05}.html"
        common = self.attempts, key, trace_id
        if self.error is None:
            return Ok(self.index, None, made, *common)
        return Err(self.index, self.error, made, *common, self.outcome)  # type: ignore[arg-type]


def made(
    runner: str, jobs: int, draw: random.Random, longer: Mapping[str, float]
) -> Iterator[Made]:
    """The jobs of a runner, submitted whenever one of its slots is free."""
    slots = [0.0] * _SLOTS[runner]
    for index in range(jobs):
        each = Made(index, heapq.heappop(slots), {})
        some = {
            "queue": draw.uniform(1e-5, 5e-5),
            "limit": draw.expovariate(1 / 0.004) if runner == "embed" else 0.0,
            "rate_limit": draw.uniform(0.02, 0.04) if runner == "embed" else 0.0,
            "backoff": 0.0,
            "busy": draw.uniform(1e-4, 3e-4),
            "loop_lag": 0.0,
            "service": draw.uniform(0.5, 1.5) * SERVICE[runner],
        }
        each.seconds = {name: some[name] * longer.get(name, 1.0) for name in some}
        _spoil(each, runner)
        at, took = BLOCKED
        if each.submitted < at < each.submitted + each.duration:
            each.seconds["loop_lag"] += took
            _time_out(each, runner)
        heapq.heappush(slots, each.submitted + each.duration)
        yield each


def _spoil(each: Made, runner: str) -> None:
    if runner == "fetch" and each.index % 47 == 5:
        each.attempts, each.seconds["backoff"] = 3, 0.09
        each.outcome = "failed"
        each.error = ConnectionResetError(104, "Connection reset by peer")
    elif runner == "parse" and each.index % 211 == 9:
        each.outcome = "failed"
        each.error = ValueError(
            f"page {each.index}: <script>alert('x')</script> \x1b[31m"
        )
    elif runner == "embed" and each.index % 17 == 3:
        each.attempts, each.seconds["backoff"] = 2, 0.05


def _time_out(each: Made, runner: str) -> None:
    if runner != "embed" or each.error is not None:
        return
    over = each.seconds["service"] + each.seconds["loop_lag"] - 0.4
    if over > 0:
        each.seconds["service"] = max(0.01, each.seconds["service"] - over)
        each.outcome, each.error = "timed_out", TimeoutError("the attempt took 400 ms")


def session(
    folder: Path,
    jobs: int = 100,
    *,
    runners: tuple[str, ...] = tuple(SERVICE),
    longer: Mapping[str, float] | None = None,
    spans: bool = True,
    fails: str = "",
    open_: bool = False,
    spread: float = 1.0,
) -> str:
    """Record a session in ``folder``; returns its id.

    Args:
        folder: Of the store.
        jobs: Of each runner.
        runners: Which of them there are.
        longer: By how much a phase of embed's jobs is longer, by its name.
        spans: Whether traces are kept.
        fails: The outcome that all jobs have, instead of their own.
        open_: The runs go on.
        spread: By how much all of it takes longer.
    """
    store = LocalStore(folder)
    pipe = SpanPipe([store], Account())
    tracer = NativeTracerProvider(pipe.buffer).get_tracer("spanrun")
    draw = random.Random(7)
    for runner in runners:
        info = RunInfo(f"{next(_numbers):016x}"[::-1], runner, jobs, 0, BEGAN)
        info.policies = json.dumps(POLICIES[runner])
        store.run_opened(info)
        factors = (longer or {}) if runner == "embed" else {}
        last = 0.0
        for each in made(runner, jobs, draw, factors):
            each.submitted *= spread
            each.seconds = {name: s * spread for name, s in each.seconds.items()}
            if fails:
                each.outcome, each.error = fails, ValueError("no")
            trace = _spans(tracer, info, each) if spans else 0
            store.job_ended(info, each.ended(trace))
            _happened(store, info, each, spread)
            last = max(last, each.submitted + each.duration)
        if runner == "embed" and jobs:
            for at, limit in LIMITS:
                store.happened(_event(info, at * spread, "limit", None, limit=limit))
        if not open_:
            info.ended_ns = BEGAN + round(last * 1e9)
            store.run_closed(info)
    if "parse" in runners and jobs:
        at, took = (each * spread for each in BLOCKED)
        value = {"function": "tokenize", "file": "parse.py", "line": 42}
        told = {"seconds": took, **value}
        store.happened(
            RunEvent(
                BEGAN + round((at + took) * 1e9), "blocked", None, None, told, None
            )
        )
    assert pipe.close(PATIENCE)
    assert store.close(PATIENCE)
    return store.session


def _event(
    info: RunInfo, at: float, kind: str, index: int | None, **value: object
) -> RunEvent:
    return RunEvent(BEGAN + round(at * 1e9), kind, info.id, index, value, None)


def _happened(store: LocalStore, info: RunInfo, each: Made, spread: float) -> None:
    for attempt in range(1, each.attempts):
        at = each.submitted + each.duration * attempt / each.attempts
        told = {"attempt": attempt, "delay": 0.03 * spread}
        store.happened(_event(info, at, "retry", each.index, **told))


def _spans(tracer: Tracer, info: RunInfo, each: Made) -> int:
    """The spans of a job: it, its attempts, and their calls; returns its trace."""

    def ns(at: float) -> int:
        return BEGAN + round(at * 1e9)

    at = each.submitted
    about = {
        semconv.SPANRUN_RUN_ID: info.id,
        semconv.SPANRUN_JOB_INDEX: each.index,
        semconv.SPANRUN_JOB_OUTCOME: each.outcome,
    }
    job = tracer.start_span(f"job {info.runner}", attributes=about, start_time=ns(at))
    within = set_span_in_context(job)
    at += each.seconds["queue"]
    pause = each.seconds["backoff"] / max(1, each.attempts - 1)
    before = None
    for number in range(1, each.attempts + 1):
        parts = {name: each.seconds[name] / each.attempts for name in _IN_ATTEMPT}
        told = {f"spanrun.attempt.time.{name}": parts[name] for name in _IN_ATTEMPT}
        attempt = tracer.start_span(
            f"attempt {info.runner}",
            within,
            attributes={semconv.SPANRUN_ATTEMPT_NUMBER: number, **told},
            links=[] if before is None else [Link(before.get_span_context())],
            start_time=ns(at),
        )
        end = at + sum(parts.values())
        call = tracer.start_span(
            "POST /v1/embeddings",
            set_span_in_context(attempt),
            SpanKind.CLIENT,
            start_time=ns(end - parts["service"]),
        )
        call.end(ns(end))
        last = number == each.attempts
        if each.error is not None or not last:
            told_of = str(each.error or UnavailableError("503"))
            attempt.set_status(Status(StatusCode.ERROR, told_of))
        attempt.end(ns(end))
        if not last:
            kind = {"error.type": "UnavailableError", "delay": pause}
            job.add_event(semconv.EVENT_SPANRUN_JOB_RETRY, kind, ns(end))
        at, before = end + pause, attempt
    if each.error is not None:
        job.record_exception(each.error, timestamp=ns(each.submitted + each.duration))
        job.set_status(Status(StatusCode.ERROR, str(each.error)))
    job.end(ns(each.submitted + each.duration))
    return job.get_span_context().trace_id
