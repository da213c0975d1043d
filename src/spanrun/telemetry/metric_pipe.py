"""`MetricPipe`: snapshots of all metrics, taken and sent by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricReader,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.metrics.view import Aggregation

from spanrun.telemetry.account import Account
from spanrun.telemetry.exits import Exit
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.forks import notice_fork, tell_after_fork
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.threads import Worker

_PAUSE: Final = 1.0  # seconds from one snapshot to the next
_SHARE: Final = 20  # or so many times as long as one takes: 5 % of a processor

Turn: TypeAlias = Literal["send", "save", "last"]


class Collector(MetricReader):
    """Collects what the SDK's instruments hold, when asked, and says it."""

    def __init__(
        self,
        temporality: dict[type, AggregationTemporality],
        aggregation: dict[type, Aggregation],
    ) -> None:
        super().__init__(temporality, aggregation)
        self._collected: MetricsData | None = None

    def now(self) -> MetricsData | None:
        """The metrics as they are now; None when there are none."""
        self._collected = None
        self.collect()
        return self._collected

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing: what is to be sent is decided elsewhere."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 -- the SDK's signature
        **_: Any,
    ) -> None:
        self._collected = metrics_data


class MetricPipe:
    """Takes snapshots on a timer and when asked, and sends each.

    There is one at a time, and a second or more from one to the next: whatever is
    asked for until then is in the next one. The zero point of a series that began
    leaves before it, in a request of its own with the moment of its beginning. So a
    run is seen from its beginning, however many of them share a snapshot.

    In between, each second in which something of ours was counted, a snapshot is
    saved, for the case that the process is killed.

    Args:
        leave: Where snapshots leave.
        account: Counts them.
        interval: Seconds between two of them.
        collectors: Of what the SDK's instruments hold.
        aggregator: Of what was aggregated in place.
        save: Keeps a snapshot in place of the one before; None if nobody does.
    """

    def __init__(
        self,
        leave: Exit,
        account: Account,
        interval: float,
        collectors: Sequence[Collector],
        aggregator: Aggregator,
        *,
        save: Callable[[MetricsData], None] | None = None,
    ) -> None:
        self._exit: Final = leave
        self._interval: Final = interval
        self._pause: Final = min(_PAUSE, interval)
        self._collectors: Final = collectors
        self._aggregator: Final = aggregator
        self._save: Final = save
        self._fail: Final = partial(Faults(account), "metrics")
        self._closed = False
        self._begin()
        tell_after_fork(self)

    def _begin(self) -> None:
        # Re-entrant: the garbage collector may close a runner while it is held.
        self._changed = threading.Condition(threading.RLock())
        self._wanted = False
        self._flushes = self._flushed = 0
        self._send_from = self._save_from = 0.0
        self._due = time.monotonic() + self._interval
        self._worker = Worker("metrics", self._work)

    def snapshot(self) -> None:
        """Have one taken and sent soon. Waits for nothing."""
        if self._wanted:
            return
        notice_fork()
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Have one more handed over; whether that took less than ``timeout``."""
        notice_fork()
        with self._changed:
            self._flushes += 1
            mine = self._flushes
            self._changed.notify_all()
            done = self._changed.wait_for(
                lambda: self._flushed >= mine or not self._worker.is_alive, timeout
            )
        return self._in_time(done)

    def close(self, timeout: float) -> bool:
        """Hand over what is left and end; whether that was all, in time."""
        notice_fork()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join(timeout)
        return self._in_time(not self._worker.is_alive)

    def after_fork(self) -> None:
        """In the child: a thread of its own."""
        if not self._closed:
            self._begin()

    def _in_time(self, done: bool) -> bool:  # noqa: FBT001 -- and given back
        """Count what has not left, because a callback of the application hangs."""
        if not done:
            self._fail(TimeoutError("metrics are being collected, for too long"))
        return done

    def _work(self) -> None:
        notice_fork()  # ends when all others have begun anew, too
        turn: Turn = "send"
        while turn != "last":
            turn, flushes = self._wait()
            began = time.thread_time()
            try:
                self._take(turn)
            except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
                self._fail(error)
            pause = max(self._pause, _SHARE * (time.thread_time() - began))
            with self._changed:
                self._flushed = flushes
                self._save_from = time.monotonic() + pause
                if turn == "send":
                    self._send_from = self._save_from
                self._changed.notify_all()

    def _wait(self) -> tuple[Turn, int]:
        """What is to be done next, when it is time; and the flushes that it is for."""
        with self._changed:
            while True:
                now = time.monotonic()
                turn = self._turn(now)
                if turn is not None:
                    break
                wake = self._due
                if self._wanted:
                    wake = min(wake, self._send_from)
                if self._save is not None:
                    wake = min(wake, self._save_from)
                self._changed.wait(max(0.0, wake - now))
            if turn != "save":
                self._wanted = False
                self._due = now + self._interval
            return turn, self._flushes

    def _turn(self, now: float) -> Turn | None:
        if self._closed:
            return "last"
        if self._flushes > self._flushed or now >= self._due:
            return "send"
        if now >= self._send_from and (self._wanted or self._aggregator.has_begun):
            return "send"
        return "save" if self._save is not None and now >= self._save_from else None

    def _take(self, turn: Turn) -> None:
        if turn == "save":
            snapshot = self._aggregator.peek()
            if snapshot is not None and self._save is not None:
                self._save(snapshot)
            return
        zeros, snapshot = self._aggregator.take(collected(self._collectors, self._fail))
        if zeros is not None:
            self._exit.metrics(zeros, keep=True)
        if snapshot is None:
            return
        if self._save is not None:
            self._save(snapshot)
        self._exit.metrics(snapshot, keep=turn == "last")


def collected(
    collectors: Sequence[Collector], fail: Callable[[Exception], object]
) -> MetricsData | None:
    """What they hold. Instruments of other libraries may fail, and not cost ours."""
    parts: list[ResourceMetrics] = []
    for each in collectors:
        try:
            found = each.now()
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            fail(error)
        else:
            parts += found.resource_metrics if found else ()
    return MetricsData(parts) if parts else None
