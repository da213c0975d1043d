"""Read the protobuf in a receiver's answers. The libraries load when there is some."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import (  # type: ignore[import-untyped]  # no stubs
    DecodeError,
)
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no stubs
    RetryInfo,
)
from google.rpc.status_pb2 import (  # type: ignore[import-untyped]  # no stubs
    Status,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.signals import Signal

_RESPONSES: Final[dict[Signal, Any]] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_REJECTED: Final[dict[Signal, str]] = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}


def partial_success(signal: Signal, body: bytes) -> tuple[int, str] | None:
    """The items that were rejected, and why, by the body of a success.

    Returns:
        None where the body isn't that of such an answer.
    """
    response = _read(_RESPONSES[signal], body)
    return None if response is None else _rejected(signal, response)


def partial_success_in_json(signal: Signal, body: bytes) -> tuple[int, str] | None:
    """The same, from receivers that answer in JSON though they were sent protobuf."""
    with no_fork():
        from google.protobuf import json_format  # type: ignore[import-untyped]  # noqa: PLC0415 -- 20 ms, rare

    response = _RESPONSES[signal]()
    try:
        json_format.Parse(body, response, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError):
        return None
    return _rejected(signal, response)


def _rejected(signal: Signal, response: Any) -> tuple[int, str]:
    found = response.partial_success
    return max(0, getattr(found, _REJECTED[signal])), found.error_message


def message_of(status: bytes) -> str:
    """The message of a ``google.rpc.Status``."""
    message: str = getattr(_read(Status, status), "message", "")
    return message


def retry_delay(info: bytes) -> float | None:
    """The seconds of a ``google.rpc.RetryInfo``."""
    found = _read(RetryInfo, info)
    return None if found is None else _seconds(found)


def retry_delay_in(status: bytes) -> float | None:
    """The seconds of the ``RetryInfo`` among the details of a ``Status``."""
    for detail in getattr(_read(Status, status), "details", ()):
        if detail.Is(RetryInfo.DESCRIPTOR):
            return retry_delay(detail.value)
    return None


def _read(kind: Any, data: bytes) -> Any:
    """The message in ``data``; None where it can't be read."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def _seconds(info: Any) -> float:
    seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return seconds
