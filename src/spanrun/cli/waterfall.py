"""A trace as text: each span a line, its time a bar on one axis for all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from spanrun import semconv
from spanrun.quantities import seconds
from spanrun.recordings import LogRecord, Span
from spanrun.telemetry.recordings.records import TIMES
from spanrun.text import one_line, redact

_NAME: Final = 0.4  # of the width
_TOOK: Final = 10
_LEAST: Final = 10  # characters of the axis
_ERROR: Final = 160
_RECORDS: Final = 20
"""Log records that are shown of a span."""
_DEEPEST: Final = 12
"""Levels that are indented."""


def lines(
    spans: Sequence[Span], logs: Iterable[LogRecord], width: int, limit: int
) -> Iterator[str]:
    """The trace whose spans these are, in lines of about ``width`` characters.

    Of more than ``limit`` spans those are shown that failed, and that took longest,
    each with its log records, of which the first few.
    """
    said: dict[str | None, list[LogRecord]] = {}
    for record in sorted(logs, key=lambda record: record.time_ns):
        said.setdefault(record.span_id, []).append(record)
    began = min(span.start_ns for span in spans)
    whole = max(1, max(span.end_ns for span in spans) - began)
    failed = sum(span.status == "ERROR" for span in spans)
    yield (
        f"trace {spans[0].trace_id} · {len(spans):,} span{'s'[: len(spans) != 1]} · "
        f"{failed:,} failed · {seconds(whole / 1e9)}"
    )
    yield ""
    shown = _chosen(_in_order(spans), limit)
    name = int(width * _NAME)
    axis = width - name - _TOOK
    if axis < _LEAST:  # no room for bars
        name, axis = max(_LEAST, width - _TOOK), 0
    for span, depth in shown:
        indent = "  " * min(depth, _DEEPEST, name // 6)
        label = _label(span, max(4, name - len(indent) - 1))
        bar = _bar((span.start_ns - began) / whole, (span.end_ns - began) / whole, axis)
        took = seconds(span.duration)
        yield f"{indent + label:<{name}}{took:>{_TOOK - 1}} {bar}".rstrip()
        yield from (
            f"{indent}    {text}"
            for text in (
                *_about(span, width - len(indent) - 4),
                *_said(said.get(span.span_id, ()), began, width - len(indent) - 4),
            )
        )
    if left := len(spans) - len(shown):
        yield f"… and {left:,} spans more, which took less time (--limit)"


def _label(span: Span, width: int) -> str:
    """Its name and, of a job, its key or its place: they are what tells it apart."""
    mark = "✕ " if span.status == "ERROR" else ""
    which = str(span.attributes.get(semconv.SPANRUN_JOB_KEY, ""))
    if not which and semconv.SPANRUN_JOB_INDEX in span.attributes:
        which = f"#{span.attributes[semconv.SPANRUN_JOB_INDEX]}"
    if not which:
        return one_line(redact(f"{mark}{span.name}"), width)
    end = " " + one_line(redact(which), width // 2)
    return one_line(redact(f"{mark}{span.name}"), width - len(end)) + end


def _about(span: Span, width: int) -> Iterator[str]:
    """A job's times, the longest first as far as there is room, and what went wrong."""
    if ledger := _ledger(span.attributes, width):
        yield ledger
    if span.status == "ERROR" and span.status_text:
        yield one_line(redact(span.status_text), max(_LEAST, min(width, _ERROR)))


def _said(records: Sequence[LogRecord], began: int, width: int) -> Iterator[str]:
    """What was logged in a span, and when in the trace."""
    for record in records[:_RECORDS]:
        body = record.body if isinstance(record.body, str) else json.dumps(record.body)
        at = seconds(max(0, record.time_ns - began) / 1e9)
        told = one_line(redact(f"{record.level} {body}"), max(_LEAST, width - 12))
        yield f"{at:>9} · {told}"
    if (left := len(records) - _RECORDS) > 0:
        yield f"… and {left:,} log records more"


def _ledger(attributes: Mapping[str, object], width: int) -> str:
    times = {
        key.rpartition(".")[2]: value
        for key in TIMES
        if isinstance(value := attributes.get(key), float) and value > 0
    }
    longest = sorted(times.items(), key=lambda item: -item[1])
    parts = [f"{phase} {seconds(value)}" for phase, value in longest]
    while parts and len(" · ".join(parts)) > width:
        parts.pop()
    return " · ".join(parts)


def _bar(begin: float, end: float, width: int) -> str:
    if not width:
        return ""
    first = min(width - 1, int(begin * width))
    last = max(first + 1, round(end * width))
    return " " * first + "━" * (last - first)


def _in_order(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """Each span behind its parent, with its depth; by a stack, however deep it is."""
    known = {span.span_id for span in spans}
    below: dict[str | None, list[Span]] = {None: []}
    for span in sorted(spans, key=lambda span: span.start_ns):
        parent = span.parent_id if span.parent_id in known else None
        below.setdefault(parent, []).append(span)
    found: list[tuple[Span, int]] = []
    while below:  # more than once if there are spans that are above themselves
        stack = [(span, 0) for span in reversed(below.pop(next(iter(below))))]
        while stack:
            span, depth = stack.pop()
            found.append((span, depth))
            inner = below.pop(span.span_id, [])
            stack.extend((each, depth + 1) for each in reversed(inner))
    return found


def _chosen(spans: list[tuple[Span, int]], limit: int) -> list[tuple[Span, int]]:
    """Those that there is room for: first what failed, then what took longest.

    A span comes with all below it or, where that is too much, with the first of it.
    """
    if len(spans) <= limit:
        return spans
    sizes = [1] * len(spans)  # of a span and all below it
    failed = [span.status == "ERROR" for span, _ in spans]
    above: list[int] = []
    parents: list[int | None] = []
    for place, (_, depth) in enumerate(spans):
        del above[depth:]
        parents.append(above[-1] if above else None)
        above.append(place)
    for place in range(len(spans) - 1, -1, -1):
        parent = parents[place]
        if parent is not None:
            sizes[parent] += sizes[place]
            failed[parent] |= failed[place]

    def ranked(first: int, end: int) -> Iterator[tuple[bool, float, int]]:
        while first < end:
            yield not failed[first], -spans[first][0].duration, first
            first += sizes[first]

    waiting = list(ranked(0, len(spans)))
    heapify(waiting)
    places = set[int]()
    while waiting and len(places) < limit:
        *_, place = heappop(waiting)
        end = place + sizes[place]
        if len(places) + sizes[place] <= limit:
            places.update(range(place, end))
        else:
            places.add(place)
            for each in ranked(place + 1, end):
                heappush(waiting, each)
    return [spans[place] for place in sorted(places)]
