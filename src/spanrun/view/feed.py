"""`Feed`: the page of a session, which grows as the recording does.

Rows are only ever added, and a row's place stays what it is. So what is new since a
moment is the end of each column, and a `Mark` of some numbers says which moment that
was: nothing has to be kept for those who look.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from math import floor
from typing import Any, Final, NamedTuple

from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES, SPANRUN_JOB_PHASE_VALUES
from spanrun.slo import Slo
from spanrun.slo.local import Part
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.read import Recording, Written
from spanrun.telemetry.recordings.records import Job, Run, Session, Span
from spanrun.telemetry.recordings.summary import Tally, longest_block
from spanrun.view.choice import MOST_JOBS, choose
from spanrun.view.columns import Columns, Texts
from spanrun.view.comparison import before
from spanrun.view.events import MOST_EVENTS, EventRows
from spanrun.view.jobs import JobRows
from spanrun.view.objectives import objectives
from spanrun.view.received import Received
from spanrun.view.spans import MOST_SPANS, SpanRows, chosen_spans
from spanrun.view.sums import (
    causes_told,
    run_told,
    runners_told,
    session_told,
)

FORMAT: Final = 1
_HEAD: Final[dict[str, Any]] = {
    "format": FORMAT,
    "phases": list(SPANRUN_JOB_PHASE_VALUES),
    "outcomes": list(SPANRUN_JOB_OUTCOME_VALUES),
}
_SHARE: Final = 0.02
"""Of one core's time, what sums may take that are made again and again."""
_LONGEST: Final = 10.0
"""Seconds between two sums, whatever they take."""


class Limits(NamedTuple):
    """How much a page holds."""

    jobs: int = MOST_JOBS
    spans: int = MOST_SPANS


class Mark(NamedTuple):
    """A moment of a feed: which one it is, its version, and how long its tables are."""

    feed: str
    version: int
    jobs: int
    spans: int
    events: int
    fixes: int
    logs: int
    texts: int

    def __str__(self) -> str:
        return "-".join(map(str, self))


def mark_of(text: str) -> Mark | None:
    """The mark that was written as ``text``; None if it is none."""
    feed, *numbers = text.split("-")
    places = [int(each) for each in numbers if each.isascii() and each.isdigit()]
    if len(places) != len(numbers) or len(places) != len(Mark._fields) - 1:
        return None
    return Mark(feed, *places)


def scope_of(recording: Recording, name: str) -> tuple[Session, str]:
    """The session or the run whose id begins with ``name``: the session and the run.

    Raises:
        LookupError: There is none, or several.
        StoreError: It can't be read.
    """
    found = recording.find(name)
    if isinstance(found, Run):
        return recording.session(found.session), found.id
    return found, ""


