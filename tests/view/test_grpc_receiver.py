"""The receiver of OTLP over gRPC: what it takes and what it refuses."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceStub,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceStub,
)
from tests.view.test_receiver import LOOPBACK, traces

from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.view import intake
from spanrun.view.grpc_receiver import GrpcReceiver

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[GrpcReceiver]:
    receiver = GrpcReceiver(OtlpStore(tmp_path), LOOPBACK, 0)
    receiver.start()
    yield receiver
    receiver.close()


@pytest.fixture
def channel(receiver: GrpcReceiver) -> Iterator[Any]:
    with grpc.insecure_channel(f"{LOOPBACK}:{receiver.port}") as channel:
        yield channel


def refusal(channel: Any, body: bytes, path: str = EXPORT, **how: Any) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(path)(body, timeout=60, **how)
    return raised.value


def test_each_signal_has_its_service(receiver: GrpcReceiver, channel: Any) -> None:
    TraceServiceStub(channel).Export(traces({}, {}))
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value, record.time_unix_nano = "hello", 10**18
    LogsServiceStub(channel).Export(logs)
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="a")
    metric.gauge.data_points.add(as_double=1.5, time_unix_nano=10**18)
    MetricsServiceStub(channel).Export(metrics)
    assert receiver.counts == {"spans": 2, "logs": 1, "metrics": 1}


def test_spans_without_ids_are_counted_in_the_answer(channel: Any) -> None:
    answer = TraceServiceStub(channel).Export(traces({}, {"trace_id": b"short"}))
    assert answer.partial_success.rejected_spans == 1
    assert "without a trace id" in answer.partial_success.error_message


@pytest.mark.parametrize("coding", ["NoCompression", "Gzip", "Deflate"])
def test_a_message_may_be_compressed(
    receiver: GrpcReceiver, channel: Any, coding: str
) -> None:
    TraceServiceStub(channel).Export(
        traces({"name": "x" * 10_000}), compression=getattr(grpc.Compression, coding)
    )
    assert receiver.counts["spans"] == 1


def test_what_is_no_request_is_refused(receiver: GrpcReceiver, channel: Any) -> None:
    error = refusal(channel, b"\xff" * 100)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is no ExportTraceServiceRequest" in error.details()
    unknown = refusal(channel, b"", EXPORT.replace("Trace", "Profiles"))
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not receiver.counts


@pytest.mark.parametrize("coding", ["NoCompression", "Gzip"])
def test_a_large_message_is_refused(
    receiver: GrpcReceiver, channel: Any, coding: str
) -> None:
    """Also one that is only large when it is unpacked."""
    body = traces({"name": "x" * (intake.MAX_BODY + 1)}).SerializeToString()
    error = refusal(channel, body, compression=getattr(grpc.Compression, coding))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not receiver.counts


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_it_has_the_address_that_is_named(tmp_path: Path, host: str) -> None:
    receiver = GrpcReceiver(OtlpStore(tmp_path), host, 0)
    receiver.start()
    with grpc.insecure_channel(receiver.url.removeprefix("http://")) as channel:
        TraceServiceStub(channel).Export(traces({}))
    receiver.close()
    assert receiver.counts["spans"] == 1


def test_a_port_that_is_taken_is_an_os_error(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            GrpcReceiver(OtlpStore(tmp_path), LOOPBACK, other.getsockname()[1])


def test_grpc_is_imported_only_when_it_is_asked_for() -> None:
    code = (
        "import sys, spanrun.cli.view, spanrun.view.receiver\n"
        "assert 'grpc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
