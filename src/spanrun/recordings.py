"""What the local store has recorded: sessions, runs, jobs, events, traces, logs.

`open` gives the one reader of it. Commands read by the same, and `spanrun export`
writes files for other programs.
"""

from __future__ import annotations

from spanrun.runner.summary import Report
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.read import LAST, Recording, open  # noqa: A004 -- as in `gzip`
from spanrun.telemetry.recordings.records import (
    Event,
    Job,
    Link,
    LogRecord,
    Run,
    Session,
    Span,
    Trace,
)
from spanrun.telemetry.recordings.waits import Wait, waits

__all__ = [
    "LAST",
    "Event",
    "Job",
    "Link",
    "LogRecord",
    "Recording",
    "Report",
    "Run",
    "RunEvent",
    "Session",
    "Span",
    "Trace",
    "Wait",
    "open",
    "waits",
]
