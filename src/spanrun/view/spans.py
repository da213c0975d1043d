"""The spans of a page: whole traces, those of the most telling jobs first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from spanrun.semconv import (
    SPANRUN_JOB_ATTEMPTS,
    SPANRUN_JOB_INDEX,
    SPANRUN_JOB_KEY,
    SPANRUN_JOB_OUTCOME,
    SPANRUN_RUN_ID,
    SPANRUN_RUNNER_NAME,
)
from spanrun.telemetry.recordings.records import TIMES, Event, Link, Span
from spanrun.view.columns import Columns, Texts, micro
from spanrun.view.jobs import JobKey

MOST_SPANS: Final = 100_000
KINDS: Final = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES: Final = ("UNSET", "OK", "ERROR")
_OF_JOB: Final = frozenset(
    (
        *TIMES,
        SPANRUN_RUNNER_NAME,
        SPANRUN_RUN_ID,
        SPANRUN_JOB_INDEX,
        SPANRUN_JOB_KEY,
        SPANRUN_JOB_OUTCOME,
        SPANRUN_JOB_ATTEMPTS,
    )
)
"""Attributes of a job's span that the page has in the job's row."""
_encode: Final = json.JSONEncoder(default=str).encode  # `dumps` makes one a call
PARENT: Final = 0
"""In the table of fixes: the number that stands for the column ``parent``."""
JOB: Final = 1
"""The same for ``job``."""


def chosen_spans(
    spans: Iterable[Span], rank: Mapping[str, float], most: int = MOST_SPANS
) -> tuple[int, list[Span]]:
    """Count ``spans``, and keep whole traces of them, ``most`` spans at the most.

    Args:
        spans: In any order.
        rank: How telling a trace is, by its id; one that isn't in it is the least.
        most: So many at the most; a single trace may have more, and is cut.
    """
    traces: dict[str, list[Span]] = {}
    gone: set[str] = set()
    count = held = 0
    for span in spans:
        count += 1
        if span.trace_id in gone:
            continue
        traces.setdefault(span.trace_id, []).append(span)
        held += 1
        if held > 2 * most:
            held = _shrink(traces, gone, rank, most)
    if held > most:
        _shrink(traces, gone, rank, most)
    return count, [span for trace in traces.values() for span in trace]


def _shrink(
    traces: dict[str, list[Span]],
    gone: set[str],
    rank: Mapping[str, float],
    most: int,
) -> int:
    """Drop the least telling traces until ``most`` spans are left."""
    held = sum(map(len, traces.values()))
    for trace in sorted(traces, key=lambda each: rank.get(each, 0.0)):
        if held <= most:
            return held
        if len(traces) == 1:
            del traces[trace][most:]
            return most
        held -= len(traces.pop(trace))
        gone.add(trace)
    return held


class SpanRows:
    """Spans as columns.

    A span's parent ends after it, and its job may be written after it: where they come
    later, the row is fixed, and ``fixes`` says so.

    Args:
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        jobs: The row of each job that is in the page.
        fixes: Which column and row were fixed, and what is there now.

    Attributes:
        rows: The row of each span, by its trace and its id.
    """

    def __init__(
        self, texts: Texts, zero_ns: int, jobs: Mapping[JobKey, int], fixes: Columns
    ) -> None:
        self._texts: Final = texts
        self._zero: Final = zero_ns
        self._jobs: Final = jobs
        self._fixes: Final = fixes
        self.rows: Final[dict[tuple[str, str], int]] = {}
        self._orphans: Final[dict[tuple[str, str], list[int]]] = {}
        self._waiting: Final[dict[JobKey, int]] = {}
        self._known: Final[set[JobKey]] = set()
        self.columns: Final = Columns(
            "trace", "parent", "job", "name", "kind", "start", "duration", "status",
            "message", "attributes", "events", "links", "scope",
        )  # fmt: skip

    def fill(self, spans: list[Span]) -> None:
        """Add all of them, by their start, and see what was missing before."""
        spans.sort(key=lambda span: (span.start_ns, -span.end_ns))
        for row, span in enumerate(spans, len(self.columns)):
            self.rows[span.trace_id, span.span_id] = row
        for span in spans:
            self._add(span)
        for span in spans:
            own = span.trace_id, span.span_id
            for row in self._orphans.pop(own, ()):
                self._fix(PARENT, "parent", row, self.rows[own])
        for key in [key for key in self._waiting if key in self._jobs]:
            self._fix(JOB, "job", self._waiting.pop(key), self._jobs[key])

    def _fix(self, column: int, name: str, row: int, value: int) -> None:
        self.columns.put(name, row, value)
        self._fixes.add(column, row, value)

    def _add(self, span: Span) -> None:
        text, row = self._texts.place, len(self.columns)
        key = _job_of(span)
        job = -1 if key is None else self._jobs.get(key, -1)
        if key is not None and job < 0:
            self._waiting[key] = row
        is_job = job >= 0 and key not in self._known
        if key is not None:
            self._known.add(key)
        above = span.trace_id, span.parent_id or ""
        parent = self.rows.get(above, -1)
        if span.parent_id and parent < 0:
            self._orphans.setdefault(above, []).append(row)
        self.columns.add(
            text(span.trace_id),
            parent,
            job,
            text(span.name),
            KINDS.index(span.kind),
            self._since(span.start_ns),
            max(0, micro(span.duration)),
            STATUSES.index(span.status),
            text(span.status_text),
            text(_told(span.attributes, whole=not is_job)),
            text(_json(span.events, self._event)),
            text(_json(span.links, partial(_link, self.rows))),
            text(span.scope),
        )

    def _event(self, event: Event) -> list[Any]:
        return [self._since(event.time_ns), event.name, dict(event.attributes)]

    def _since(self, nanoseconds: int) -> int:
        return round((nanoseconds - self._zero) / 1000)


def _job_of(span: Span) -> JobKey | None:
    index = span.attributes.get(SPANRUN_JOB_INDEX)
    run = span.attributes.get(SPANRUN_RUN_ID)
    if not isinstance(index, int) or not isinstance(run, str):
        return None
    return run, index


def _link(rows: Mapping[tuple[str, str], int], link: Link) -> list[Any]:
    """What it leads to, and its row: -1 if that isn't in the page."""
    row = rows.get((link.trace_id, link.span_id), -1)
    return [link.trace_id, link.span_id, dict(link.attributes), row]


def _json(items: Iterable[Any], told: Callable[[Any], list[Any]]) -> str:
    found = [told(each) for each in items]
    return _encode(found) if found else ""


def _told(attributes: Mapping[str, Any], *, whole: bool) -> str:
    """Attributes as JSON; of a job's span without those that its row tells."""
    kept = {
        name: value
        for name, value in attributes.items()
        if whole or name not in _OF_JOB
    }
    return _encode(kept) if kept else ""
