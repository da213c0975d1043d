"""`Outbox`: a bounded queue, and the one thread that empties it into a sink."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from spanrun.semconv import SpanrunTelemetryReason

T = TypeVar("T")

_log = logging.getLogger(__name__)

Send = Callable[[list[T]], None]
Lost = Callable[[list[T], SpanrunTelemetryReason], None]


class Outbox(Generic[T]):
    """Takes items on any thread at once, and sends them in batches on its own.

    `put` never blocks. What doesn't fit, fails to be sent, or is still here
    when time is up is told to ``lost`` with the reason, so each item is
    accounted for: sent or lost.

    Args:
        name: Of the thread.
        send: Delivers a batch, in order; raises when it could not.
        lost: Told of each batch that will not be delivered.
        capacity: Items that may wait.
        batch: Items in one call of ``send``.
        delay: Seconds that an item waits for company.
    """

    def __init__(
        self,
        name: str,
        send: Send[T],
        lost: Lost[T],
        *,
        capacity: int = 65_536,
        batch: int = 512,
        delay: float = 0.5,
    ) -> None:
        self._send: Final = send
        self._lost: Final = lost
        self._capacity: Final = capacity
        self._batch: Final = batch
        self._delay: Final = delay
        self._items: deque[T] = deque()
        self._changed: Final = threading.Condition()
        self._sending = 0
        self._hurry = False
        self._closed = False
        self._thread: Final = threading.Thread(
            target=self._work, name=f"spanrun-{name}", daemon=True
        )
        self._thread.start()

    def put(self, item: T) -> None:
        """Queue ``item``; the newest is lost when the queue is full."""
        with self._changed:
            if not self._closed and len(self._items) < self._capacity:
                self._items.append(item)
                if len(self._items) in (1, self._batch):
                    self._changed.notify_all()
                return
        self._lost([item], "shutdown" if self._closed else "queue_full")

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued is sent or lost.

        Returns:
            Whether that was so within ``timeout`` seconds.
        """
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
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        if left:
            self._lost(left, "shutdown")
        if done:
            self._thread.join(1.0)
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._any)
                self._changed.wait_for(self._due, self._delay)
                batch = self._take()
                if not batch:
                    self._hurry = False
                    self._changed.notify_all()
                    if self._closed:
                        return
                    continue
                self._sending = len(batch)
            self._deliver(batch)
            with self._changed:
                self._sending = 0
                self._changed.notify_all()

    def _any(self) -> bool:
        return bool(self._items) or self._hurry or self._closed

    def _due(self) -> bool:
        return self._hurry or self._closed or len(self._items) >= self._batch

    def _take(self) -> list[T]:
        items = self._items
        return [items.popleft() for _ in range(min(len(items), self._batch))]

    def _deliver(self, batch: list[T]) -> None:
        try:
            self._send(batch)
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            self._lost(batch, "export_failed")
            # At most one line every few seconds would be said by the exporter.
            _log.debug("%s: %r", self._thread.name, error)


def remaining(deadline: float) -> float:
    """Seconds until ``deadline`` on `time.monotonic`, never below zero."""
    return max(0.0, deadline - time.monotonic())
