"""OTLP in files: `read` each form in which it is written to them, write one form.

- a line of JSON for each request, as the Collector's ``file`` exporter writes it;
- one request as JSON, on any number of lines;
- one request as protobuf, as it travels over HTTP and gRPC;
- requests as protobuf, each behind its length in four bytes, as that exporter
  writes it with ``format: proto``.

`line_of` makes a line of the first form.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias, cast

from google.protobuf import json_format  # type: ignore[import-untyped]  # no stubs
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
)

from spanrun.telemetry.otlp_json import message_of

Request: TypeAlias = ExportTraceServiceRequest | ExportMetricsServiceRequest

_REQUESTS: Final[dict[str, type[Any]]] = {
    "resourceSpans": ExportTraceServiceRequest,
    "resourceMetrics": ExportMetricsServiceRequest,
}
MAX_REQUEST: Final = 64 * 1024 * 1024
"""Bytes of one request."""
_OTHERS: Final = ("resourceLogs", "resourceProfiles")
_IDS: Final = ("traceId", "spanId", "parentSpanId")
_TRACE_ID: Final = 16
_SPAN_ID: Final = 8
_LENGTH: Final = 4
_NEITHER: Final = "is neither JSON nor a request of traces or metrics in protobuf"


class NoOtlpError(ValueError):
    """What is in a file can't be read as OTLP. The text says where, and why."""


class Placed(NamedTuple):
    """A request, and where in the file it is; empty where it is all of it."""

    place: str
    request: Request


def read(path: Path) -> Iterator[Placed]:
    """The requests in a file, in order; one at a time, where it has several.

    Logs and profiles are passed over. What isn't a regular file isn't read.

    Raises:
        NoOtlpError: In the file, or in a line of it, is something else, or a request
            larger than `MAX_REQUEST`. What was given before that is right.
        OSError: The file can't be read.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _bad("", "is a pipe, socket or device: it isn't read")
        if file.read(1) == b"\0":
            file.seek(0)
            yield from _framed(file)
            return
        file.seek(0)
        number, line = next(_lines(file), (0, b""))
        file.seek(0)
        if not _is_object(line):
            yield from _whole(_bounded(_read(file, MAX_REQUEST + 1), ""))
            return
        for number, line in _lines(file):
            place = f"line {number}"
            yield from _from_values(_json(_bounded(line, place), place), place)


def _at_once(path: str, flags: int) -> int:
    """Open ``path``; a pipe without waiting for who writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(file: BinaryIO, most: int) -> bytes:
    """What comes next; no memory is taken for more than is there."""
    return file.read(min(most, os.fstat(file.fileno()).st_size))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that aren't blank, with their numbers, as far as they may be read."""
    number = 0
    while line := file.readline(MAX_REQUEST + 1):
        number += 1
        if line.strip():
            yield number, line


def _bounded(text: bytes, place: str) -> bytes:
    if len(text) > MAX_REQUEST:
        raise _bad(place, f"is more than {MAX_REQUEST >> 20} MiB: too large a request")
    return text


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(_json(text, ""), dict)
    except NoOtlpError:
        return False


def _json(text: bytes, place: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(place, f"is no JSON: {error}") from error


def _whole(content: bytes) -> Iterator[Placed]:
    if not content.strip():
        raise NoOtlpError("it is empty")
    if (request := _from_protobuf(content)) is not None:
        yield Placed("", request)
    elif content.lstrip()[:1] in (b"{", b"["):
        yield from _from_values(_json(content, ""), "")
    else:
        raise _bad("", _NEITHER)


def _from_values(value: object, place: str) -> Iterator[Placed]:
    several = isinstance(value, list)
    for request in cast("list[object]", value) if several else [value]:
        yield from _from_value(request, place)


def _from_value(value: object, place: str) -> Iterator[Placed]:
    if not isinstance(value, dict):
        raise _bad(place, "is no object of JSON, and so no OTLP")
    given = cast("dict[str, object]", value)
    known = [name for name in (*_REQUESTS, *_OTHERS) if name in given]
    if given and not known:
        raise _bad(place, f"has none of {', '.join((*_REQUESTS, *_OTHERS))}: no OTLP")
    for name, kind in _REQUESTS.items():
        if name in given:
            try:
                message = message_of(kind, {name: given[name]})
            except (TypeError, ValueError, RecursionError) as error:
                raise _bad(place, f"is no OTLP: {error}") from error
            yield Placed(place, message)


def line_of(request: Request) -> str:
    """A request as a line of JSON, by OTLP's own rules for it."""
    return _line_of(request)


def line_of_logs(encoded: bytes) -> str:
    """An encoded request of log records as such a line."""
    return _line_of(ExportLogsServiceRequest.FromString(encoded))


def _line_of(request: Any) -> str:
    value = json_format.MessageToDict(request, use_integers_for_enums=True)
    text = json.dumps(_with_digits(value), separators=(",", ":"))
    return f"{text}\n"


def _with_digits(value: object) -> object:
    """Ids in hexadecimal digits, where protobuf's JSON has base 64."""
    if isinstance(value, list):
        return [_with_digits(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, object]", value)
    return {
        key: base64.b64decode(cast("str", each)).hex()
        if key in _IDS
        else _with_digits(each)
        for key, each in given.items()
    }


def has_traces(request: Request) -> bool:
    """Whether it is a request of traces."""
    return isinstance(request, ExportTraceServiceRequest)


def framed(request: Request) -> bytes:
    """A request behind its length, to be put into a file with others."""
    content: bytes = request.SerializeToString()
    return len(content).to_bytes(_LENGTH, "big") + content


def read_framed(path: Path) -> Iterator[Placed]:
    """The requests that `framed` has made."""
    with path.open("rb") as file:
        yield from _framed(file)


def _framed(file: BinaryIO) -> Iterator[Placed]:
    for number in itertools.count(1):
        head = file.read(_LENGTH)
        if not head:
            return
        place, length = f"message {number}", int.from_bytes(head, "big")
        message = _bounded(_read(file, min(length, MAX_REQUEST + 1)), place)
        if len(message) < length or len(head) < _LENGTH:
            raise _bad(place, "is cut off")
        request = _from_protobuf(message)
        if request is None:
            raise _bad(place, _NEITHER)
        yield Placed(place, request)


def _from_protobuf(content: bytes) -> Request | None:
    """Bytes don't say which request they are: a span has ids, a metric has a name."""
    with suppress(DecodeError):
        traces: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(
            content
        )
        if _has_ids(traces):
            return traces
    with suppress(DecodeError):
        metrics: ExportMetricsServiceRequest = ExportMetricsServiceRequest.FromString(
            content
        )
        if _has_data(metrics):
            return metrics
    return None


def _has_ids(request: ExportTraceServiceRequest) -> bool:
    return all(
        len(span.trace_id) == _TRACE_ID and len(span.span_id) == _SPAN_ID
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )


def _has_data(request: ExportMetricsServiceRequest) -> bool:
    return all(
        metric.name and metric.WhichOneof("data")
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _bad(place: str, what: str) -> NoOtlpError:
    return NoOtlpError(f"{place or 'it'} {what}")
