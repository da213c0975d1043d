"""What happens to a span: an event, or the error that ends it. Without secrets.

The span may be of an application's own provider. What that raises is counted.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Span,
    SpanContext,
    Status,
    StatusCode,
)

from spanrun import semconv
from spanrun.telemetry.redact import redact, text_of

if TYPE_CHECKING:  # it makes units
    from spanrun.telemetry.recorder import Recorder


def add_event(
    recorder: Recorder, span: Span, name: str, attributes: Mapping[str, Any]
) -> None:
    """Add an event to ``span``, at this moment; texts are redacted and cut."""
    now = recorder.clock.wall_ns(recorder.now())
    clean = {
        key: redact(value) if isinstance(value, str) else value
        for key, value in attributes.items()
    }
    try:
        span.add_event(name, clean, now)
    except Exception as error:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", error)


def fail(recorder: Recorder, span: Span, error: BaseException) -> str:
    """Say on ``span`` that ``error`` ended it. Returns the value of ``error.type``."""
    error_type = recorder.errors.name(error)
    try:
        text = text_of(error)
        span.set_attribute(semconv.ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR, redact(f"{error_type}: {text}")))
        if span.is_recording():
            trace = "".join(traceback.format_exception(error, limit=-32))
            told = {
                semconv.EXCEPTION_TYPE: error_type,
                semconv.EXCEPTION_MESSAGE: text,
                semconv.EXCEPTION_STACKTRACE: trace,
            }
            add_event(recorder, span, semconv.EVENT_EXCEPTION, told)
    except Exception as broken:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", broken)
    return error_type


def context_of(recorder: Recorder, span: Span) -> SpanContext:
    """The identity of ``span``; an invalid one where that can't be had."""
    try:
        return span.get_span_context() or INVALID_SPAN_CONTEXT
    except Exception as error:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", error)
        return INVALID_SPAN_CONTEXT


def is_recording(recorder: Recorder, span: Span) -> bool:
    """Whether it is of use to tell ``span`` anything."""
    try:
        return span.is_recording()
    except Exception as error:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", error)
        return False


def set_attributes(
    recorder: Recorder, span: Span, attributes: Mapping[str, Any]
) -> None:
    """Set attributes without secrets in them."""
    try:
        span.set_attributes(attributes)
    except Exception as error:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", error)


def set_error(recorder: Recorder, span: Span) -> None:
    """Say on ``span`` that something failed, though nothing was raised."""
    try:
        span.set_status(Status(StatusCode.ERROR))
    except Exception as error:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", error)
