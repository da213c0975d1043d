"""What a dispatcher knows: the jobs that wait, the workers, and what each one has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Protocol

from spanrun.errors import RemoteJobError
from spanrun.outcome import CancelledBy
from spanrun.runner.engine import Chunk, Done, Item, RunSpec, WorkerLost
from spanrun.runner.job import Job
from spanrun.telemetry.units.chunk import ChunkUnit

MOST_AHEAD: Final = 2_000
"""Jobs that a worker has beside what runs, at most."""
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Of items in a chunk; one that is larger goes alone."""
AHEAD: Final = 0.1
"""Seconds of work that a worker has beside what runs."""
_WORKER_BYTES: Final = 4 * CHUNK_BYTES
"""Of items that a worker has."""
_REFILL: Final = 0.25
"""Of what a worker may have ahead: when so much of it is done, it is given more."""
_INSTANT: Final = 0.001
"""Seconds: what was measured in less says nothing."""


class Sender(Protocol):
    """A run whose jobs are sent."""

    @property
    def spec(self) -> RunSpec:
        """What workers must know of it."""
        ...

    def item_of(self, job: Job) -> Item:
        """A job as it is sent; raises where it can't be pickled."""
        ...

    def open_chunk(self, index: int, jobs: int, worker: str) -> ChunkUnit | None:
        """Open the unit of a chunk; None without telemetry."""
        ...

    def carrier_in(self, unit: ChunkUnit | None) -> dict[str, str]:
        """What a worker is told of the context that the chunk's jobs begin in."""
        ...

    def returned(self, job: Job, done: Done) -> None:
        """``job`` has come back with its outcome."""
        ...

    def done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """``job`` ends here."""
        ...

    def abandon(self, job: Job, by: CancelledBy) -> None:
        """Give ``job`` its outcome, though it has not ended."""
        ...

    def broken(self, error: Exception) -> None:
        """End: there are no workers any more."""
        ...


@dataclass(slots=True, eq=False)
class Pending:
    """A job without an outcome; ``losses``: workers that died while it was alone."""

    run: Sender
    job: Job
    losses: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """A worker, as far as it matters for what it is given.

    Attributes:
        place: Among all.
        share: How many jobs may run there at once.
        due: What that is while all have enough to do.
        bound: How many may still run there, where it had a larger share.
        instance: Its id.
        up: It can take jobs.
        alone: It has suspects, and nothing else may run there.
        load: How many jobs it has.
        bytes: Of their items.
        ahead: How many it may have beside its share.
        since: When it was given something to do, or gave outcomes, for the last time.
        ended: Jobs that it ended lately; those of a tenth of a second ago count half.
        busy: Seconds in which it did, in the same measure.
        fails: How often in a row it could not be started.
    """

    place: int
    share: int
    due: int
    bound: int = 0
    instance: str = ""
    up: bool = False
    alone: bool = False
    load: int = 0
    bytes: int = 0
    ahead: int = 1
    since: float = 0.0
    ended: float = 0.0
    busy: float = 0.0
    fails: int = 0

    @property
    def room(self) -> int:
        """How many more jobs it may be given."""
        if not self.up or self.alone or self.bytes >= _WORKER_BYTES:
            return 0
        if self.bound > self.share and self.load > self.share:
            return 0
        return self.share + self.ahead - self.load

    @property
    def needs(self) -> bool:
        """Whether it is to be given more: not for a few, which would cost a chunk."""
        return self.room > self.ahead * _REFILL

    def bounded(self) -> int:
        """How many may run there at most."""
        self.bound = max(self.share, min(self.bound, self.load))
        return self.bound

    def measure(self, ended: int, now: float) -> None:
        """It has ended some jobs since it was looked at.

        Jobs and seconds are each summed up, and then divided: where a report was late,
        and the next one comes right after it, the two have had the time of both. By the
        mean of their rates a worker seemed ten times as fast, and was given all jobs.
        """
        seconds = max(now - self.since, _INSTANT)
        self.since = now
        whole = AHEAD + seconds
        self.ended = (self.ended * AHEAD + ended) / whole
        self.busy = (self.busy * AHEAD + seconds) / whole
        self.ahead = min(MOST_AHEAD, 1 + ceil(self.ended / self.busy * AHEAD))

    def slowed(self, now: float) -> bool:
        """Whether its jobs are long all at once: none has ended for so long.

        It has none ahead then. What it has already stays there.
        """
        if not self.load or self.ahead == 1 or now - self.since < AHEAD:
            return False
        self.ended = self.busy = 0.0
        self.ahead = 1
        return True


@dataclass(slots=True, eq=False)
class Sent:
    """A chunk that a worker has.

    Attributes:
        worker: Which one.
        run: Whose it is.
        chunk: What was sent.
        pending: Its jobs without an outcome, by their places.
        alone: Nothing else is there.
        left: How many of its jobs the worker has said nothing of.
        unit: Its span.
        size: Bytes of its items.
    """

    worker: Worker
    run: Sender
    chunk: Chunk
    pending: dict[int, Pending]
    alone: bool
    left: int
    unit: ChunkUnit | None
    size: int = 0


def parts(jobs: int, workers: Sequence[Worker]) -> list[tuple[Worker, int]]:
    """How many of ``jobs`` each worker is to have, so that all have as much room left.

    So they have enough to do for as long, and the last jobs of a run end together.
    """
    left = max(0, sum(each.room for each in workers) - jobs)
    found: list[tuple[Worker, int]] = []
    for place, worker in enumerate(sorted(workers, key=lambda each: each.room)):
        keeps = min(worker.room, left // (len(workers) - place))
        left -= keeps
        found.append((worker, worker.room - keeps))
    return found


def no_worker(error: Exception) -> RemoteJobError:
    """The error of jobs that no worker is left for."""
    return RemoteJobError(
        WorkerLost.__qualname__, f"a worker can't be started: {error}"
    )
