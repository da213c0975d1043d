"""OTLP files of each form are read, checked, and refused with the place."""

import json
import os
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path

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

from spanrun import semconv
from spanrun.registry.check import Findings
from spanrun.telemetry import otlp_file
from spanrun.telemetry.otlp_file import NoOtlpError, read

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def attribute(key, value):
    names = {str: "stringValue", bool: "boolValue", float: "doubleValue"}
    if isinstance(value, list):
        return {
            "key": key,
            "value": {
                "arrayValue": {"values": [{"stringValue": each} for each in value]}
            },
        }
    if type(value) is int:
        return {"key": key, "value": {"intValue": str(value)}}
    return {"key": key, "value": {names[type(value)]: value}}


def attributes(given):
    return [attribute(key, value) for key, value in given.items()]


def span(name="job embed", kind=1, scope="spanrun", events=(), **more):
    """A request with one span, as OTLP has it in JSON."""
    given = {
        semconv.SPANRUN_RUNNER_NAME: "embed",
        semconv.SPANRUN_RUN_ID: "5f2c61d8a90b7e34",
        semconv.SPANRUN_JOB_INDEX: 3,
        semconv.SPANRUN_JOB_OUTCOME: "ok",
        **more,
    }
    one = {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "name": name,
        "kind": kind,
        "attributes": attributes(given),
        "events": list(events),
        "newFieldOfTomorrow": 1,
    }
    resource = {"attributes": attributes({semconv.SERVICE_NAME: "ingest"})}
    scopes = [{"scope": {"name": scope}, "spans": [one]}]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}


def metric(name="spanrun.jobs", unit="{job}", form="sum", scope="spanrun", **labels):
    given = {
        semconv.SPANRUN_RUNNER_NAME: "embed",
        semconv.SPANRUN_JOB_OUTCOME: "ok",
        **labels,
    }
    data = {"dataPoints": [{"attributes": attributes(given)}]}
    if form == "sum":
        data |= {"isMonotonic": True, "aggregationTemporality": 2}
    one = {"name": name, "unit": unit, form: data}
    scopes = [{"scope": {"name": scope}, "metrics": [one]}]
    resource = {"attributes": attributes({semconv.SERVICE_NAME: "ingest"})}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}


def lines(*requests):
    return "".join(json.dumps(request) + "\n" for request in requests).encode()


def protobuf(request):
    message = ExportTraceServiceRequest()
    if "resourceMetrics" in request:
        message = ExportMetricsServiceRequest()
        json_format.ParseDict(request, message)
    else:
        json_format.ParseDict(request, message, ignore_unknown_fields=True)
        for resource in message.resource_spans:
            for one in resource.scope_spans[0].spans:
                one.trace_id = bytes.fromhex(TRACE_ID)
                one.span_id = bytes.fromhex(SPAN_ID)
    return message.SerializeToString()


def framed(*messages):
    return b"".join(len(each).to_bytes(4, "big") + each for each in messages)


@pytest.fixture
def check(tmp_path):
    def checked(content):
        path = tmp_path / "otlp"
        path.write_bytes(content)
        found = Findings()
        found.check(read(path))
        return found

    return checked


