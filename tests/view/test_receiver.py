"""The receiver of OTLP: what it takes, what it refuses, and what it keeps."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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

from spanrun import recordings
from spanrun.recordings import Job, Recording
from spanrun.telemetry.otlp_file import line_of
from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.view import receiver as receivers
from spanrun.view.data import data_of
from spanrun.view.receiver import Receiver

LOOPBACK = "127.0.0.1"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(OtlpStore(tmp_path), LOOPBACK, 0)
    receiver.start()
    yield receiver
    receiver.close()


class Answer:
    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.status = found.status
        self.headers = found.headers
        self.body = found.read()


def send(
    receiver: Receiver,
    body: Any,
    kind: str = PROTOBUF,
    path: str = "/v1/traces",
    method: str = "POST",
    **headers: str,
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(LOOPBACK, receiver.port, timeout=60)
    try:
        given = {**({"Content-Type": kind} if kind else {}), **named}
        connection.request(method, path, body, given)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def opened(receiver: Receiver) -> Recording:
    return recordings.open(receiver.store.path)


def traces(*spans: dict[str, Any], service: str = "shop", scope: str = "js") -> Any:
    """A request; a span is what is different from a root span that takes 1 s."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    inner = resource.scope_spans.add()
    inner.scope.name = scope
    for number, span in enumerate(spans, 1):
        plain = {
            "trace_id": number.to_bytes(16, "big"),
            "span_id": number.to_bytes(8, "big"),
            "name": "GET /cart",
            "start_time_unix_nano": 10**18,
            "end_time_unix_nano": 10**18 + 10**9,
        }
        inner.spans.add(**{**plain, **span})
    return request


def attributes(**given: Any) -> list[dict[str, Any]]:
    kinds = {str: "string_value", int: "int_value", float: "double_value"}
    return [
        {"key": name.replace("__", "."), "value": {kinds[type(value)]: value}}
        for name, value in given.items()
    ]


def test_root_spans_of_another_program_are_rows(receiver: Receiver) -> None:
    failed = {
        "status": {"code": 2, "message": "no such cart"},
        "attributes": attributes(error__type="LookupError"),
    }
    below = {"trace_id": (1).to_bytes(16, "big"), "parent_span_id": b"\1" * 8}
    remote = {"parent_span_id": b"\2" * 8, "flags": 0x300, "name": "POST /pay"}
    served = {"parent_span_id": b"\2" * 8, "kind": 2, "name": "POST /pay"}
    answer = send(
        receiver, traces({}, failed, below, remote, served).SerializeToString()
    )
    assert (answer.status, answer.headers["Content-Type"]) == (200, PROTOBUF)
    assert not ExportTraceServiceResponse.FromString(answer.body).ByteSize()
    with opened(receiver) as recording:
        (session,) = recording.sessions()
        assert session.command == "shop"
        runners = {run.id: run.runner for run in recording.runs(session.id)}
        jobs = list(recording.jobs(session.id))
        names = [runners[job.run] for job in jobs]
        assert names == ["GET /cart"] * 2 + ["POST /pay"] * 2
        assert [(job.duration, job.service) for job in jobs] == [(1.0, 1.0)] * 4
        assert [job.outcome for job in jobs] == ["ok", "failed", "ok", "ok"]
        assert (jobs[1].error_type, jobs[1].error) == ("LookupError", "no such cart")
        assert [job.index for job in jobs] == [0, 1, 0, 1]
        assert [len(recording.trace(job.trace_id or "")) for job in jobs] == [
            2,
            1,
            1,
            1,
        ]
        (first, second) = recording.trace(jobs[0].trace_id or "")
        assert (first.name, first.start_ns, first.end_ns) == (
            "GET /cart",
            10**18,
            10**18 + 10**9,
        )
        assert second.parent_id == "01" * 8
        assert data_of(recording)["counts"]["jobs"] == 4


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "x-gzip"])
@pytest.mark.parametrize("kind", [PROTOBUF, JSON, f"{JSON}; charset=utf-8"])
def test_protobuf_and_json_plain_and_compressed(
    receiver: Receiver, kind: str, coding: str
) -> None:
    request = traces({})
    body = request.SerializeToString()
    if kind != PROTOBUF:
        body = line_of(request).encode()
    if "gzip" in coding:
        body = gzip.compress(body)
    given = {"Content_Encoding": coding} if coding else {}
    answer = send(receiver, body, kind, **given)
    assert (answer.status, answer.headers["Content-Type"]) == (
        200,
        kind.partition(";")[0],
    )
    assert answer.body == (b"" if kind == PROTOBUF else b"{}")
    with opened(receiver) as recording:
        assert len(list(recording.jobs())) == 1


