"""`MessageQueue`: what waits to be delivered, in memory and on disk, as one queue."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.log import Log
from spanrun.telemetry.queue.accounting import Lose
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.latest import LatestSnapshot
from spanrun.telemetry.queue.memory_queue import MemoryQueue
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool
from spanrun.telemetry.signals import Signal

_log: Final = Log(__name__)

_DISK_AGAIN: Final = 1.0  # seconds until a disk that failed is tried again
_TRIES: Final = 3
_CONGESTED: Final = 128 * 1024  # bytes in memory for which the other threads get a turn
_PRESSURE: Final = 4 * 1024 * 1024  # bytes in memory that are no longer let linger
_BREATH: Final = 5e-5  # seconds that it takes another thread to wake up
_TURN: Final = 0.001  # seconds that a busy thread leaves to the others at a time
_PATIENCE: Final = 0.05  # seconds of that for each request handed over
_NEARLY_FULL: Final = 6 * 1024 * 1024  # bytes for which the disk is waited for

Recovered: TypeAlias = Literal["in turn", "last", "never"]
"""When what other processes left is sent: in turn with our own, after it, not now."""


class MessageQueue:
    """Frames go in at one end, and `done` takes them off. Safe from any thread.

    They begin in memory. `write_out` moves those of a certain age to disk. No
    method but that one waits for a disk, except those that read from it.

    Args:
        folder: Of the spool.
        lost: Told of items that had to be given up, with the reason.
        memory_bytes: That may wait in memory.
        max_bytes: That may wait on disk.
        cumulative: Whether each metrics frame supersedes the one before it.
    """

    def __init__(
        self,
        folder: Path,
        lost: Lose,
        *,
        memory_bytes: int,
        max_bytes: int,
        cumulative: bool,
    ) -> None:
        self.spool: Final = Spool(
            folder, lost, max_bytes=max_bytes, cumulative=cumulative
        )
        self._memory: Final = MemoryQueue(memory_bytes, lost)
        self._latest: Final = LatestSnapshot(lambda: self.spool.own().path)
        self._lost: Final = lost
        self._pressure: Final = min(memory_bytes // 2, _PRESSURE)
        self._nearly_full: Final = min(memory_bytes * 3 // 4, _NEARLY_FULL)
        self._turn = False
        self.after_fork()

    def after_fork(self) -> None:
        """In the child: leave everything to the parent, and begin with nothing."""
        # Again from the same thread: the garbage collector may end a span in here.
        self.lock = threading.RLock()
        self._writing = threading.Lock()
        self._order = itertools.count(1)
        self._disk_again = 0.0
        self.disk_trouble = ""
        self._memory.clear()
        self._latest.after_fork()
        self.spool.after_fork()

    # --- in

    def put(self, signal: Signal, payload: bytes, items: int, *, keep: bool) -> None:
        """Queue a request, with ``lock`` held. Never waits."""
        frame = Frame(signal, payload, items, keep=keep, order=next(self._order))
        self._memory.add(Message(frame), self._why)

    def save(self, payload: bytes, items: int) -> None:
        """Have metrics sent if we are killed, in place of the last ones.

        That isn't so any more when a frame with the same ``payload`` was `put`, and is
        delivered or on disk. Never waits: `write_out` sees to it. With ``lock`` held.
        """
        order = next(self._order)
        self._latest.put(Frame("metrics", payload, items, order=order))

    @property
    def _why(self) -> SpanrunTelemetryReason:
        """Why something is given up for want of room in memory."""
        return "disk_full" if self.disk_trouble else "queue_full"

    def give_way(self) -> None:
        """Let the other threads write and send while something waits in memory.

        A busy event loop keeps them from it: it gives up the interpreter's lock for
        microseconds, and has it back before another thread is awake. Who makes more
        than they take, even so, waits for them, a bounded time; after that, what is
        too much is lost and counted.
        """
        if self._memory.bytes > _CONGESTED:
            time.sleep(_BREATH)
        patience = _PATIENCE
        full = self._nearly_full
        while self._memory.bytes > full and not self.disk_trouble and patience > 0:
            time.sleep(_TURN)
            patience -= _TURN

    # --- out

    def take(self, signal: Signal, limit: int, recovered: Recovered) -> list[Message]:
        """The next messages of ``signal``, which are in flight until `release`.

        Of what this process made the oldest first.

        Raises:
            OSError: If the spool can't be read just now.
        """
        if recovered == "never":
            return self._peek(signal, limit, recovered=False)
        self._turn = not self._turn
        first = self._turn and recovered == "in turn"
        taken = self._peek(signal, limit, recovered=first)
        return taken or self._peek(signal, limit, recovered=not first)

    def _peek(self, signal: Signal, limit: int, *, recovered: bool) -> list[Message]:
        for _ in range(_TRIES):
            if self.spool.holds(signal, recovered=recovered):
                messages = self.spool.peek(signal, limit, recovered=recovered)
                if messages:
                    return self._fly(messages)
            if recovered:
                return []
            with self.lock:
                # Written out just now, and older than what is in memory?
                if not self.spool.holds(signal, recovered=False):
                    return self._fly(self._memory.head(signal, limit))
        return []

    def _fly(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            message.in_flight = True
        self.spool.in_flight = messages
        return messages

    @property
    def sends(self) -> Literal["own", "recovered", "nothing"]:
        """Whose messages are in flight. All of them are from the same side."""
        for message in self.spool.in_flight:
            return "recovered" if self.spool.is_recovered(message) else "own"
        return "nothing"

    def release(self, messages: Sequence[Message]) -> None:
        """They are in no request any more."""
        for message in messages:
            message.in_flight = False
        for message in self.spool.release():
            with self.lock:
                self._memory.restore(message, self._why)

    def done(self, messages: Sequence[Message]) -> None:
        """They need not be kept: delivered, or counted as lost."""
        with self.lock:
            for message in messages:
                message.done = True
            self._memory.settle()
        self._latest.settle(messages)
        placed = [message for message in messages if message.location is not None]
        if placed:
            self.spool.ack(placed)

    def replace(self, old: Message, frames: Sequence[Frame]) -> list[Message]:
        """Keep ``frames`` in the place of ``old``, where that is: memory or disk."""
        new = [Message(frame) for frame in frames]
        self._fly([*self.spool.in_flight, *new])
        if old.location is not None:
            try:
                self.spool.append(new)
            except OSError as error:
                self._note(error)
        with self.lock:
            self._memory.replace(
                old, [message for message in new if message.location is None]
            )
        if old.location is not None:
            self.spool.ack([old])
        return new

    # --- to disk

    def due(self, linger: float) -> float | None:
        """When `write_out` has something to do, with ``lock`` held."""
        if self._latest.is_due:
            return 0.0
        created = self._memory.created()
        if created is None:
            return None
        if self._memory.bytes > self._pressure:
            return self._disk_again
        return max(created + linger, self._disk_again)

    @property
    def is_behind(self) -> bool:
        """Whether what is on disk in case of a kill isn't what should be there."""
        return self._latest.is_due

    @property
    def must_write(self) -> bool:
        """Whether so much is in memory that it is written out at once."""
        return self._memory.bytes > self._pressure

    def write_out(self, before: float) -> None:
        """Move what was handed over ``before`` that moment to disk, if it can be.

        What can't stays in memory, and `disk_trouble` tells why.
        """
        with self._writing:
            with self.lock:
                messages = self._memory.before(before)
                for message in messages:
                    message.writing = True
            if not messages:
                self._latest.sync()
                return
            trouble: Exception | None = None
            try:
                self.spool.append(messages)
            except Exception as error:  # noqa: BLE001 -- a fault of ours, or the disk's
                trouble = error
            self._latest.settle(p for p in messages if p.location is not None)
            self._latest.sync()
            with self.lock:
                for message in messages:
                    message.writing = False
                self._memory.settle()
                had = self._note(trouble)
                if any(p.location is None and not p.done for p in messages):
                    self._disk_again = time.monotonic() + _DISK_AGAIN
        self._say(had)

    def _note(self, trouble: Exception | None) -> str:
        """Keep ``trouble``; what there was before."""
        had = self.disk_trouble
        self.disk_trouble = "" if trouble is None else str(trouble) or repr(trouble)
        return had

    def _say(self, had: str) -> None:
        """Log that the disk fails, or works again. Without the lock: see `Log`."""
        trouble = self.disk_trouble
        if trouble and not had:
            _log.warning(
                "the spool %s can't be written, so what waits is in memory only: %s",
                *(self.spool.root, trouble),
            )
        elif had and not trouble:
            _log.info("the spool %s can be written again", self.spool.root)

    # --- what there is

    def holds(self, signal: Signal, *, recovered: bool = True) -> bool:
        """Whether something of ``signal`` waits, with ``lock`` held."""
        return (
            self._memory.holds(signal)
            or self.spool.holds(signal, recovered=False)
            or (recovered and self.spool.holds(signal, recovered=True))
        )

    def in_memory(self, signal: Signal) -> int:
        """Items of ``signal`` that wait in memory only."""
        with self.lock:
            return self._memory.waiting(signal)

    def close(self) -> None:
        """Write what can be, give up what can't, and let go of the folder."""
        self.write_out(time.monotonic())
        with self.lock:
            left = self._memory.before(time.monotonic())
            self._memory.clear()
        for message in left:
            message.done = True
            self._lost(
                message.frame.signal,
                message.frame.items,
                "disk_full" if self.disk_trouble else "shutdown",
            )
        self.spool.close()
