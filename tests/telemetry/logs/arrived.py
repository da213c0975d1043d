"""What log records arrived at a receiver."""

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from tests.telemetry.export.receiver import Got


def scopes(requests: list[Got]) -> list[tuple[dict[str, str], str, Any]]:
    """Resource, logger's name and record, of each."""
    return [
        (
            {at.key: at.value.string_value for at in resource.resource.attributes},
            scope.scope.name,
            record,
        )
        for got in requests
        if got.path.endswith(("logs", "LogsService/Export"))
        for resource in ExportLogsServiceRequest.FromString(got.body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def records(requests: list[Got]) -> list[Any]:
    return [record for _, _, record in scopes(requests)]


def values(record: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in record.attributes
    }
