"""`records_of`: the log records of one of OTLP's requests, as a reader gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.recordings.records import LogRecord
from spanrun.telemetry.span.decode import mapping, value_of


def records_of(body: bytes) -> Iterator[LogRecord]:
    """Its records, in their order."""
    with no_fork():
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 -- 16 ms
            ExportLogsServiceRequest,
        )

    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield _record_of(record, scope.scope.name)


def _record_of(record: Any, logger: str) -> LogRecord:
    return LogRecord(
        record.time_unix_nano or record.observed_time_unix_nano,
        record.severity_number,
        record.severity_text,
        value_of(record.body),
        record.trace_id.hex() or None,
        record.span_id.hex() or None,
        mapping(record.attributes),
        logger,
    )