FORMS = {
    "lines": lines(span(), metric()),
    "lines with empty ones": b"\n \n" + lines(span()) + b"\n" + lines(metric()),
    "one document": json.dumps(
        {**span(), **metric(), "resourceLogs": [{}]}, indent=2
    ).encode(),
    "a list": json.dumps([span(), metric()], indent=1).encode(),
    "frames": framed(protobuf(span()), protobuf(metric())),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_each_form_is_read(check, content):
    found = check(content)
    assert (found.spans, found.points, list(found)) == (1, 1, [])


@pytest.mark.parametrize(("request_", "counts"), [(span(), (1, 0)), (metric(), (0, 1))])
def test_protobuf_is_told_apart(check, request_, counts):
    found = check(protobuf(request_))
    assert (found.spans, found.points) == counts
    assert list(found) == []


def test_snake_case_of_older_writers_is_read(check):
    text = json.dumps(span()).replace("resourceSpans", "resourceSpans")
    text = text.replace("scopeSpans", "scope_spans").replace(
        "stringValue", "string_value"
    )
    assert check(text.encode()).spans == 1


FAULTS = [
    (span(**{"spanrun.job.idx": 1}), "unknown-name"),
    (span(**{semconv.SPANRUN_JOB_INDEX: "3"}), "wrong-type"),
    (span(**{semconv.SPANRUN_JOB_OUTCOME: "fine"}), "wrong-value"),
    (span(**{semconv.SPANRUN_BATCH_ITEMS: 1}), "misplaced-name"),
    (span(name="task embed"), "unknown-name"),
    (span(kind=3), "unknown-name"),
    (span(kind=99), "unknown-name"),
    (span(events=[{"name": "spanrun.oops"}]), "unknown-name"),
    (span(events=[{"name": "exception"}]), "missing-name"),
    (metric(unit="1"), "wrong-unit"),
    (metric(form="gauge"), "wrong-kind"),
    (metric(form="histogram"), "wrong-kind"),
    (metric(form="exponentialHistogram"), "wrong-kind"),
    (metric(form="summary"), "wrong-kind"),
    (metric(name="spanrun.tasks", scope="mine"), "unknown-name"),
    (metric(page="x"), "misplaced-name"),
    (metric(**{semconv.SPANRUN_RUNNER_NAME: 1}), "wrong-type"),
]


@pytest.mark.parametrize(("request_", "rule"), FAULTS)
def test_a_fault_is_found_in_each_form(check, request_, rule):
    for content in (lines(request_), protobuf(request_), framed(protobuf(request_))):
        (finding,) = check(content)
        assert finding.problem.rule == rule
        assert finding.count == 1
        assert finding.where.service == "ingest"


def test_a_fault_in_a_resource_is_found(check):
    request = span()
    resource = request["resourceSpans"][0]["resource"]
    resource["attributes"] += attributes({"spanrun.mood": "good"})
    (finding,) = check(lines(request))
    assert (finding.problem.name, finding.where.item) == ("spanrun.mood", "resource")


def test_the_same_fault_is_told_once_with_its_first_place(check):
    wrong = {"spanrun.job.idx": 1}
    found = check(lines(span(), *[span(**wrong)] * 5, span(name="job x", **wrong)))
    assert [(each.where.item, each.count) for each in found] == [
        ("span 'job embed'", 5),
        ("span 'job x'", 1),
    ]
    first, _ = found
    assert str(first.where) == (
        f"line 2, service ingest, trace {TRACE_ID}, span {SPAN_ID}"
    )


def test_the_number_of_findings_is_bounded(check):
    found = check(lines(*(span(**{f"spanrun.n{n}": 1}) for n in range(1_200))))
    assert len(found) == 1_000
    assert found.left_out == 200


NO_OTLP = {
    "nothing": (b"", "it is empty"),
    "white space": (b" \n\n", "it is empty"),
    "words": (b"hello\n", "it is neither JSON nor"),
    "a number": (b"17", "it is neither JSON nor"),
    "another document": (b'{"a": 1}', "line 1 has none of resourceSpans"),
    "a list of numbers": (b"[1]", "it is no object of JSON"),
    "half a document": (b'{"resourceSpans": [', "it is no JSON: "),
    "a torn line": (lines(span()) + b'{"resourceSp', "line 2 is no JSON: "),
    "a line of another kind": (lines(span()) + b"17\n", "line 2 is no object"),
    "a wrong shape": (b'{"resourceSpans": 17}', "line 1 is no OTLP: "),
    "a wrong type": (
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": {}}]}]}]}',
        "line 1 is no OTLP: ",
    ),
    "too deep": (b'{"resourceSpans":' + b"[" * 100_000, "it is no JSON: "),
    "not unicode": (b'{"resourceSpans": "\xff"}', "it is no JSON: "),
    "a lone surrogate": (
        b'{"resourceSpans": [{"schemaUrl": "\\ud800"}]}',
        "line 1 is no OTLP: ",
    ),
    "a cut frame": (framed(protobuf(span()))[:-3], "message 1 is cut off"),
    "a frame of noise": (framed(b"noise"), "message 1 is neither JSON nor"),
    "logs in protobuf": (b"\x0a\x06\x12\x04\x12\x02\x08\x01", "it is neither JSON"),
}


@pytest.mark.parametrize(("content", "told"), NO_OTLP.values(), ids=NO_OTLP)
def test_what_is_no_otlp_is_refused_with_the_place(check, content, told):
    with pytest.raises(NoOtlpError, match=r"^(it|line|message)") as refused:
        check(content)
    assert str(refused.value).startswith(told)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with suppress(NoOtlpError):
        Findings().check(read(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "scopeSpans",
                    "spans",
                    "name",
                    "traceId",
                    "attributes",
                    "value",
                    "kind",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(value=json_values)
def test_any_json_is_read_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any json"
    path.write_text(json.dumps({"resourceSpans": [value]}), encoding="utf-8")
    with suppress(NoOtlpError):
        Findings().check(read(path))


def test_a_long_file_of_lines_is_read_line_by_line(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(lines(span()) * 2_000)
    reader = read(path)
    next(reader)
    found = Findings()
    found.check(reader)
    assert found.spans == 1_999
    assert Counter(each.problem.rule for each in found) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("special", ["pipe", "device"])
def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path, special):
    path = Path("/dev/zero")
    if special == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(NoOtlpError, match="it is a pipe, socket or device"):
        next(read(path))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"{" + b" " * 1_000, "it"),
        (b"{\n" + b" " * 1_000 + b"\n}", "it"),
        (b'{}\n{"resourceLogs": "' + b"x" * 1_000 + b'"}\n', "line 2"),
        (b"\n" * 1_001, "it"),
        (framed(b"x" * 1_001), "message 1"),
        (b"\x0a\x00" * 501, "it"),
    ],
)
def test_a_request_that_is_too_large_is_refused(tmp_path, monkeypatch, content, place):
    monkeypatch.setattr(otlp_file, "MAX_REQUEST", 1_000)
    path = tmp_path / "large"
    path.write_bytes(content)
    with pytest.raises(NoOtlpError, match=f"^{place} is more than"):
        list(read(path))


def test_a_frame_of_4_gib_takes_no_memory(tmp_path):
    path = tmp_path / "frame"
    path.write_bytes(b"\x00\xff\xff\xff" + b"x" * 1_000)
    tracemalloc.start()
    try:
        with pytest.raises(NoOtlpError, match="message 1 is cut off"):
            list(read(path))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [-1, -10, 99])
def test_a_kind_of_span_that_there_is_not_is_none(check, kind):
    rules = {each.problem.rule for each in check(lines(span(kind=kind)))}
    assert rules == {each.problem.rule for each in check(lines(span(kind=0)))}


def test_a_number_that_is_none_is_refused(check):
    with pytest.raises(NoOtlpError, match=r"line 1 is no OTLP: .*neither a number nor"):
        check(lines(span(kind=float("inf"))))
