"""`LogPipe`: from records of `logging` to their exit, in batches, on its own thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from opentelemetry.sdk.resources import Resource

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.account import Account
from spanrun.telemetry.exits import count_lost
from spanrun.telemetry.faults import Faults
from spanrun.telemetry.logs import foreign
from spanrun.telemetry.logs.encode import RecordEncoder
from spanrun.telemetry.logs.place import Place
from spanrun.telemetry.outbox import Outbox


class Encoded(NamedTuple):
    """A log record.

    Attributes:
        logger: The name of the logger that it was made with.
        data: A field ``log_records`` of OTLP's ``ScopeLogs``.
        is_error: Its level is ERROR or above.
    """

    logger: str
    data: bytes
    is_error: bool


class LogBatch(NamedTuple):
    """Log records of one logger.

    Attributes:
        resource: The process that they come from.
        logger: The name of the logger.
        data: The records, each as a field ``log_records`` of OTLP's ``ScopeLogs``.
        records: How many.
        failed: All of them are errors; else none is.
    """

    resource: Resource
    logger: str
    data: bytes
    records: int
    failed: bool


class LogExit(Protocol):
    """A way out for log records. It has what it takes, and counts it."""

    waits: bool
    """Whether it may take long. Who makes a record then doesn't wait for it."""

    def logs(self, batch: LogBatch) -> None:
        """Take records."""
        ...


class LogPipe:
    """Encodes records where they are made, and hands them over in batches.

    Where the application has a `LoggerProvider` of OpenTelemetry's, that gets them
    instead, unless a handler of its own gives them to it already.

    Args:
        leaving: Where they leave.
        account: Counts them.
        resource: Gives what describes this process.
        encoder: Makes bytes of them.
        delay: Seconds that a record waits for others.
        batch: Records that are handed over at once.
        capacity: Records that may wait.
    """

    def __init__(
        self,
        leaving: Sequence[LogExit],
        account: Account,
        resource: Callable[[], Resource],
        encoder: RecordEncoder,
        *,
        delay: float,
        batch: int,
        capacity: int,
    ) -> None:
        self._exits: Final = leaving
        self._account: Final = account
        self._resource: Final = resource
        self._encode: Final = encoder.encode
        self._fail: Final = partial(Faults(account), "logs")
        self._outbox: Outbox[Encoded] | None = None
        if leaving:
            self._outbox = Outbox[Encoded](
                "logs",
                self._leave,
                self._lost,
                capacity=capacity,
                batch=batch,
                delay=delay,
                full="lose" if any(each.waits for each in leaving) else "send",
            )

    def take(self, record: logging.LogRecord, where: Place) -> None:
        """Have a record. Never raises."""
        try:
            theirs = foreign.provider()
            if theirs is not None:
                foreign.emit(theirs, record, where)
            elif self._outbox is not None:
                data, error = (
                    self._encode(record, where),
                    record.levelno >= logging.ERROR,
                )
                self._outbox.put(Encoded(record.name, data, error))
        except Exception as error:  # noqa: BLE001 -- counted: telemetry breaks no job
            self._fail(error)

    def flush(self, timeout: float) -> bool:
        """Hand over all that is queued; whether that took less than ``timeout``."""
        return self._outbox is None or self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Hand over what is left and end; whether that was all, in time."""
        return self._outbox is None or self._outbox.close(timeout)

    def _leave(self, records: list[Encoded]) -> None:
        groups: dict[tuple[str, bool], list[bytes]] = {}
        for each in records:
            groups.setdefault((each.logger, each.is_error), []).append(each.data)
        resource = self._resource()
        for (logger, failed), data in groups.items():
            batch = LogBatch(resource, logger, b"".join(data), len(data), failed)
            for leave in self._exits:
                try:
                    leave.logs(batch)
                except Exception as error:  # noqa: BLE001 -- the others still leave
                    self._account.drop("logs", "internal_error", len(data))
                    self._fail(error)

    def _lost(self, records: list[Encoded], reason: SpanrunTelemetryReason) -> None:
        count_lost(self._account, "logs", reason, len(records))