def test_a_body_in_chunks(receiver: Receiver) -> None:
    body = traces({}).SerializeToString()
    assert send(receiver, iter([body[:9], body[9:]])).status == 200
    with opened(receiver) as recording:
        assert len(list(recording.jobs())) == 1


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("its", [ExportMetricsServiceRequest, ExportLogsServiceRequest])
def test_metrics_and_logs_are_taken_and_counted(
    receiver: Receiver, kind: str, its: Any
) -> None:
    message = its()
    if isinstance(message, ExportMetricsServiceRequest):
        path, what = "/v1/metrics", "metrics"
        scope = message.resource_metrics.add().scope_metrics.add()
        scope.metrics.add(name="x").gauge.data_points.add(as_int=1)
    else:
        path, what = "/v1/logs", "logs"
        message.resource_logs.add().scope_logs.add().log_records.add()
    body = message.SerializeToString()
    if kind == JSON:
        body = json_format.MessageToJson(message).encode()
    assert send(receiver, body, kind, path).status == 200
    assert receiver.counts == {what: 1}


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_spans_without_ids_are_a_partial_success(receiver: Receiver, kind: str) -> None:
    request = traces({}, {"trace_id": b""}, {"span_id": b"x"}, {"trace_id": bytes(16)})
    body = request.SerializeToString()
    if kind == JSON:
        body = line_of(request).encode()
    answer = send(receiver, body, kind)
    assert answer.status == 200
    if kind == JSON:
        told = json.loads(answer.body)["partialSuccess"]
        assert told["rejectedSpans"] == "3"
        assert "trace id" in told["errorMessage"]
    else:
        partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
        assert partial.rejected_spans == 3
        assert "trace id" in partial.error_message
    assert receiver.counts["spans"] == 1


REFUSED = [
    ("no Content-Type", {"kind": ""}, 415),
    ("text", {"kind": "text/plain"}, 415),
    ("another coding", {"Content_Encoding": "br"}, 415),
    ("nonsense", {"body": b"\xff\xff"}, 400),
    ("no gzip", {"body": b"\xff", "Content_Encoding": "gzip"}, 400),
    (
        "half a gzip",
        {"body": gzip.compress(b"x")[:-9], "Content_Encoding": "gzip"},
        400,
    ),
    ("no JSON", {"body": b"{", "kind": JSON}, 400),
    ("another JSON", {"body": b"[]", "kind": JSON}, 400),
    ("a wrong JSON", {"body": b'{"resourceSpans": 7}', "kind": JSON}, 400),
    ("a deep JSON", {"body": b"[" * 100_000, "kind": JSON}, 400),
    ("elsewhere", {"path": "/v1/profiles"}, 404),
    ("the root", {"path": "/"}, 404),
    ("a page of a browser", {"Origin": "https://example.org"}, 403),
]


