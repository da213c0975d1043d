"""The log records of a page, as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)

from spanrun.semconv import SPANRUN_RUN_ID
from spanrun.telemetry.span.decode import mapping, value_of
from spanrun.view.columns import Columns, Texts

MOST_LOGS: Final = 20_000
_LONGEST: Final = 16_384
"""Characters of a record's text."""
OF_LOG: Final = 3
"""In the table of fixes: the number that stands for the column ``span``."""
_LEVELS: Final = {
    "TRACE": 1, "DEBUG": 5, "INFO": 9, "NOTICE": 10, "WARN": 13, "WARNING": 13,
    "ERROR": 17, "CRITICAL": 18, "FATAL": 21,
}  # fmt: skip
"""OTLP's numbers of the usual names, for whom has sent the name alone."""


class LogRows:
    """Log records in the order in which they came.

    ``span`` is the row of the span that a record belongs to: -1 for none in the page.

    Args:
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        spans: The row of each span, by its trace and its id.
        fixes: Which row was fixed as its span came later, and what is there now.
        run: Of the records that are wanted; empty for all.
    """

    def __init__(
        self,
        texts: Texts,
        zero_ns: int,
        spans: Mapping[tuple[str, str], int],
        fixes: Columns,
        run: str = "",
    ) -> None:
        self._texts: Final = texts
        self._zero: Final = zero_ns
        self._spans: Final = spans
        self._fixes: Final = fixes
        self._run: Final = run
        self._waiting: Final[dict[int, tuple[str, str]]] = {}
        self.columns: Final = Columns(
            "time", "level", "text", "trace", "span", "attributes", "scope"
        )

    def fill(self, body: bytes) -> int:
        """Add the records of a request; returns how many aren't wanted."""
        others = 0
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    attributes = mapping(record.attributes)
                    if self._run in ("", attributes.get(SPANRUN_RUN_ID)):
                        self._add(record, attributes, scope.scope.name)
                    else:
                        others += 1
        return others

    def fix(self) -> None:
        """See which spans have come since."""
        found = [row for row, key in self._waiting.items() if key in self._spans]
        for row in found:
            span = self._spans[self._waiting.pop(row)]
            self.columns.put("span", row, span)
            self._fixes.add(OF_LOG, row, span)

    def _add(self, record: Any, attributes: Mapping[str, Any], scope: str) -> None:
        text, row = self._texts.place, len(self.columns)
        key = record.trace_id.hex(), record.span_id.hex()
        span = self._spans.get(key, -1)
        if span < 0 and all(key):
            self._waiting[row] = key
        when = record.time_unix_nano or record.observed_time_unix_nano
        named = _LEVELS.get(record.severity_text.upper(), 0)
        self.columns.add(
            round((when - self._zero) / 1000) if when else 0,
            record.severity_number or named,
            text(_text(record)),
            text(key[0]),
            span,
            text(json.dumps(attributes, default=str) if attributes else ""),
            text(scope),
        )


def _text(record: Any) -> str:
    body = value_of(record.body)
    told = body if isinstance(body, str) else json.dumps(body, default=str)
    if body is None:
        told = record.event_name
    if len(told) <= _LONGEST:
        return told
    return f"{told[:_LONGEST]} … {len(told) - _LONGEST:,} more characters"
