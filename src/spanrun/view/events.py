"""What happened beside the spans, as columns: blocked loops, retries, new limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from spanrun.telemetry.observe import RunEvent
from spanrun.view.columns import Columns, Texts, micro
from spanrun.view.jobs import JobKey

MOST_EVENTS: Final = 50_000


OF_EVENT: Final = 2
"""In the table of fixes: the number that stands for the column ``job``."""


class EventRows:
    """Events by the moment at which they began, -1 for no run or job in the page.

    ``value`` is for how long the loop was blocked, in microseconds, or the new limit.

    Args:
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        runs: The place of each run, by its id.
        jobs: The row of each job.
        fixes: Which row was fixed as its job came later, and what is there now.
    """

    def __init__(
        self,
        texts: Texts,
        zero_ns: int,
        runs: Mapping[str, int],
        jobs: Mapping[JobKey, int],
        fixes: Columns,
    ) -> None:
        self._texts: Final = texts
        self._zero: Final = zero_ns
        self._runs: Final = runs
        self._jobs: Final = jobs
        self._fixes: Final = fixes
        self._waiting: Final[dict[int, JobKey]] = {}
        self.columns: Final = Columns("time", "kind", "run", "job", "value", "text")

    def fill(self, events: Iterable[RunEvent]) -> None:
        """Add all of them, and see what was missing before."""
        for event in events:
            self._add(event)
        found = [row for row, key in self._waiting.items() if key in self._jobs]
        for row in found:
            job = self._jobs[self._waiting.pop(row)]
            self.columns.put("job", row, job)
            self._fixes.add(OF_EVENT, row, job)

    def _add(self, event: RunEvent) -> None:
        run, since = event.run or "", round((event.time_ns - self._zero) / 1000)
        took = micro(event.value["seconds"]) if event.kind == "blocked" else 0
        job = -1
        if event.index is not None:
            job = self._jobs.get((run, event.index), -1)
            if job < 0:
                self._waiting[len(self.columns)] = run, event.index
        self.columns.add(
            since - took,  # it is told when it is over
            self._texts.place(event.kind),
            self._runs.get(run, -1),
            job,
            took or int(event.value.get("limit", 0)),
            self._texts.place(_text(event)),
        )


def _text(event: RunEvent) -> str:
    value = event.value
    if "function" in value:
        return f"{value['function']} ({value['file']}:{value['line']})"
    return str(value.get("state", value.get("signal", "")))