@pytest.mark.parametrize(
    ("given", "status"),
    [each[1:] for each in REFUSED],
    ids=[each[0] for each in REFUSED],
)
def test_what_is_no_request_is_refused_in_its_own_form(
    receiver: Receiver, given: dict[str, Any], status: int
) -> None:
    answer = send(receiver, **{"body": b"", **given})
    assert answer.status == status
    if given.get("kind") == JSON:
        assert json.loads(answer.body)["message"]
    else:
        assert answer.headers["Content-Type"] == PROTOBUF
        assert Status.FromString(answer.body).message
    assert send(receiver, traces({}).SerializeToString()).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_another_method_is_refused(receiver: Receiver, method: str) -> None:
    answer = send(receiver, b"", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_a_body_beyond_the_bound_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "MAX_BODY", 1_000)
    large = b" " * 1_001
    assert send(receiver, large).status == 413
    assert send(receiver, iter([large])).status == 413
    packed = gzip.compress(large)
    assert len(packed) < 100
    assert send(receiver, packed, Content_Encoding="gzip").status == 413
    fits = traces({}).SerializeToString()
    assert send(receiver, fits).status == 200


POST = b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
RUDE = {
    "no length": (POST + b"\r\n", b"411"),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", b"411"),
    "an endless length": (POST + b"Content-Length: " + b"9" * 99 + b"\r\n\r\n", b"413"),
    "cut off": (POST + b"Content-Length: 9\r\n\r\n{", b"400"),
    "a chunk of no length": (CHUNKED + b"xyz\r\n", b"400"),
    "a chunk of less than none": (CHUNKED + b"-5\r\n", b"413"),
    "half a chunk": (CHUNKED + b"5\r\n{", b"400"),
    "no HTTP": (b"NONSENSE\r\n\r\n", b""),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", b""),
}


@pytest.mark.parametrize("name", RUDE)
def test_it_stays_whatever_comes(
    receiver: Receiver, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    head, status = RUDE[name]
    with socket.create_connection((LOOPBACK, receiver.port), timeout=60) as rude:
        rude.sendall(head)
        rude.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: rude.recv(9_999), b""))
    if status:
        assert answer.split()[1] == status
    assert send(receiver, traces({}).SerializeToString()).status == 200
    assert capfd.readouterr().err == ""


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text())
JOB = st.fixed_dictionaries(
    {},
    optional={
        "spanrun__run__id": NUMBERS,
        "spanrun__runner__name": st.text(),
        "spanrun__run__policies": st.sampled_from(["{}", "7", '{"limit": {}}', "\0"]),
        "spanrun__run__total": NUMBERS,
        "spanrun__job__index": NUMBERS,
        "spanrun__job__key": NUMBERS,
        "spanrun__job__outcome": st.sampled_from(["ok", "failed", "x", "cancelled"]),
        "spanrun__job__attempts": NUMBERS,
        "spanrun__job__time__service": NUMBERS,
        "error__type": NUMBERS,
    },
)
SPAN = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(),
        "kind": st.integers(-(2**31), 2**31 - 1),
        "start_time_unix_nano": st.integers(0, 2**64 - 1),
        "end_time_unix_nano": st.integers(0, 2**64 - 1),
        "parent_span_id": st.binary(max_size=20),
        "flags": st.integers(0, 2**32 - 1),
        "status": st.fixed_dictionaries({"code": st.integers(-(2**31), 2**31 - 1)}),
        "attributes": JOB.map(lambda given: attributes(**given)),
    },
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(SPAN, max_size=4), st.sampled_from(["js", "spanrun"]))
def test_whatever_spans_say_they_can_be_read(
    receiver: Receiver, spans: list[dict[str, Any]], scope: str
) -> None:
    request = traces(*spans, scope=scope)
    for body, kind in (
        (request.SerializeToString(), PROTOBUF),
        (line_of(request).encode(), JSON),
    ):
        assert send(receiver, body, kind).status == 200
    with opened(receiver) as recording:
        for session in recording.sessions():
            list(recording.traces(session.id))
            json.dumps(data_of(recording, session.id), allow_nan=False)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=60), st.sampled_from([PROTOBUF, JSON]))
def test_random_bytes_are_answered(receiver: Receiver, body: bytes, kind: str) -> None:
    assert send(receiver, body, kind).status in (200, 400)


