"""`MemoryQueue`: the messages that are in memory only, for now."""

from __future__ import annotations

from collections import deque
from typing import Final

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.queue.accounting import Lose
from spanrun.telemetry.queue.layout import KEYS, Key
from spanrun.telemetry.queue.message import Message, in_order, upto
from spanrun.telemetry.signals import Signal


class MemoryQueue:
    """A bounded queue of messages that aren't on disk yet.

    When it is full, the oldest ordinary messages are given up for newer ones, and
    those marked ``keep`` for others of their kind only. Not safe from several
    threads: its owner has the lock.

    Args:
        max_bytes: Of all payloads in it.
        lost: Told of what had to be given up.
    """

    def __init__(self, max_bytes: int, lost: Lose) -> None:
        self.bytes = 0
        self._max_bytes: Final = max_bytes
        self._lost: Final = lost
        self._queues: Final[dict[Key, deque[Message]]] = {key: deque() for key in KEYS}

    def add(self, message: Message, reason: SpanrunTelemetryReason) -> bool:
        """Queue ``message``, if it fits; ``reason`` is told of what is given up."""
        frame = message.frame
        size = len(frame.payload)
        if size > self._max_bytes:
            self._lost(frame.signal, frame.items, reason)
            return False
        while self.bytes + size > self._max_bytes:
            if not self._evict(reason, keep=frame.keep):
                self._lost(frame.signal, frame.items, reason)
                return False
        self._queues[frame.signal, frame.keep].append(message)
        self.bytes += size
        return True

    def restore(self, message: Message, reason: SpanrunTelemetryReason) -> None:
        """Queue ``message`` again, which was on a disk and isn't any more."""
        if message not in self._queues[message.frame.signal, message.frame.keep]:
            self.add(message, reason)

    def replace(self, old: Message, new: list[Message]) -> None:
        """Put ``new`` in the place of ``old``, which is the first or not in here."""
        queue = self._queues[old.frame.signal, old.frame.keep]
        old.done = True
        self.settle()
        for message in reversed(new):
            queue.appendleft(message)
            self.bytes += len(message.frame.payload)

    def head(self, signal: Signal, limit: int) -> list[Message]:
        """The oldest of ``signal``: ``limit`` bytes, or one longer message."""
        # Copies: what the garbage collector ends meanwhile may be put in here.
        queues = [
            tuple(queue) for key, queue in self._queues.items() if key[0] == signal
        ]
        waiting = (p for p in in_order(queues) if p.location is None and not p.done)
        return upto(limit, waiting)

    def waiting(self, signal: Signal) -> int:
        """Items of ``signal`` in here."""
        return sum(
            message.frame.items
            for key, queue in self._queues.items()
            if key[0] == signal
            for message in tuple(queue)
            if message.location is None and not message.done
        )

    def holds(self, signal: Signal) -> bool:
        """Whether something of ``signal`` is in here."""
        return any(queue for key, queue in self._queues.items() if key[0] == signal)

    def created(self) -> float | None:
        """When the oldest was handed over; None when there is none."""
        return min(
            (queue[0].created for queue in self._queues.values() if queue), default=None
        )

    def before(self, moment: float) -> list[Message]:
        """All that were handed over before ``moment``."""
        return [
            message
            for queue in self._queues.values()
            for message in tuple(queue)
            if message.created <= moment
            and message.location is None
            and not message.done
        ]

    def settle(self) -> None:
        """Forget what is on disk by now, or done with."""
        for queue in self._queues.values():
            while queue and (queue[0].done or queue[0].location is not None):
                self.bytes -= len(queue.popleft().frame.payload)

    def clear(self) -> None:
        """Forget all of them."""
        for queue in self._queues.values():
            queue.clear()
        self.bytes = 0

    def _evict(self, reason: SpanrunTelemetryReason, *, keep: bool) -> bool:
        for key in KEYS:
            queue = self._queues[key]
            if key[1] and not keep:
                break
            for message in tuple(queue):
                if not message.in_flight and not message.writing:
                    queue.remove(message)
                    self.bytes -= len(message.frame.payload)
                    if message.location is None and not message.done:
                        message.done = True
                        self._lost(key[0], message.frame.items, reason)
                    return True
        return False
