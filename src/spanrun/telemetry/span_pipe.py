"""`SpanPipe`: from ended spans to the exits, in batches, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.exits import count_lost
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.outbox import Outbox
from spanrun.telemetry.span import Batch, Buffer

_log: Final = Log(__name__)

_DELAY: Final = 0.1  # seconds; what `os._exit` loses, at most, while all is well
_MAX_BYTES: Final = 256 * 1024
"""Of failed spans, and of others, encoded, in the memory of who makes them."""


Take: TypeAlias = Callable[[], list[Batch]]
"""Takes what waits in a buffer."""


class SpanExit(Protocol):
    """A way out for ended spans. It has what it takes, and counts it."""

    waits: bool
    """Whether it may take long. Who ends a span then doesn't wait for it."""

    def spans(self, batch: Batch) -> None:
        """Take ended spans."""
        ...


class SpanPipe:
    """Hands ended spans to the exits, in batches.

    Args:
        exits: Each takes all of them.
        account: Counts them.

    Attributes:
        buffer: Where spans go when they end.
    """

    def __init__(self, exits: Sequence[SpanExit], account: Account) -> None:
        self._exits: Final = exits
        self._account: Final = account
        self._faults: Final = Faults(account)
        self._outbox: Final = Outbox[Take](
            "spans", self._leave, self._lost, delay=_DELAY
        )
        waits = any(each.waits for each in exits)
        full = self._lose if waits else self._send
        self.buffer: Final = Buffer(self._begun, full, _MAX_BYTES)
        self._is_closed = self._has_complained = False
        tell_after_fork(self)

    @property
    def waiting(self) -> int:
        """Spans that wait to be handed over."""
        return self.buffer.waiting

    def flush(self, timeout: float) -> bool:
        """Hand over all that is queued; whether that took less than ``timeout``."""
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Hand over what is left and end; whether that was all, in time."""
        try:
            return self._outbox.close(timeout)
        finally:
            self._is_closed = True

    def after_fork(self) -> None:
        """In the child: what waits belongs to the parent."""
        self.buffer.after_fork()

    def _begun(self, buffer: Buffer) -> None:
        """Spans wait."""
        self._outbox.put(buffer.take)

    def _send(self, buffer: Buffer) -> None:
        """So much waits that whoever ended a span hands it over."""
        self._outbox.send([partial(buffer.take, for_room=True)])

    def _lose(self, buffer: Buffer) -> None:
        """So much waits that it is given up: handing it over may take long."""
        self._lost([buffer.take], "queue_full")

    def _leave(self, takes: list[Take]) -> None:
        for take in takes:
            for batch in take():
                self._account.process(batch.spans)
                for leave in self._exits:
                    self._hand_over(leave, batch)

    def _hand_over(self, leave: SpanExit, batch: Batch) -> None:
        try:
            leave.spans(batch)
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            self._faults("traces", error)

    def _lost(self, takes: list[Take], reason: SpanrunTelemetryReason) -> None:
        for take in takes:
            spans = sum(batch.spans for batch in take())
            self._account.process(spans, reason)
            count_lost(self._account, "traces", reason, spans)
            if spans and self._is_closed and not self._has_complained:
                self._has_complained = True
                _log.warning(
                    "spans that end after telemetry was shut down are lost, such as in "
                    "a function that was given to atexit before configure(): call "
                    "configure() first"
                )