def job_span(index: int, start: int, run: str = "r1", **more: Any) -> dict[str, Any]:
    return {
        "name": "job embed",
        "start_time_unix_nano": start,
        "end_time_unix_nano": start + 10**9,
        "parent_span_id": b"\1" * 8,
        "attributes": attributes(
            spanrun__run__id=run,
            spanrun__runner__name="embed",
            spanrun__job__index=index,
            spanrun__job__outcome="ok",
            spanrun__job__attempts=2,
            spanrun__job__time__backoff=0.25,
            spanrun__job__time__service=0.75,
            **more,
        ),
    }


def test_jobs_of_spanrun_come_before_their_run(receiver: Receiver) -> None:
    start = 10**18
    first = traces(job_span(1, start), job_span(2, start + 10), scope="spanrun")
    send(receiver, first.SerializeToString())
    with opened(receiver) as recording:
        (run,) = recording.runs()
        assert (run.runner, run.started_ns, run.ended_ns) == ("embed", start, None)
    late = job_span(0, start - 10**6)
    its_run = {
        "name": "run embed",
        "start_time_unix_nano": start - 10**6,
        "end_time_unix_nano": start + 2 * 10**9,
        "attributes": attributes(
            spanrun__run__id="r1",
            spanrun__runner__name="embed",
            spanrun__run__total=3,
            spanrun__run__policies='{"limit":{"type":"Limit","concurrency":2}}',
        ),
    }
    send(receiver, traces(late, its_run, scope="spanrun").SerializeToString())
    with opened(receiver) as recording:
        (run,) = recording.runs()
        assert (run.total, run.ended_ns, run.calls) == (3, start + 2 * 10**9, False)
        jobs = sorted(recording.jobs(), key=lambda job: job.index)
        assert [job.submitted for job in jobs] == [-0.001, 0.0, 1e-8]
        assert {(job.backoff, job.service, job.attempts) for job in jobs} == {
            (0.25, 0.75, 2)
        }
        found = data_of(recording)
    assert min(found["jobs"]["start"]) == 0
    assert found["spans"]["job"].count(-1) == 1


def test_what_came_earlier_is_gone_on_with(tmp_path: Path) -> None:
    for number in range(2):
        store = OtlpStore(tmp_path)
        ours = traces(job_span(number, 10**18 + number), scope="spanrun")
        for request in (traces({}, service="other"), ours):
            store.add(request)
        assert store.close()
    with recordings.open(tmp_path) as recording:
        assert len(recording.sessions()) == 2
        runs = {run.id: run for run in recording.runs()}
        assert len(runs) == 2
        jobs: dict[str, list[Job]] = {}
        for job in recording.jobs():
            jobs.setdefault(runs[job.run].runner, []).append(job)
        assert [job.index for job in jobs["GET /cart"]] == [0, 1]
        assert [job.submitted for job in jobs["embed"]] == [0.0, 1e-9]


def test_services_and_their_instances_are_sessions(receiver: Receiver) -> None:
    for service in ("a", "b", "a"):
        for instance in ("1", "2"):
            request = traces({}, service=service)
            request.resource_spans[0].resource.attributes.add(
                key="service.instance.id"
            ).value.string_value = instance
            send(receiver, request.SerializeToString())
    with opened(receiver) as recording:
        sessions = recording.sessions()
        assert sorted(each.command for each in sessions) == ["a", "a", "b", "b"]
        runs = {run.session for run in recording.runs()}
        assert runs == {each.id for each in sessions}


def test_too_many_names_are_one_runner(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanrun.telemetry.recordings.otlp_store._MOST_RUNNERS", 3)
    spans = [{"name": f"GET /{number}"} for number in range(9)]
    send(receiver, traces(*spans).SerializeToString())
    with opened(receiver) as recording:
        names = [run.runner for run in recording.runs()]
    assert names == ["GET /0", "GET /1", "GET /2", "other spans"]
