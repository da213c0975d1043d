"""Whatever is in a file of OTLP: its requests, or where it is none, and an end."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.fuzz.examples import NOISE, Shown, changed, fuzz, memory_below, torn

from spanrun.registry.check import Findings
from spanrun.telemetry.otlp_file import NoOtlpError, read

ATTRIBUTES = [
    {"key": "spanrun.job.index", "value": {"intValue": "3"}},
    {"key": "x", "value": {"arrayValue": {"values": [{"doubleValue": 0.5}]}}},
    {"key": "y", "value": {"kvlistValue": {"values": [{"key": "z", "value": {}}]}}},
    {"key": "b", "value": {"bytesValue": "AAAA"}},
]
RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]}
TRACES: dict[str, Any] = {
    "resourceSpans": [
        {
            "resource": RESOURCE,
            "scopeSpans": [
                {
                    "scope": {"name": "spanrun"},
                    "spans": [
                        {
                            "traceId": "ab" * 16,
                            "spanId": "cd" * 8,
                            "name": "job embed",
                            "kind": 1,
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": 2,
                            "attributes": ATTRIBUTES,
                            "events": [{"name": "e", "attributes": ATTRIBUTES[:1]}],
                            "status": {"code": "STATUS_CODE_ERROR", "message": "m"},
                        }
                    ],
                }
            ],
        }
    ]
}
METRICS: dict[str, Any] = {
    "resourceMetrics": [
        {
            "resource": RESOURCE,
            "scopeMetrics": [
                {
                    "scope": {"name": "spanrun"},
                    "metrics": [
                        {
                            "name": "spanrun.jobs",
                            "unit": "{job}",
                            "sum": {
                                "isMonotonic": True,
                                "dataPoints": [
                                    {"asInt": "1", "attributes": ATTRIBUTES[:1]}
                                ],
                            },
                        },
                        {
                            "name": "h",
                            "exponentialHistogram": {
                                "dataPoints": [{"count": 1, "positive": {"offset": 1}}]
                            },
                        },
                    ],
                }
            ],
        }
    ]
}


def in_protobuf(value: dict[str, Any]) -> bytes:
    """The request ``value``; ids are base 64 there, which does no harm here."""
    known = "resourceSpans" in value
    message: Any = (
        ExportTraceServiceRequest() if known else ExportMetricsServiceRequest()
    )
    json_format.ParseDict(value, message)
    for resource in getattr(message, "resource_spans", ()):
        for span in resource.scope_spans[0].spans:
            span.trace_id, span.span_id = b"t" * 16, b"s" * 8
    return bytes(message.SerializeToString())


def framed(messages: list[bytes]) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in messages)


ONE = st.sampled_from([TRACES, METRICS, {"resourceLogs": []}])
PACKED = st.sampled_from([in_protobuf(TRACES), in_protobuf(METRICS)])
CONTENTS = st.one_of(
    st.lists(ONE.flatmap(changed), max_size=3).map(
        lambda values: b"\n".join(json.dumps(value).encode() for value in values)
    ),
    ONE.flatmap(changed).map(lambda value: json.dumps(value, indent=1).encode()),
    st.lists(ONE.flatmap(changed), max_size=2).map(
        lambda many: json.dumps(many).encode()
    ),
    PACKED,
    st.lists(PACKED.flatmap(torn), max_size=3).map(framed),
    NOISE,
    st.builds(
        lambda noise: b'{"resourceSpans":' + noise + b"}",
        NOISE,
    ),
)


@fuzz
@given(content=CONTENTS, broken=st.booleans(), data=st.data())
def test_files(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    broken: bool,  # noqa: FBT001 -- hypothesis gives it by keyword
    data: st.DataObject,
) -> None:
    if broken:
        content = data.draw(torn(content).map(Shown))
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed.otlp"
    path.write_bytes(content)
    found, said = Findings(), "it "
    with memory_below(4 + len(content) / 2**20 * 200):
        try:
            found.check(read(path))
        except NoOtlpError as error:
            said = str(error)
    assert said.startswith(("it ", "line ", "message "))
    assert all(each.count > 0 for each in found)
