"""`Intake`: keeps the OTLP that a receiver gets, over HTTP or gRPC.

Traces go into the store that pages are shown of, logs and metrics into a file beside
it.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

from google.protobuf.message import (  # type: ignore[import-untyped]  # no stubs
    DecodeError,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanrun.telemetry.recordings.otlp_store import OtlpStore

MAX_BODY: Final = 20 * 1024 * 1024
"""Bytes of a request, also decompressed: as many as the Collector takes."""
AT_ONCE: Final = 8
"""Requests that are read at the same time; more wait."""
KINDS: Final[dict[str, Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
"""The request of each signal, by its path over HTTP."""
_NO_IDS: Final = "spans without a trace id of 16 bytes and a span id of 8"


class Intake:
    """What receivers have in common.

    Args:
        store: Where all of it goes.

    Attributes:
        counts: Of what was taken: spans, points of metrics, and log records.
    """

    def __init__(self, store: OtlpStore) -> None:
        self.store: Final = store
        self.counts: Final[Counter[str]] = Counter()
        self._lock: Final = threading.Lock()

    def stop(self) -> None:
        """Stop listening."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening, and write what was taken."""
        self.stop()
        self.store.close()

    def take(self, request: Any) -> ExportTraceServiceResponse:
        """Keep a request; the answer says how many spans can't be kept.

        It is that of all signals: where nothing is refused, it is empty.
        """
        answer = ExportTraceServiceResponse()
        if isinstance(request, ExportTraceServiceRequest):
            rejected = self.store.add(request)
            self.store.flush()
            taken = _spans(request) - rejected
            if rejected:
                answer.partial_success.rejected_spans = rejected
                answer.partial_success.error_message = _NO_IDS
        else:
            taken = self.store.keep(request)
        with self._lock:
            self.counts[_signal(request)] += taken
        return answer


def decoded(kind: Any, body: bytes) -> Any:
    """The request of this ``kind`` in ``body``.

    Raises:
        ValueError: It is none; ``str()`` says so.
    """
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _signal(request: Any) -> str:
    if isinstance(request, ExportTraceServiceRequest):
        return "spans"
    return "metrics" if isinstance(request, ExportMetricsServiceRequest) else "logs"


def _spans(request: ExportTraceServiceRequest) -> int:
    scopes = (scope for each in request.resource_spans for scope in each.scope_spans)
    return sum(len(scope.spans) for scope in scopes)
