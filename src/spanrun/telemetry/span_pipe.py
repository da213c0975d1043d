"""`SpanPipe`: from ended spans to an exit, in batches, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.speed import FAST, Buffer
from spanrun.telemetry.account import Account
from spanrun.telemetry.export import Exit, OtlpExit, count_lost
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.outbox import Outbox
from spanrun.telemetry.scope import OUR_SCOPE
from spanrun.telemetry.spans.origin import Encoded, Origin, Wire
from spanrun.telemetry.spans.recorded import Recorded

_MAX_SPANS: Final = 4_096
_DELAY: Final = 0.1  # seconds; what `os._exit` loses, at most, while all is well
_MAX_BYTES: Final = 256 * 1024  # of encoded spans in the memory of who makes them

Item: TypeAlias = "Recorded | Encoded | Buffer"
"""A span, some that are encoded, or a buffer in which some are."""


class SpanPipe:
    """The sink of ended spans: hands them to an exit in batches.

    Args:
        leave: Where they leave.
        account: Counts them.

    Attributes:
        capacity: Items that may wait.
    """

    def __init__(self, leave: Exit, account: Account) -> None:
        self._exit: Final = leave
        self._otlp: Final = leave if isinstance(leave, OtlpExit) else None
        self._account: Final = account
        self._origin: Origin | None = None
        self.capacity: Final = _MAX_SPANS
        self._outbox: Final = Outbox[Item](
            "spans",
            self._leave,
            self._lost,
            capacity=self.capacity,
            delay=_DELAY,
            full="lose" if leave.waits else "send",
        )
        self.put: Final[Callable[[Recorded], object]] = self._outbox.put
        self._wire: Final[Wire] = (
            Buffer(self._outbox.put, self._full, _MAX_BYTES)
            if FAST
            else self._outbox.put
        )
        tell_after_fork(self)

    def encoded(self, origin: Origin) -> Wire | None:
        """What takes ended spans of ``origin`` that are encoded already.

        None for others' spans, and where they leave in another form.
        """
        if self._otlp is None or origin.scope != OUR_SCOPE:
            return None
        self._origin = origin
        return self._wire

    @property
    def waiting(self) -> int:
        """Spans that wait to be handed over, or pairs of them."""
        return self._outbox.waiting

    def flush(self, timeout: float) -> bool:
        """Hand over all that is queued; whether that took less than ``timeout``."""
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Hand over what is left and end; whether that was all, in time."""
        return self._outbox.close(timeout)

    def after_fork(self) -> None:
        """In the child: what waits belongs to the parent."""
        if isinstance(self._wire, Buffer):
            self._wire.take()

    def _full(self, data: bytes, spans: int) -> None:
        """So much is encoded that whoever did it hands it over."""
        self._outbox.send([(data, spans)])

    def _leave(self, items: list[Item]) -> None:
        spans, encoded = _sorted(items)
        count = _count_encoded(encoded)
        self._account.process(len(spans) + count)
        if count and self._origin is not None and self._otlp is not None:
            self._otlp.encoded(self._origin, encoded)
        if spans:  # those of runs, which end last, are among them
            self._exit.spans(spans)

    def _lost(self, items: list[Item], reason: SpanrunTelemetryReason) -> None:
        some, encoded = _sorted(items)
        spans = len(some) + _count_encoded(encoded)
        if reason != "export_failed":
            self._account.process(spans, reason)
        count_lost(self._account, "traces", reason, spans)


def _sorted(items: Sequence[Item]) -> tuple[list[Recorded], list[Encoded]]:
    """The spans, and what is encoded already."""
    spans: list[Recorded] = []
    encoded: list[Encoded] = []
    for item in items:
        if isinstance(item, Recorded):
            spans.append(item)
        else:
            encoded.append(item if isinstance(item, tuple) else item.take())
    return spans, encoded


def _count_encoded(items: Sequence[Encoded]) -> int:
    return sum(count for _, count in items)
