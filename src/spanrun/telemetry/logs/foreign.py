"""The `LoggerProvider` that the application has set: log records go there then."""

from __future__ import annotations

import logging

from opentelemetry import _logs as otel_logs
from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import get_current

from spanrun.telemetry.logs.encode import (
    attributes_of,
    body_of,
    of_code,
    of_job,
    severity_of,
)
from spanrun.telemetry.logs.place import Place
from spanrun.telemetry.redact import redact_attributes

_THEIRS = "opentelemetry."


def provider() -> LoggerProvider | None:
    """That provider; None where there is none."""
    found = getattr(getattr(otel_logs, "_internal", None), "_LOGGER_PROVIDER", None)
    if found is None or isinstance(found, NoOpLoggerProvider):
        return None
    theirs: LoggerProvider = found
    return theirs


def emit(theirs: LoggerProvider, record: logging.LogRecord, where: Place) -> None:
    """Give ``record`` to ``theirs``, unless a handler of OpenTelemetry's does."""
    if _has_handler(logging.getLogger(record.name)):
        return
    code = str(record.pathname or ""), str(record.funcName or ""), record.lineno
    attributes = {**dict(attributes_of(record)), **dict(of_code(*code))}
    if where.job is not None:
        attributes.update(of_job(*where.job))
    theirs.get_logger(record.name).emit(
        timestamp=int(record.created * 1e9),
        context=get_current(),
        severity_number=SeverityNumber(severity_of(record.levelno)),
        severity_text=record.levelname,
        body=body_of(record),
        attributes=dict(redact_attributes(attributes)),
    )


def _has_handler(logger: logging.Logger) -> bool:
    found: logging.Logger | None = logger
    while found is not None:
        for handler in found.handlers:
            kind = type(handler)
            if kind.__name__ == "LoggingHandler" and kind.__module__.startswith(
                _THEIRS
            ):
                return True
        found = found.parent if found.propagate else None
    return False
