"""A log record as OTLP: the content of a message ``LogRecord``.

Written after ``opentelemetry/proto/logs/v1/logs.proto``. What is in it is plain,
redacted and cut here. Tests hold it against the stock encoder.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterator
from typing import Any, Final, cast

from opentelemetry.trace import SpanContext

from spanrun import semconv
from spanrun.telemetry.logs.hook import MARKS, marks_at
from spanrun.telemetry.logs.place import Place
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.redact import MAX_CHARACTERS, redact, redact_value, text_of
from spanrun.telemetry.span.encode import remember
from spanrun.telemetry.span.plain import MAX_LENGTH, Plain, clean
from spanrun.telemetry.span.values import Fields
from spanrun.telemetry.span.wire import (
    any_value,
    int_field,
    key_value,
    key_values,
    sized,
    text,
    varint,
)
from spanrun.telemetry.units.errors import stack_of

_times: Final = struct.Struct("<BQBQ").pack
_ids: Final = struct.Struct(">2s16s2sQ").pack
_flags: Final = struct.Struct("<BI").pack
_TIME: Final = 0x09
_OBSERVED: Final = 0x59
_FLAGS: Final = 0x45
_ATTRIBUTES: Final = 0x32
_RECORD: Final = b"\x12"
_ATTRIBUTE: Final = bytes((_ATTRIBUTES,))
_index: Final = int_field(_ATTRIBUTE, semconv.SPANRUN_JOB_INDEX)
_line: Final = int_field(_ATTRIBUTE, semconv.CODE_LINE_NUMBER)
_TRACE_ID: Final = b"\x4a\x10"
_SPAN_ID: Final = b"\x52\x08"
_SPAN: Final = (1 << 64) - 1
_TRACE: Final = (1 << 128) - 1

_EACH: Final = vars(logging.LogRecord("", 0, "", 0, "", (), None))
_BASE: Final = len(_EACH)
"""Attributes that each record has as it is made, and how many."""
_KNOWN: Final = frozenset((*_EACH, "message", "asctime", "taskName"))
_STANDARD: Final = (
    _KNOWN
    | MARKS
    # What OpenTelemetry's own instrumentation says of the span.
    | {"otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"}
)

_NO_LINE: Final = 1 << 31
_FIRST: Final = (1, 5, 9, 13, 17, 21)  # TRACE, DEBUG, INFO, WARN, ERROR, FATAL
_STEP: Final = 10
_WITHIN: Final = 3


class RecordEncoder:
    """Makes log records plain and encodes them.

    Args:
        most: So many attributes are kept of those that the program adds; None: all.
        length: Characters of a text that are kept; None: 16 KiB.
    """

    def __init__(self, most: int | None, length: int | None) -> None:
        self._length: Final = MAX_LENGTH if length is None else length
        self._fields: Final = Fields(_ATTRIBUTES, most, self._length, clean)
        self._levels: Final[dict[tuple[int, str], bytes]] = {}
        self._runs: Final[dict[str, bytes]] = {}
        self._places: Final[dict[tuple[str, str], bytes]] = {}

    def encode(self, record: logging.LogRecord, where: Place) -> bytes:
        """Return ``record`` as a field ``log_records`` of ``ScopeLogs``."""
        created = int(record.created * 1e9)
        parts = [
            _times(_TIME, created, _OBSERVED, time.time_ns()),
            self._level(record.levelno, record.levelname),
            sized(b"\x2a", any_value(body_of(record, self._length))),
        ]
        if record.exc_info or len(record.__dict__) != _BASE + marks_at(where):
            kept: dict[str, bytes] = {}
            dropped, _ = self._fields.set(kept, list(attributes_of(record)))
            parts += kept.values()
            if dropped:
                parts.append(b"\x38" + varint(dropped))
        parts.append(self._code(record))
        if where.job is not None:
            parts.append(self._job(*where.job))
        if where.span is not None:
            parts.append(_context(where.span))
        return sized(_RECORD, b"".join(parts))

    def _job(self, run: RunInfo, index: int, key: Any) -> bytes:
        """The attributes that say in which job it was made."""
        about_run = self._runs.get(run.id)
        if about_run is None:
            runner = redact(run.runner, self._length)
            told = {semconv.SPANRUN_RUN_ID: run.id, semconv.SPANRUN_RUNNER_NAME: runner}
            about_run = b"".join(key_values(_ATTRIBUTE, told))
            remember(self._runs, run.id, about_run)
        place = about_run + _index(index)
        if key is None:
            return place
        text = redact(text_of(key), self._length)
        return place + key_value(_ATTRIBUTE, semconv.SPANRUN_JOB_KEY, text)

    def _code(self, record: logging.LogRecord) -> bytes:
        """The attributes that say which line made it."""
        key = str(record.pathname or ""), str(record.funcName or "")
        known = self._places.get(key)
        if known is None:
            told = dict(of_code(*key, 0, self._length))
            known = b"".join(key_values(_ATTRIBUTE, told))
            remember(self._places, key, known)
        line = record.lineno
        return known + _line(line) if _is_line(line) else known

    def _level(self, number: int, name: str) -> bytes:
        """Severity as number and text."""
        known = self._levels.get((number, name))
        if known is None:
            encoded = bytes((0x10, severity_of(number))) + text(b"\x1a", redact(name))
            known = self._levels[number, name] = encoded
        return known


def body_of(record: logging.LogRecord, length: int = MAX_LENGTH) -> Plain:
    """What ``record`` says, redacted: a text, or a mapping where it was given so."""
    given: Any = record.msg
    if _is_mapping(given) and not record.args:  # as structlog has them
        return cast("Plain", redact_value("", clean(given, length), length))
    try:
        told = record.getMessage()
    except Exception:  # noqa: BLE001 -- such as too few arguments
        told = f"{text_of(record.msg)} {text_of(record.args)}"
    return redact(told, min(length, MAX_CHARACTERS))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def severity_of(level: int) -> int:
    """OTLP's number of a level of `logging`: INFO is 9, and one just above it 10."""
    rank, above = divmod(max(level, 0), _STEP)
    if rank >= len(_FIRST):
        return _FIRST[-1] + _WITHIN
    return _FIRST[rank] + min(above, _WITHIN)