class Feed:
    """The data of one page.

    Args:
        recording: Read up to now.
        session: What the page shows.
        run: The id of a run, if it shows no more than that.
        limits: How much it holds.
        slos: Objectives that are judged by it.

    Attributes:
        is_over: Another feed would be better: there is much that this one has no room
            for, or something began before its time does.

    Raises:
        ConfigurationError: What an objective counts isn't recorded.
        StoreError: It can't be read.
    """

    def __init__(
        self,
        recording: Recording,
        session: Session,
        run: str,
        limits: Limits,
        slos: Sequence[Slo] = (),
    ) -> None:
        self.id: Final = secrets.token_hex(4)
        self.session = session
        self.run: Final = run
        self.is_over = self._is_due = False
        self._limits = limits
        self._slos: Final = slos
        self._before: Final = before(recording, session)
        self._version = 0
        self._runs: Final[list[Run]] = []
        self._changed: Final[list[int]] = []  # the version of each run's last change
        self._by_id: Final[dict[str, Run]] = {}
        self._places: Final[dict[str, int]] = {}
        self._tally: Final = Tally(self._by_id)
        self._blocks: Final[list[RunEvent]] = []
        self._count = 0
        self._texts: Final = Texts()
        self._fixes: Final = Columns("column", "row", "value")
        until = recording.written()
        self._read_runs(recording)
        held = self._choose(recording, until)
        self._zero: Final = self._begin()
        texts, zero, places = self._texts, self._zero, self._places
        self._jobs: Final = JobRows(texts, zero, places, self._by_id)
        rows = self._jobs.rows
        for job in held:
            self._jobs.add(job)
        self._first_count: Final = self._count
        self._spans: Final = SpanRows(texts, zero, rows, self._fixes)
        self._spans_seen, kept = chosen_spans(
            self._recorded_spans(recording, until), self._jobs.rank, limits.spans
        )
        self._spans.fill(kept)
        self._events: Final = EventRows(texts, zero, places, rows, self._fixes)
        self._fill_events(self._recorded_events(recording, until))
        folder, of_spans = recording.path.parent, self._spans.rows
        self._received: Final = Received(
            folder, session.id, run, texts, zero, of_spans, self._fixes
        )
        self._seen = until
        self._judge(recording)
        self._sum()
        self._shown = 0

    def advance(self, recording: Recording) -> bool:
        """Read what is new; whether there was anything.

        Raises:
            LookupError: The session was deleted.
            StoreError: It can't be read.
        """
        until = recording.written()
        self.session = recording.session(self.session.id)
        if any(now < seen for now, seen in zip(until, self._seen, strict=True)):
            self.is_over = True  # it is another file
            return True
        self._version += 1
        changed = self._read_runs(recording)
        recent = recording.since(self.session.id, self._seen, until)
        mark = self.mark()
        room = self._limits.jobs * 5 // 4 - len(self._jobs.columns)
        count = self._count
        for job in recent.jobs:
            self._tally.add(job)
            self._count += 1
            if room > 0:
                room -= self._jobs.add(job)
        many = self._count > 2 * max(self._first_count, self._limits.jobs)
        self.is_over = many or self._jobs.first < 0
        spans = list(recent.spans)
        self._spans_seen += len(spans)
        room = max(0, self._limits.spans * 5 // 4 - len(self._spans.columns))
        self._spans.fill(spans[:room])
        self._fill_events(recent.events)
        has_metrics = self._received.advance()
        self.is_over = self.is_over or self._received.is_over
        self._seen = until
        if count < self._count:
            self._judge(recording)
        self._is_due = self._is_due or count < self._count or changed
        if has_metrics:
            self._shown = self._version
        changed = changed or count < self._count or self.mark() != mark or has_metrics
        if not changed:
            self._version -= 1  # nobody has to be told
        return changed

    def refresh(self) -> bool:
        """Sum up again, if there is need and it is time for it; whether that was done.

        With more jobs it takes longer, and is done less often: it never takes more
        than a small share of a core.
        """
        if not self._is_due or time.monotonic() < self._next_sum:
            return False
        self._version += 1
        self._sum()
        return True

    def mark(self) -> Mark:
        """This moment."""
        jobs, spans, events, fixes, logs = map(len, self._tables().values())
        texts = len(self._texts.all)
        return Mark(self.id, self._version, jobs, spans, events, fixes, logs, texts)

    def data(self) -> dict[str, Any]:
        """All of it."""
        runs = [run_told(run, self._zero) for run in self._runs]
        tables = {name: table.as_dict() for name, table in self._tables().items()}
        return {
            **_HEAD,
            "at": str(self.mark()),
            **self._sums,
            **tables,
            "runs": runs,
            "metrics": self._received.panels(),
            "counts": self._counts(),
            "texts": self._texts.all,
        }

    def since(self, mark: Mark) -> dict[str, Any] | None:
        """What is new since ``mark``; None if that is of another feed."""
        now = self.mark()
        if mark.feed != self.id or any(a > b for a, b in zip(mark[1:], now[1:])):  # noqa: B905 -- both marks
            return None
        tables = {
            name: table.since(length)
            for (name, table), length in zip(
                self._tables().items(), mark[2:-1], strict=True
            )
        }
        runs = [
            [place, run_told(run, self._zero)]
            for place, run in enumerate(self._runs)
            if self._changed[place] > mark.version
        ]
        sums = self._sums if self._summed > mark.version else {}
        if self._shown > mark.version:
            sums = {**sums, "metrics": self._received.panels()}
        return {
            "at": str(now),
            **sums,
            **tables,
            "runs": runs,
            "counts": self._counts(),
            "texts": self._texts.all[mark.texts :],
        }

    def _tables(self) -> dict[str, Columns]:
        """In the order of a mark's numbers."""
        return {
            "jobs": self._jobs.columns,
            "spans": self._spans.columns,
            "events": self._events.columns,
            "fixes": self._fixes,
            "logs": self._received.logs,
        }

    def _counts(self) -> dict[str, int]:
        return {
            "jobs": self._count,
            "jobs_shown": len(self._jobs.columns),
            "spans": self._spans_seen,
            "spans_shown": len(self._spans.columns),
            **self._received.counts(),
        }

    def _read_runs(self, recording: Recording) -> bool:
        """Whether any is new or has changed."""
        changed = False
        for run in recording.runs(self.session.id):
            if self.run not in ("", run.id) or self._by_id.get(run.id) == run:
                continue
            changed = True
            place = self._places.setdefault(run.id, len(self._runs))
            if place == len(self._runs):
                self._runs.append(run)
                self._changed.append(0)
            self._runs[place] = self._by_id[run.id] = run
            self._changed[place] = self._version
        return changed

    def _begin(self) -> int:
        """Where the page's time begins; a job may begin before its run is known."""
        started = [each.started_ns for each in self._runs]
        first = min(started, default=self.session.started_ns)
        return first + floor(self._tally.first * 1e9)

    def _choose(self, recording: Recording, until: Written) -> list[Job]:
        """Read all jobs, and return those that there is room for."""
        held: list[Job] | None = []
        for job in self._recorded_jobs(recording, until):
            self._tally.add(job)
            self._count += 1
            if held is not None:
                held.append(job)
                if len(held) > self._limits.jobs:
                    held = None  # they are read once more, rather than kept
        if held is not None:
            return held
        _, chosen = choose(self._recorded_jobs(recording, until), self._limits.jobs)
        every = enumerate(self._recorded_jobs(recording, until))
        return [job for number, job in every if number in chosen]

    def _recorded_jobs(self, recording: Recording, until: Written) -> Iterator[Job]:
        if self.run:
            return recording.jobs(self.session.id, self.run)
        return recording.since(self.session.id, Written(), until).jobs

    def _recorded_events(
        self, recording: Recording, until: Written
    ) -> Iterator[RunEvent]:
        if self.run:
            return recording.events(self.session.id, self.run)
        return recording.since(self.session.id, Written(), until).events

    def _recorded_spans(self, recording: Recording, until: Written) -> Iterator[Span]:
        spans = recording.since(self.session.id, Written(), until).spans
        if not self.run:
            return spans
        return (span for span in spans if span.trace_id in self._jobs.rank)

    def _fill_events(self, events: Iterator[RunEvent]) -> None:
        room = MOST_EVENTS - len(self._events.columns)
        found = list(islice(events, room))
        self._blocks.extend(event for event in found if event.kind == "blocked")
        self._events.fill(found)

    def _judge(self, recording: Recording) -> None:
        part = Part(self.session.id, self.run)
        self._objectives = objectives(recording, part, self._slos)

    def _sum(self) -> None:
        began = time.monotonic()
        summary = self._tally.summary(longest_block(self._blocks))
        self._sums: dict[str, Any] = {
            "session": {
                **session_told(self.session, self.run, self._zero, summary),
                "before": self._before,
            },
            "objectives": self._objectives,
            "runners": runners_told(summary, self._runs),
            "causes": causes_told(summary),
        }
        self._summed, self._is_due = self._version, False
        ended = time.monotonic()
        self._next_sum = ended + min(_LONGEST, (ended - began) / _SHARE)
