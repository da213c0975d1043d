"""A log record as bytes: against the stock encoder, with limits, without secrets."""

import logging
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.instrumentation.log_utils import std_to_otel
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from spanrun.telemetry.logs.encode import RecordEncoder, severity_of
from spanrun.telemetry.logs.place import Place
from spanrun.telemetry.observe import RunInfo

SPAN = SpanContext(0x1234 << 96, 0xABCD, is_remote=False, trace_flags=TraceFlags(1))
RUN = RunInfo("0a1b", "work", None, 0, 0)
NOWHERE = Place(None, None)
CODE = {"code.file.path": __file__, "code.line.number": 1}


def record(message: Any = "text", *args: Any, level: int = 20, **more: Any) -> Any:
    made = logging.LogRecord("app", level, __file__, 1, message, args, None)
    vars(made).update(more)
    return made


def encoded(
    made: logging.LogRecord, where: Place = NOWHERE, **limits: int | None
) -> Any:
    encoder = RecordEncoder(limits.get("most", 128), limits.get("length"))
    (found,) = ScopeLogs.FromString(encoder.encode(made, where)).log_records
    return found


def attributes(found: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in found.attributes
    }


def test_it_is_what_the_stock_encoder_makes():
    made = record("item %d", 3, level=logging.WARNING, place="här", count=2, ratio=0.5)
    found = encoded(made, Place(SPAN, (RUN, 4, "a key")))
    theirs = LogRecord(
        timestamp=int(made.created * 1e9),
        observed_timestamp=found.observed_time_unix_nano,
        context=set_span_in_context(NonRecordingSpan(SPAN)),
        severity_number=SeverityNumber.WARN,
        severity_text="WARNING",
        body="item 3",
        attributes={
            "place": "här",
            "count": 2,
            "ratio": 0.5,
            **CODE,
            "spanrun.run.id": "0a1b",
            "spanrun.runner.name": "work",
            "spanrun.job.index": 4,
            "spanrun.job.key": "a key",
        },
    )
    readable = ReadableLogRecord(
        theirs,
        Resource.get_empty(),
        instrumentation_scope=InstrumentationScope("app"),
    )
    request = encode_logs([readable])
    assert found == request.resource_logs[0].scope_logs[0].log_records[0]


@pytest.mark.parametrize("level", range(61))
def test_severity_is_as_opentelemetry_has_it(level: int):
    if level >= logging.DEBUG:
        assert severity_of(level) == std_to_otel(level).value
    else:
        assert 1 <= severity_of(level) <= 4


def test_secrets_are_hidden_wherever_they_stand():
    secret = "hunter2" * 2
    made = record(
        "password=%s",
        secret,
        password=secret,
        url=f"https://me:{secret}@host/",
        nested={"api_key": secret},
    )
    made.exc_info = (ValueError, ValueError(f"token={secret}"), None)
    assert secret.encode() not in encoded(made).SerializeToString()
    as_mapping = record({"event": "login", "password": secret})
    found = encoded(as_mapping)
    assert secret.encode() not in found.SerializeToString()
    assert [pair.key for pair in found.body.kvlist_value.values] == [
        "event",
        "password",
    ]


def test_limits_are_kept():
    made = record("x" * 100_000, **{f"a{n}": "y" * 100 for n in range(10)})
    found = encoded(made, most=4, length=20)
    assert len(found.body.string_value) <= 20
    added = {
        name: value for name, value in attributes(found).items() if name not in CODE
    }
    assert len(added) == 4
    assert found.dropped_attributes_count == 6
    assert {len(value) for value in added.values()} == {20}
    assert len(encoded(made).body.string_value) <= 16 * 1024


def test_an_error_is_told_with_its_traceback():
    with pytest.raises(ValueError, match="broken") as raised:
        raise ValueError("broken")
    made = record("failed")
    made.exc_info = (ValueError, raised.value, raised.tb)
    found = attributes(encoded(made))
    assert found["exception.type"] == "ValueError"
    assert found["exception.message"] == "broken"
    assert found["exception.stacktrace"].endswith("ValueError: broken\n")
    made.exc_info = (None, None, None)
    assert attributes(encoded(made)) == CODE


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_has_no_text_breaks_nothing():
    assert encoded(record("%d", "x")).body.string_value == "%d ('x',)"
    assert "Odd" in encoded(record(Odd())).body.string_value
    found = attributes(encoded(record("x", odd=Odd())))
    assert "Odd" in found["odd"]
    error = Odd()
    made = record("x")
    made.exc_info = (ValueError, ValueError(error), None)
    assert attributes(encoded(made))["exception.type"] == "ValueError"


def test_what_opentelemetrys_instrumentation_adds_is_not_told_twice():
    made = record("x", otelSpanID="1", otelTraceID="2", otelTraceSampled=True, mine=1)
    assert attributes(encoded(made)) == {"mine": 1, **CODE}


def test_it_says_which_line_made_it():
    made = record("x", funcName="embed", pathname="/app/ingest.py", lineno=1_234_567)
    for _ in range(2):  # the second time by memory
        assert attributes(encoded(made)) == {
            "code.function.name": "embed",
            "code.file.path": "/app/ingest.py",
            "code.line.number": 1_234_567,
        }
    secret = "hunter2" * 2
    made = record("x", pathname=f"/app/password={secret}")
    assert secret not in attributes(encoded(made))["code.file.path"]


@pytest.mark.parametrize("odd", [None, "", 0, -1, 1 << 40, True, 1.5, [], Odd])
def test_a_record_that_a_program_has_made_up_says_what_it_can(odd: Any):
    made = record("x", funcName=odd, pathname=odd, lineno=odd)
    found = encoded(made)
    assert found.body.string_value == "x"
    assert "code.line.number" not in attributes(found)