def of_job(run: RunInfo, index: int, key: Any) -> Iterator[tuple[str, Any]]:
    """In which job a record was made."""
    yield semconv.SPANRUN_RUN_ID, run.id
    yield semconv.SPANRUN_RUNNER_NAME, run.runner
    yield semconv.SPANRUN_JOB_INDEX, index
    if key is not None:
        yield semconv.SPANRUN_JOB_KEY, text_of(key)


def of_code(
    path: str, function: str, line: int, length: int = MAX_LENGTH
) -> Iterator[tuple[str, Any]]:
    """Where in the program a record was made, as far as it is known."""
    if function:
        yield semconv.CODE_FUNCTION_NAME, redact(function, length)
    if path:
        yield semconv.CODE_FILE_PATH, redact(path, length)
    if _is_line(line):
        yield semconv.CODE_LINE_NUMBER, line


def _is_line(value: Any) -> bool:
    """Whether it is a line's number. Records that programs make may have anything."""
    return type(value) is int and 0 < value < _NO_LINE


def attributes_of(record: logging.LogRecord) -> Iterator[tuple[Any, Any]]:
    """What the program has put on ``record``, and the error that it tells of."""
    told = record.__dict__
    yield from [pair for pair in told.items() if pair[0] not in _STANDARD]
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        yield semconv.EXCEPTION_TYPE, type(error).__qualname__
        yield semconv.EXCEPTION_MESSAGE, text_of(error)
        try:
            stack = stack_of(error)
        except Exception:  # noqa: BLE001 -- users' errors may have no text
            return
        yield semconv.EXCEPTION_STACKTRACE, stack


def _context(span: SpanContext) -> bytes:
    trace = (span.trace_id & _TRACE).to_bytes(16, "big")
    ids = _ids(_TRACE_ID, trace, _SPAN_ID, span.span_id & _SPAN)
    return _flags(_FLAGS, int(span.trace_flags) & 0xFF) + ids
