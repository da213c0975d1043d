"""Read the protobuf in a receiver's answers. The libraries load when there is some."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import (  # type: ignore[import-untyped]  # no stubs
    DecodeError,
)
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no stubs
    RetryInfo,
)
from google.rpc.status_pb2 import (  # type: ignore[import-untyped]  # no stubs
    Status,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from spanrun.telemetry.delivery.frames import Signal


def partial_success(signal: Signal, body: bytes) -> tuple[int, str]:
    """The items that were rejected, and why, by the body of a success."""
    try:
        if signal == "traces":
            spans = ExportTraceServiceResponse.FromString(body).partial_success
            return max(0, spans.rejected_spans), spans.error_message
        points = ExportMetricsServiceResponse.FromString(body).partial_success
        return max(0, points.rejected_data_points), points.error_message
    except DecodeError:
        return 0, ""  # some proxies answer in words


def message_of(status: bytes) -> str:
    """The message of a ``google.rpc.Status``."""
    try:
        message: str = Status.FromString(status).message
    except DecodeError:
        return ""
    return message


def retry_delay(info: bytes) -> float | None:
    """The seconds of a ``google.rpc.RetryInfo``."""
    try:
        return _seconds(RetryInfo.FromString(info))
    except DecodeError:
        return None


def retry_delay_in(status: bytes) -> float | None:
    """The seconds of the ``RetryInfo`` among the details of a ``Status``."""
    try:
        details = Status.FromString(status).details
        info = RetryInfo()
        if any(detail.Unpack(info) for detail in details):
            return _seconds(info)
    except DecodeError:
        pass  # an answer that can't be read asks for nothing
    return None


def _seconds(info: Any) -> float:
    seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return seconds
