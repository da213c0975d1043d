"""What happened beside the spans, as columns: blocked loops, retries, new limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from spanrun.telemetry.observe import RunEvent
from spanrun.view.columns import Columns, Texts, micro
from spanrun.view.spans import JobKey

MOST_EVENTS: Final = 50_000


def event_columns(
    events: Iterable[RunEvent],
    texts: Texts,
    zero_ns: int,
    runs: Mapping[str, int],
    jobs: Mapping[JobKey, int],
    most: int = MOST_EVENTS,
) -> Columns:
    """Events by the moment at which they began, -1 for no run or job in the page.

    ``value`` is for how long the loop was blocked, in microseconds, or the new limit.

    Args:
        events: In any order; the first are taken.
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        runs: The place of each run, by its id.
        jobs: The row of each job.
        most: How many at the most.
    """
    columns = Columns("time", "kind", "run", "job", "value", "text")
    for event in events:
        if len(columns) == most:
            break
        run, since = event.run or "", round((event.time_ns - zero_ns) / 1000)
        took = micro(event.value["seconds"]) if event.kind == "blocked" else 0
        columns.add(
            since - took,  # it is told when it is over
            texts.place(event.kind),
            runs.get(run, -1),
            -1 if event.index is None else jobs.get((run, event.index), -1),
            took or int(event.value.get("limit", 0)),
            texts.place(_text(event)),
        )
    return columns


def _text(event: RunEvent) -> str:
    value = event.value
    if "function" in value:
        return f"{value['function']} ({value['file']}:{value['line']})"
    return str(value.get("state", value.get("signal", "")))
