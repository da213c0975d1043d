"""What an engine is: it carries chunks of jobs to workers in other processes, and back.

An engine is transport alone. Which jobs go where, what is sent again and what becomes
of an outcome is decided in `spanrun.runner.dispatch`, for all engines alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from spanrun.outcome import CancelledBy
from spanrun.runner.core import Policies
from spanrun.settings import Settings

Ended: TypeAlias = Literal["ok", "failed", "timed_out", "cancelled", "abandoned"]
"""How a job ended in its worker; ``"failed"`` also by what isn't an `Exception`."""


class WorkerLost(Exception):  # noqa: N818 -- an event, not a fault of the caller's
    """A worker has ended, or doesn't answer, and some of its jobs have no outcome."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker is, made anew for each one.

    Attributes:
        name: The runner's.
        policies: The worker's share of them.
        settings: Of telemetry; None for none.
        variables: The driver's ``OTEL_*`` and ``SPANRUN_*`` variables.
        main: Where the driver's own module and its folder are.
        heartbeat: Seconds from one sign of life to the next.
        counted: The driver counts retries, also where workers have no telemetry.
    """

    name: str
    policies: Policies
    settings: Settings | None
    variables: Mapping[str, str]
    main: Mapping[str, Any]
    heartbeat: float
    counted: bool


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What all jobs of a run have in common.

    Attributes:
        id: Of the driver's run.
        function: What the engine's ``dumps`` made of it.
        carrier: The context of the run, as W3C's headers.
        linked: Each job begins a trace.
        shows_times: Somebody sees the times of its jobs.
        curious: Somebody wants to hear of its events.
    """

    id: str
    function: bytes
    carrier: Mapping[str, str]
    linked: bool
    shows_times: bool
    curious: bool


class Item(NamedTuple):
    """A job on its way to a worker.

    Attributes:
        place: The job's index in its run.
        payload: What its function is called with, pickled.
        key: Its name, as a text.
        priority: The higher, the earlier.
        carrier: The context that it begins in; None for that of its chunk.
    """

    place: int
    payload: bytes
    key: str | None
    priority: float
    carrier: Mapping[str, str] | None


@dataclass(slots=True, eq=False)
class Chunk:
    """Jobs of one run that are sent together."""

    id: int
    run: str
    items: Sequence[Item]
    carrier: Mapping[str, str]
    cancelled_by: CancelledBy = "run"


class Done(NamedTuple):
    """A job's outcome on its way back.

    Attributes:
        place: As its `Item` has it.
        ended: How.
        payload: The value or the error, pickled.
        attempts: How many began.
        seconds: The parts of its `Timings` but for ``service``, and the duration.
        trace_id: Of its span; 0 without one.
        span_id: The same, where its trace is kept for certain; else 0.
        by: Who cancelled it, if it was.
    """

    place: int
    ended: Ended
    payload: bytes
    attempts: int
    seconds: tuple[float, ...]
    trace_id: int
    span_id: int
    by: CancelledBy | None


class Report(NamedTuple):
    """What a worker says at one time.

    Attributes:
        chunk: Whose outcomes these are.
        done: The outcomes.
        retried: Attempts since the last report that another one follows, by the type
            of their error.
        limit: How many jobs the worker may run at once, by now.
    """

    chunk: int
    done: Sequence[Done]
    retried: Mapping[str, int]
    limit: int


TakeReport: TypeAlias = Callable[[Report], None]

Say: TypeAlias = Callable[..., None]
"""Tells the worker of a place something: which, what kind of thing, and what."""


class Pool(Protocol):
    """The workers of one open runner, by their places, from 0.

    Attributes:
        hear: Told what a worker says that is of no chunk, as `say` tells it.
    """

    hear: Say

    def say(self, place: int, kind: str, *what: object) -> None:
        """Tell a worker something that is of no chunk; lost with the worker."""
        ...

    async def start(self, place: int) -> str:
        """Start a worker, or another one where it was lost; gives its instance id.

        Raises:
            WorkerLost: It ended at once.
        """
        ...

    async def send(
        self, place: int, run: RunSpec, chunk: Chunk, take: TakeReport
    ) -> None:
        """Have a worker run ``chunk``; the outcomes go to ``take``, a few at a time.

        Cancelling this cancels the jobs where they run, and waits for their outcomes.

        Raises:
            WorkerLost: Nothing more will be taken.
        """
        ...

    def forget(self, run: str) -> None:
        """The run is over."""
        ...

    async def close(self) -> None:
        """End the workers. One that doesn't end is killed."""
        ...


class Engine(Protocol):
    """Makes pools of workers, for the runners that it is given to."""

    name: ClassVar[str]
    """What telemetry calls it."""

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

    @property
    def chunk(self) -> int | None:
        """The most jobs that are sent together; None: as many as is good."""
        ...

    @property
    def heartbeat(self) -> float:
        """Seconds from one sign of life of a worker to the next."""
        ...

    def dumps(self, value: Any, /) -> bytes:
        """Pickle a function, or what has functions in it."""
        ...

    async def open(self, specs: Sequence[WorkerSpec]) -> Pool:
        """Make a pool with a place for each of ``specs``; no worker runs yet."""
        ...
