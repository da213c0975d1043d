"""`LinkPool`: an engine's workers, each at the end of a link that carries messages.

What is said over a link, how a lost worker is noticed, and how a chunk is cancelled is
the same for all engines: they only make links.
"""

from __future__ import annotations

import asyncio
import contextvars
import pickle
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spanrun.errors import ConfigurationError
from spanrun.runner.engine import (
    Chunk,
    Report,
    RunSpec,
    Say,
    TakeReport,
    WorkerLost,
    WorkerSpec,
)

MISSED: Final = 4
"""Heartbeats that a worker may miss in a row."""
_START: Final = 60.0
"""Seconds that it may take to give the first one: it has to import what it needs."""
_PROTOCOL: Final = 5


class Link(Protocol):
    """The way to one worker, which runs at its other end."""

    def send(self, message: bytes) -> None:
        """Send a message, in order. Never waits; lost with the worker."""
        ...

    async def receive(self) -> bytes | None:
        """Wait for a message of the worker's; None when no more will come."""
        ...

    def kill(self) -> None:
        """End the worker at once, whatever it does."""
        ...

    async def ended(self) -> str:
        """Wait until the worker is gone; how it ended, for people."""
        ...


Connect = Callable[[int], Awaitable[Link]]
"""Starts the worker of a place."""


@dataclass(slots=True, eq=False)
class _Sent:
    """A chunk that is with a worker."""

    take: TakeReport
    left: int
    over: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Remote:
    """A worker, as its driver sees it.

    Attributes:
        link: The way to it.
        ready: Its instance id, once it can take chunks.
        chunks: Those that it has.
        runs: Those that it knows.
        missed: Heartbeats in a row that did not come.
    is_heard: It has said something.
        lost: Why it is lost; empty while it isn't.
        reader: Reads what it says.
        timer: Of the next heartbeat.
    """

    link: Link
    ready: asyncio.Future[str]
    chunks: dict[int, _Sent] = field(default_factory=dict[int, _Sent])
    runs: set[str] = field(default_factory=set[str])
    missed: int = 0
    is_heard: bool = False
    lost: str = ""
    reader: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    def say(self, *message: Any) -> None:
        """Send it a message."""
        self.link.send(pickle.dumps(message, _PROTOCOL))


class LinkPool:
    """See `Pool`.

    Args:
        connect: Starts a worker.
        specs: What the workers are, by their places.
        patience: Seconds that one may take to end.
    """

    def __init__(
        self, connect: Connect, specs: Sequence[WorkerSpec], patience: float
    ) -> None:
        self._connect: Final = connect
        self._specs: Final = specs
        self._patience: Final = patience
        self._workers: Final[dict[int, _Remote]] = {}
        self._loop: Final = asyncio.get_running_loop()
        # What is read here is no part of what opened the runner.
        self._context: Final = contextvars.copy_context()
        self._is_closed = False
        self.hear: Say = _nobody_hears

    def say(self, place: int, kind: str, *what: object) -> None:
        """Tell a worker something that is of no chunk."""
        worker = self._workers.get(place)
        if worker is not None and not worker.lost and not self._is_closed:
            worker.say(kind, *what)

    async def start(self, place: int) -> str:
        """Start a worker at ``place``; gives its instance id."""
        spec = self._specs[place]
        worker = _Remote(await self._connect(place), self._loop.create_future())
        self._workers[place] = worker
        worker.reader = self._loop.create_task(
            self._read(worker, place, spec.heartbeat), context=self._context
        )
        worker.say("open", spec)
        try:
            return await worker.ready
        except asyncio.CancelledError:
            worker.link.kill()
            raise

    async def send(
        self, place: int, run: RunSpec, chunk: Chunk, take: TakeReport
    ) -> None:
        """Have a worker run ``chunk``."""
        worker = self._workers[place]
        if worker.lost:
            raise WorkerLost(worker.lost)
        if run.id not in worker.runs:
            worker.runs.add(run.id)
            worker.say("run", run)
        over: asyncio.Future[None] = self._loop.create_future()
        worker.chunks[chunk.id] = _Sent(take, len(chunk.items), over)
        worker.say("chunk", chunk)
        cancelled: asyncio.CancelledError | None = None
        while not over.done():
            try:
                await asyncio.wait({over})
            except asyncio.CancelledError as error:
                if cancelled is None and not worker.lost:
                    worker.say("cancel", run.id, chunk.id, chunk.cancelled_by)
                cancelled = error
        worker.chunks.pop(chunk.id, None)
        over.result()
        if cancelled is not None:
            raise cancelled

    def forget(self, run: str) -> None:
        """The run is over."""
        for worker in self._workers.values():
            if run in worker.runs and not worker.lost:
                worker.runs.discard(run)
                worker.say("forget", run)

    async def close(self) -> None:
        """End the workers, and wait until they have ended."""
        self._is_closed = True
        readers: list[asyncio.Task[None]] = []
        for worker in self._workers.values():
            if not worker.lost:
                worker.say("close")
            if worker.reader is not None:
                readers.append(worker.reader)
        if not readers:
            return
        try:
            await asyncio.wait(readers, timeout=self._patience)
        finally:
            for worker in self._workers.values():
                worker.link.kill()
            await asyncio.wait(readers)

    async def _read(self, worker: _Remote, place: int, heartbeat: float) -> None:
        """Take what ``worker`` says until it is gone."""
        self._listen_on(worker, heartbeat)
        try:
            while (message := await worker.link.receive()) is not None:
                worker.missed, worker.is_heard = 0, True
                if message:
                    self._hear(worker, place, *pickle.loads(message))  # noqa: S301 -- our own child's
        finally:
            worker.link.kill()
            if worker.timer is not None:
                worker.timer.cancel()
            how = await worker.link.ended()
            worker.lost = worker.lost or how
            error = WorkerLost(worker.lost)
            for sent in worker.chunks.values():
                if not sent.over.done():
                    sent.over.set_exception(error)
            if not worker.ready.done():
                worker.ready.set_exception(error)
                worker.ready.exception()  # nobody may wait for it any more

    def _listen(self, worker: _Remote, heartbeat: float) -> None:
        """Kill ``worker`` when it was silent for too long.

        What counts are rounds of this loop: time in which it was blocked, or the whole
        machine asleep, is no time in which a worker could have been heard.
        """
        worker.missed += 1
        allowed = MISSED if worker.is_heard else max(MISSED, _START / heartbeat)
        if worker.missed > allowed:
            worker.lost = f"it was silent for {allowed * heartbeat:g} s"
            worker.link.kill()
        else:
            self._listen_on(worker, heartbeat)

    def _listen_on(self, worker: _Remote, heartbeat: float) -> None:
        worker.timer = self._loop.call_later(
            heartbeat, self._listen, worker, heartbeat, context=self._context
        )

    def _hear(self, worker: _Remote, place: int, kind: str, *said: Any) -> None:
        if kind == "reports":
            for report in said:
                self._take(worker, report)
        elif kind == "ready":
            worker.ready.set_result(said[0])
        elif kind == "refused":
            worker.ready.set_exception(ConfigurationError(said[0]))
        else:
            self.hear(place, kind, *said)

    def _take(self, worker: _Remote, report: Report) -> None:
        sent = worker.chunks.get(report.chunk)
        if sent is None:
            return
        sent.left -= len(report.done)
        sent.take(report)
        if sent.left <= 0 and not sent.over.done():
            sent.over.set_result(None)


def _nobody_hears(*_: object) -> None:
    """What is said before the driver listens is of no use."""
