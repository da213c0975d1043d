"""What one process says of its open runners: values, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

Phase: TypeAlias = Literal["queue", "limit", "rate_limit", "backoff", "busy", "service"]
"""Where a job is at a moment: those of the time ledger but ``loop_lag``, of which only
the end of a wait can tell."""
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class RunnerNow:
    """The open runners of one name.

    Attributes:
        name: Theirs.
        limit: How many jobs may run at once.
        running: How many do: they hold a slot.
        queued: How many were admitted, and hold none.
        backing_off: How many wait for another attempt.
        stuck: How many were cancelled, and have not ended.
        ended: How many jobs have ended by each outcome.
        errors: How many jobs have failed by each type of error.
        rate: Jobs that end in a second; None where that isn't known yet.
        p50: Seconds in which half of the jobs ended; None where none has.
        p95: The same of 95 in 100.
        p99: The same of 99 in 100.
    """

    name: str
    limit: int
    running: int
    queued: int
    backing_off: int
    stuck: int
    ended: Mapping[str, int]
    errors: Mapping[str, int]
    rate: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class LoopNow:
    """An event loop.

    Attributes:
        lag: Seconds that it was late, at most, since the state before.
        blocked: Seconds for which one step has blocked it until now; 0 when none does.
        by: Whose step that is.
        place: Where in the code it is.
    """

    lag: float
    blocked: float
    by: str
    place: str


@dataclass(frozen=True, slots=True)
class JobNow:
    """An open job.

    Attributes:
        runner: The name of its runner.
        run: The id of its run.
        index: Its place among the items of the run.
        key: The user's name for it, as text; empty where it has none.
        age: Seconds since it was submitted.
        phase: Where it is.
        attempt: Which one that is.
        cancelled: It was cancelled, and has not ended.
        trace_id: Of its span, as hexadecimal digits; empty without one.
    """

    runner: str
    run: str
    index: int
    key: str
    age: float
    phase: Phase
    attempt: int
    cancelled: bool
    trace_id: str


@dataclass(frozen=True, slots=True)
class ProcessNow:
    """A process with open runners.

    Attributes:
        pid: Its number.
        host: The machine that it is a number of.
        started: What tells it from another process that gets the number later; empty
            where the system doesn't tell.
        command: How it was started.
        at_ns: When this was so, since the Unix epoch.
        window: Seconds that rates and percentiles are of; 0: of all until now.
        open: How many jobs are open.
        runners: By name.
        loops: Those on which runners are open.
        jobs: The oldest open ones.
    """

    pid: int
    host: str
    started: str
    command: str
    at_ns: int
    window: float
    open: int
    runners: tuple[RunnerNow, ...]
    loops: tuple[LoopNow, ...]
    jobs: tuple[JobNow, ...]


def as_object(process: ProcessNow) -> dict[str, Any]:
    """``process`` as an object of JSON."""
    return {"version": _VERSION, **asdict(process)}


def from_object(told: Any) -> ProcessNow:
    """Read what `as_object` made, by whichever version.

    Raises:
        ValueError: It isn't that.
    """
    try:
        return ProcessNow(
            pid=int(told["pid"]),
            host=str(told["host"]),
            started=str(told["started"]),
            command=str(told["command"]),
            at_ns=int(told["at_ns"]),
            window=float(told["window"]),
            open=int(told["open"]),
            runners=tuple(map(_runner, told["runners"])),
            loops=tuple(map(_loop, told["loops"])),
            jobs=tuple(map(_job, told["jobs"])),
        )
    except (AttributeError, LookupError, OverflowError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _runner(told: Any) -> RunnerNow:
    return RunnerNow(
        name=str(told["name"]),
        limit=int(told["limit"]),
        running=int(told["running"]),
        queued=int(told["queued"]),
        backing_off=int(told["backing_off"]),
        stuck=int(told["stuck"]),
        ended=_counts(told["ended"]),
        errors=_counts(told["errors"]),
        rate=_number(told["rate"]),
        p50=_number(told["p50"]),
        p95=_number(told["p95"]),
        p99=_number(told["p99"]),
    )


def _counts(told: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in told.items()}


def _number(told: Any) -> float | None:
    return None if told is None else float(told)


def _loop(told: Any) -> LoopNow:
    lag, blocked = float(told["lag"]), float(told["blocked"])
    return LoopNow(lag, blocked, str(told["by"]), str(told["place"]))


def _job(told: Any) -> JobNow:
    phase = told["phase"]
    if phase not in PHASES:
        raise ValueError(f"there is no phase {phase!r}")
    return JobNow(
        runner=str(told["runner"]),
        run=str(told["run"]),
        index=int(told["index"]),
        key=str(told["key"]),
        age=float(told["age"]),
        phase=phase,
        attempt=int(told["attempt"]),
        cancelled=bool(told["cancelled"]),
        trace_id=str(told["trace_id"]),
    )
