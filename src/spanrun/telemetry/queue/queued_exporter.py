"""`QueuedExporter`: at once when the receiver answers, else by way of the disk.

One thread sends. A second one guards the promise that no item older than a second
is in memory only: it writes what ``linger`` seconds did not see delivered, also
while the first hangs in a request, and cuts a request that takes too long.

A receiver that is up acknowledges within milliseconds, and then nothing is written.
That halves the cost of delivery, and a disk that is slow or full changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.outcome import Exporter
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.outbox import remaining
from spanrun.telemetry.queue.accounting import Accounting, SpoolStatus, Tally
from spanrun.telemetry.queue.consumer import Consumer, Watch
from spanrun.telemetry.queue.frame import MAX_PAYLOAD
from spanrun.telemetry.queue.message_queue import MessageQueue, Recovered
from spanrun.telemetry.queue.retry import Backoff, default_backoff
from spanrun.telemetry.signals import Signal
from spanrun.telemetry.threads import Worker

_log: Final = Log(__name__)

_GRACE: Final = 0.5  # seconds that a request may take over its timeout
_ONCE_MORE: Final = 0.5  # seconds for another request, where all else is a loss
_LAST: Final = 0.2  # seconds for the threads to end, when all of the time is used
_OTHERS: Final = 1.0  # seconds at the end for what other processes left
_TICK: Final = 0.5  # seconds between two looks at a request that runs
_SOON: Final = 0.02  # seconds for a request, where the disk is the other way


class QueuedExporter:
    """Delivers requests of any thread, and what dead processes left, at least once.

    Args:
        folder: Of the spool. See `spanrun.telemetry.queue.spool`.
        exporters: One for each signal that is handed over.
        tally: Told what became of the items.
        max_bytes: That may wait on disk.
        memory_bytes: That may wait in memory: all there is without a disk.
        request_bytes: Of a request that is put together from several.
        linger: Seconds after which what wasn't delivered is on disk.
        recover_every: Seconds between two looks for what dead processes left.
        cumulative: Whether each metrics request supersedes the one before it.
        backoff: Makes the back-off of a signal.
        watch: Told of each request.
    """

    def __init__(
        self,
        folder: Path,
        exporters: Mapping[Signal, Exporter],
        tally: Tally,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        memory_bytes: int = 16 * 1024 * 1024,
        request_bytes: int = 1024 * 1024,
        linger: float = 0.25,
        recover_every: float = 10.0,
        cumulative: bool = True,
        backoff: Callable[[], Backoff] = default_backoff,
        watch: Watch | None = None,
    ) -> None:
        self._exporters: Final = exporters
        self._accounting: Final = Accounting(tally)
        self._queue: Final = MessageQueue(
            folder,
            self._accounting.drop,
            memory_bytes=memory_bytes,
            max_bytes=max_bytes,
            cumulative=cumulative,
        )
        # What is in a request can't be given up: it must not be all there is.
        most = min(request_bytes, max_bytes // 8, memory_bytes // 4)
        self._consumers: Final[dict[Signal, Consumer]] = {
            signal: Consumer(
                exporter,
                self._queue,
                self._accounting,
                backoff(),
                request_bytes=0 if signal == "metrics" else most,
                watch=watch,
            )
            for signal, exporter in exporters.items()
        }
        self._linger: Final = linger
        self._recover_every: Final = recover_every
        self._begin()
        tell_after_fork(self)
        self._start()

    def _begin(self) -> None:
        lock = self._queue.lock
        self._to_send = threading.Condition(lock)
        self._to_disk = threading.Condition(lock)
        self._changed = threading.Condition(lock)
        self._workers: list[Worker] = []
        self._recover_at = 0.0
        self._rushed = 0  # how many wait for what is ours
        self._closing = self._stopped = False
        self._own_only = False  # whether what others left has to wait
        self._allowed: Recovered = "never"  # of that in what is sent just now

    # --- what a caller does

    def put(
        self, signal: Signal, payload: bytes, items: int, *, keep: bool = False
    ) -> None:
        """Hand over an encoded request.

        Waits 0.1 ms where something is in memory, and 50 ms at most where much is.

        Args:
            signal: What is in it.
            payload: An ``ExportTraceServiceRequest`` or its like for another signal.
            items: Spans, data points or log records in it.
            keep: Given up last when room runs out: failed spans, zero points.
        """
        self._accounting.produce(signal, items)
        with self._queue.lock:
            taken = not self._closing and len(payload) <= MAX_PAYLOAD
            if taken:
                was_due = self._queue.due(self._linger)
                self._queue.put(signal, payload, items, keep=keep)
                if was_due is None or self._queue.must_write:
                    self._to_disk.notify()
                self._to_send.notify()
                self._start()
        if taken:
            self._queue.give_way()
        else:
            why: SpanrunTelemetryReason = "shutdown" if self._closing else "queue_full"
            self._accounting.drop(signal, items, why)

    def save(self, payload: bytes, items: int) -> None:
        """Have a request with metrics delivered by the next process, if we are killed.

        It takes the place of the last one, until it is `put` and has left. Never waits.
        """
        with self._queue.lock:
            self._queue.save(payload, items)
            self._to_disk.notify()

    def flush(
        self, timeout: float, *, recovered: bool = False, patient: bool = True
    ) -> bool:
        """Wait until what was handed over is delivered, or counted as lost.

        Args:
            timeout: Seconds, at most.
            recovered: Also what other processes left.
            patient: Also while a receiver doesn't answer; else no longer than that.

        Returns:
            Whether that was so in time. It goes on in any case.
        """
        if recovered:
            self._queue.spool.recover()
        with self._queue.lock:
            self._hurry()
            self._rushed += 1
            try:
                self._changed.wait_for(
                    lambda: (
                        self._is_empty(recovered=recovered)
                        or (not patient and self._is_over())
                    ),
                    timeout,
                )
                return self._is_empty(recovered=recovered)
            finally:
                self._rushed -= 1

    def keep(self, timeout: float) -> None:
        """See to it that what was handed over outlives this process.

        What a receiver has not acknowledged after ``timeout`` seconds, or at once where
        it doesn't answer, is written to disk.
        """
        if not self.flush(min(timeout, _SOON), patient=False):
            self._queue.write_out(time.monotonic())

    def close(self, timeout: float = 5.0) -> bool:
        """Deliver what is left, for at most ``timeout`` seconds, and end the threads.

        When the receiver doesn't answer, what is left goes to disk without
        further waiting, for the next process. Without a working disk it is asked
        once more. A second call does nothing.

        Returns:
            Whether all that was handed over here was delivered, and nothing ever lost.
        """
        deadline = time.monotonic() + timeout
        with self._queue.lock:
            if self._stopped:
                return self._is_delivered()
            self._closing = self._own_only = True
            self._rushed += 1
            self._cut_recovered(deadline)
            self._hurry()
            self._changed.wait_for(self._is_over, remaining(deadline))
        self._queue.write_out(time.monotonic())
        with self._queue.lock:
            if self._queue.disk_trouble:
                self._changed.wait_for(
                    lambda: self._is_empty(recovered=False),
                    min(remaining(deadline), _ONCE_MORE),
                )
            self._send_recovered(min(_OTHERS, remaining(deadline)))
            delivered = self._is_delivered()
            self._stopped = True
            self._to_send.notify_all()
            self._to_disk.notify_all()
        self._join(max(deadline, time.monotonic() + _LAST))
        self._queue.close()
        for exporter in self._exporters.values():
            exporter.close()
        return delivered

    def _cut_recovered(self, deadline: float) -> None:
        """With the lock held: stop a request with others' at the end, and repeat it."""
        left = min(_OTHERS, remaining(deadline))
        while left and not self._changed.wait_for(self._is_next, left):
            if self._queue.sends == "recovered":
                for consumer in self._consumers.values():
                    consumer.cut(float("-inf"))
            left = min(_LAST, remaining(deadline))

    def _send_recovered(self, timeout: float) -> None:
        """At the end, with the lock held: go on with signals that we have none of."""
        for signal, consumer in self._consumers.items():
            if not self._queue.holds(signal, recovered=False):
                consumer.hurry()
                self._own_only, self._recover_at = False, 0.0
        if not self._own_only:
            self._to_send.notify_all()
            self._changed.wait_for(
                lambda: self._recover_at and self._is_over(recovered=True), timeout
            )

    def status(self) -> SpoolStatus:
        """Where each item is, and how the receivers do. Never waits for a disk."""
        queue, now = self._queue, time.monotonic()
        return SpoolStatus(
            {each: its.status(now) for each, its in self._consumers.items()},
            *(queue.spool.size, queue.spool.damaged, queue.disk_trouble),
        )

    @property
    def folder(self) -> Path:
        """Of the spool."""
        return self._queue.spool.root

    def destinations(self) -> dict[Signal, Destination]:
        """Where each signal goes."""
        return {each: its.destination for each, its in self._exporters.items()}

    def requeue(self) -> int:
        """Send what was quarantined once more; how many items that is.

        Raises:
            OSError: If it can't be read or written.
        """
        items = self._queue.spool.requeue()
        with self._queue.lock:
            self._hurry()
        return items

    def _join(self, deadline: float) -> None:
        """End the threads. One that looks a name up can't be ended: it is left."""
        while any(worker.is_alive for worker in self._workers):
            for consumer in self._consumers.values():
                consumer.stop()
            for worker in self._workers:
                worker.join(0.02)
            if time.monotonic() > deadline:
                return

    # --- what its threads do

    def _start(self) -> None:
        if not self._workers and not self._stopped:
            self._workers += [Worker("send", self._send), Worker("spool", self._keep)]

    def _hurry(self) -> None:
        for consumer in self._consumers.values():
            consumer.hurry()
        self._start()
        self._to_send.notify_all()

    def _send(self) -> None:
        last: Signal | None = None
        while not self._stopped:
            signal = self._next(last)
            if signal is not None:
                last = signal
                consumer = self._consumers[signal]
                try:
                    consumer.send_next(self._allowed)
                except Exception as error:  # noqa: BLE001 -- the thread has to go on
                    consumer.fail_inside(error)
                with self._queue.lock:
                    self._allowed = "never"
                    self._changed.notify_all()
                    if self._queue.is_behind:
                        self._to_disk.notify()
            self._recover()

    def _next(self, last: Signal | None) -> Signal | None:
        """The signal whose turn it is, after a wait for one; None to look again."""
        with self._queue.lock:
            now = time.monotonic()
            wake = now + _TICK if self._own_only else self._recover_at
            # The one that was just served comes last.
            for signal in sorted(self._consumers, key=lambda signal: signal == last):
                consumer = self._consumers[signal]
                if self._queue.holds(signal, recovered=not self._own_only):
                    if consumer.backoff.until <= now:
                        if not self._own_only:
                            self._allowed = "last" if self._rushed else "in turn"
                        return signal
                    wake = min(wake, consumer.backoff.until)
            self._changed.notify_all()
            if not self._stopped:
                self._to_send.wait(max(0.0, wake - now))
            return None

    def _recover(self) -> None:
        due = time.monotonic() >= self._recover_at or self._queue.spool.has_more
        if not due or self._own_only or self._stopped:
            return
        try:
            if self._queue.spool.recover():
                with self._queue.lock:
                    self._to_disk.notify()
        except Exception as error:  # noqa: BLE001 -- the thread has to go on
            _log.warning("spool: what other processes left can't be read: %s", error)
        self._recover_at = time.monotonic() + self._recover_every

    def _keep(self) -> None:
        """The other thread: to disk what is due, and an eye on the request."""
        while not self._stopped:
            with self._queue.lock:
                now = time.monotonic()
                due = self._queue.due(self._linger)
                if due is None or due > now:
                    tick = None if self._is_empty(recovered=True) else now + _TICK
                    wake = min((t for t in (due, tick) if t is not None), default=None)
                    if not self._stopped:
                        self._to_disk.wait(None if wake is None else wake - now)
                    due = None
                moment = now if self._queue.must_write else now - self._linger
            self._accounting.say_losses(time.monotonic())
            for consumer in self._consumers.values():
                consumer.cut(_GRACE)
            if due is not None:
                self._queue.write_out(moment)

    # --- with the lock held

    def _is_empty(self, *, recovered: bool) -> bool:
        return not any(
            self._queue.holds(signal, recovered=recovered) for signal in self._consumers
        )

    def _is_next(self) -> bool:
        """Whether none of our own waits for others' that is chosen or in a request."""
        is_clear = self._allowed == "never" or self._queue.sends == "own"
        return is_clear or self._is_empty(recovered=False)

    def _is_delivered(self) -> bool:
        return self._is_empty(recovered=False) and not self._accounting.lost

    def _is_over(self, *, recovered: bool = False) -> bool:
        """Whether all is delivered that can be now."""
        now = time.monotonic()
        return all(
            consumer.has_to_wait(now)
            or not self._queue.holds(signal, recovered=recovered)
            for signal, consumer in self._consumers.items()
        )

    def after_fork(self) -> None:
        """In the child: what was handed over belongs to the parent."""
        self._queue.after_fork()
        self._accounting.reset()
        for consumer in self._consumers.values():
            consumer.after_fork()
        self._begin()
