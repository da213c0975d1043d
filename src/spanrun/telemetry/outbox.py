"""`Outbox`: a bounded queue, and the one thread that empties it into a sink."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.forks import notice_fork, tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.threads import Worker

T = TypeVar("T")

_log: Final = Log(__name__)

Send = Callable[[list[T]], None]
Lost = Callable[[list[T], SpanrunTelemetryReason], None]


class Outbox(Generic[T]):
    """Takes items on any thread at once, and sends them in batches on its own.

    `put` waits for nobody. What doesn't fit, fails to be sent, or is still here
    when time is up is told to ``lost`` with the reason, so each item is
    accounted for: sent or lost.

    A program that leaves no time to other threads would fill the queue, however
    fast ``send`` is. With ``full="send"`` whoever puts the item that is one too
    many sends a batch itself; that is for a ``send`` which never waits, and which
    may be called from several threads.

    A forked child begins with an empty queue: what is in it belongs to the parent.

    Args:
        name: Of the thread.
        send: Delivers a batch, in order; raises when it could not.
        lost: Told of each batch that will not be delivered.
        capacity: Items that may wait.
        batch: Items in one call of ``send``.
        delay: Seconds that an item waits for company.
        full: What becomes of an item when the queue is full.
    """

    def __init__(
        self,
        name: str,
        send: Send[T],
        lost: Lost[T],
        *,
        capacity: int = 65_536,
        batch: int = 512,
        delay: float = 0.25,
        full: Literal["lose", "send"] = "lose",
    ) -> None:
        self._name: Final = name
        self._send: Final = send
        self._lost: Final = lost
        self._capacity: Final = capacity
        self._batch: Final = batch
        self._delay: Final = delay
        self._full: Final = full
        self._items: Final[deque[T]] = deque()
        self._begin()
        tell_after_fork(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._sending = 0
        self._awake = False
        self._hurry = False
        self._closed = False
        self._worker = Worker(self._name, self._work)

    def put(self, item: T) -> None:
        """Queue ``item``."""
        # No lock on the way of most items: this is on the path of every span.
        items = self._items
        items.append(item)
        count = len(items)
        if not self._awake or count == self._batch:
            self._wake(item)
        elif count > self._capacity:
            self._relieve()
        if self._closed:
            self._lose("shutdown")

    def send(self, batch: list[T]) -> None:
        """Send ``batch`` at once, on this thread, past what is queued."""
        with self._changed:
            self._sending += len(batch)
        self._deliver(batch)

    @property
    def waiting(self) -> int:
        """Items that are queued."""
        return len(self._items)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued is sent or lost.

        Returns:
            Whether that was so within ``timeout`` seconds.
        """
        notice_fork()
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: not self._items and not self._sending, timeout
            )

    def close(self, timeout: float) -> bool:
        """Send what is left, for at most ``timeout`` seconds, and end the thread.

        Returns:
            Whether everything left. What did not is told to ``lost``.
        """
        done = self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._lose("shutdown")
        if done:
            self._worker.join(1.0)
        return done

    def after_fork(self) -> None:
        """In the child: begin anew, with a thread of its own."""
        closed = self._closed
        self._items.clear()
        if not closed:
            self._begin()

    def _wake(self, item: T) -> None:
        if notice_fork():
            self._items.append(item)  # what was there before it is the parent's
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def _relieve(self) -> None:
        """The queue is full."""
        if self._full == "send":
            self._deliver(self._next())
        else:
            with suppress(IndexError):  # another thread has made room
                self._lost([self._items.pop()], "queue_full")

    def _lose(self, reason: SpanrunTelemetryReason) -> None:
        """All that is in it."""
        while left := self._take():
            self._lost(left, reason)

    def _work(self) -> None:
        while True:
            with self._changed:
                # First not awake, then the look: who puts looks the other way round.
                self._awake = False
                self._changed.wait_for(self._any)
                self._awake = True
                self._changed.wait_for(self._due, self._delay)
                batch = self._next()
                if not batch:
                    self._hurry = False
                    self._changed.notify_all()
                    if self._closed:
                        return
            self._deliver(batch)
            del batch  # not to be kept until the next one comes

    def _any(self) -> bool:
        return bool(self._items) or self._hurry or self._closed

    def _due(self) -> bool:
        return self._hurry or self._closed or len(self._items) >= self._batch

    def _next(self) -> list[T]:
        """The batch to be delivered now. Several threads may ask at once."""
        with self._changed:
            batch = self._take()
            self._sending += len(batch)
            return batch

    def _take(self) -> list[T]:
        items, batch = self._items, list[T]()
        with suppress(IndexError):
            for _ in range(self._batch):
                batch.append(items.popleft())
        return batch

    def _deliver(self, batch: list[T]) -> None:
        if not batch:
            return
        try:
            self._send(batch)
        except BaseException as error:
            self._lost(batch, "export_failed")  # counted: telemetry breaks no job
            if not isinstance(error, Exception):
                raise  # for the worker, or for whoever sends it on its own thread
            # At most one line every few seconds would be said by the exporter.
            _log.debug("%s: %s", self._name, error)
        finally:
            with self._changed:
                self._sending -= len(batch)
                self._changed.notify_all()


def remaining(deadline: float) -> float:
    """Seconds until ``deadline`` on `time.monotonic`, never below zero."""
    return max(0.0, deadline - time.monotonic())
