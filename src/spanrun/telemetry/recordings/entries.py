"""What is written into the store's file: jobs, events and spans, packed, as entries."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.columns import blob
from spanrun.telemetry.recordings.events import pack_events
from spanrun.telemetry.recordings.jobs import Described, pack_jobs
from spanrun.telemetry.recordings.spans import HEADER, Packed, pack_spans
from spanrun.telemetry.recordings.writer import Entry

SESSION: Final = (
    "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, 0) "
    "ON CONFLICT (id) DO UPDATE SET written_ns = excluded.written_ns"
)
"""Its values: id, start, process, command, and when this is written."""
_JOBS: Final = "INSERT INTO jobs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
_EVENTS: Final = "INSERT INTO events VALUES (NULL, ?, ?, ?, ?)"
_SCOPE: Final = "INSERT OR IGNORE INTO scopes VALUES (?, ?, ?)"
_SPANS: Final = "INSERT INTO batches VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def jobs_entry(session: str, rows: bytes, described: Sequence[Described]) -> Entry:
    """Jobs of a session; at least one. They are as `JobRows.take` gives them."""
    packed = pack_jobs(rows, described)
    values = (
        session,
        " ".join(packed.runs),
        packed.jobs,
        packed.failed,
        packed.traces,
        packed.texts,
        packed.rows,
    )
    size = len(packed.traces) + len(packed.texts) + len(packed.rows)
    return Entry(packed.jobs, size, _JOBS, values)


def events_entry(session: str, events: Sequence[RunEvent]) -> Entry:
    """Events of a session.

    Raises:
        TypeError: A value is nothing that JSON has.
        ValueError: The same.
    """
    rows = pack_events(events)
    runs = " ".join(sorted({event.run for event in events if event.run}))
    return Entry(len(events), len(rows), _EVENTS, (session, runs, len(events), rows))


def spans_entries(
    session: str, about: bytes, data: bytes, headers: bytes
) -> list[Entry]:
    """Spans of a session, and the scope that they come from.

    Args:
        session: Its id.
        about: A request with this scope and its resource, without the spans.
        data: Of the spans, as that of a `Batch`.
        headers: The same.
    """
    packed = Packed(*pack_spans(data, headers))
    heads = blob(packed.heads, packed.heads_random)
    bodies = blob(packed.bodies, packed.bodies_random)
    number = zlib.crc32(about)
    spans = len(headers) // HEADER.size
    values = (
        session,
        number,
        packed.start,
        packed.end,
        spans,
        packed.failed,
        packed.traces,
        heads,
        packed.ids,
        bodies,
    )
    size = len(packed.traces) + len(heads) + len(packed.ids) + len(bodies)
    return [
        Entry(0, len(about), _SCOPE, (session, number, about)),
        Entry(spans, size, _SPANS, values),
    ]
