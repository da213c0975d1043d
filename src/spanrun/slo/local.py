"""Count the events of an objective in the local store: each of them, exactly.

Jobs are counted from their rows. Calls of clients, and units, are counted from
their spans, so only those whose trace was kept are seen.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from spanrun import semconv
from spanrun.errors import ConfigurationError
from spanrun.semconv import Metric
from spanrun.slo.check import Verdict, judge
from spanrun.slo.indicator import RESOURCE
from spanrun.slo.model import Latency, Slo, Where, accepts

LAST: Final = "last"

_JOBS: Final = (semconv.METRIC_SPANRUN_JOBS, semconv.METRIC_SPANRUN_JOB_DURATION)
_SPANS: Final = {
    semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION: semconv.HTTP_REQUEST_METHOD,
    semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION: semconv.GEN_AI_OPERATION_NAME,
    semconv.METRIC_DB_CLIENT_OPERATION_DURATION: semconv.DB_SYSTEM_NAME,
    semconv.METRIC_SPANRUN_UNIT_DURATION: semconv.SPANRUN_UNIT_NAME,
}
"""The attribute by which the spans are known that a metric counts."""

_SQL_FIND: Final = """
SELECT 'session', id FROM sessions WHERE id LIKE :run || '%'
UNION SELECT 'run', id FROM runs WHERE id LIKE :run || '%' LIMIT 3"""
_SQL_LAST: Final = "SELECT id FROM sessions ORDER BY started_ns DESC LIMIT 1"
_SQL_JOBS: Final = """
SELECT runner, outcome, error_type, count(*), total(duration <= :limit)
FROM jobs JOIN runs ON jobs.run = runs.id
WHERE runs.session = :session OR runs.id = :run GROUP BY 1, 2, 3"""
_SQL_SPANS: Final = """
SELECT attributes, (ended_ns - started_ns) / 1e9 <= :limit FROM spans
WHERE json_extract(attributes, '$."' || :key || '"') IS NOT NULL
AND (session = :session OR trace_id IN (
    SELECT trace_id FROM jobs WHERE run = :run
    UNION SELECT trace_id FROM runs WHERE id = :run))"""


class Run(NamedTuple):
    """What is looked at: all of a session (one process), or one run in it."""

    session: str | None
    run: str | None

    @property
    def id(self) -> str:
        """The id of the one or the other."""
        return self.session or self.run or ""


class _Group(NamedTuple):
    """Events with the same attributes, and how many are up to the threshold."""

    attributes: dict[str, str]
    events: int
    within: int


def check_run(
    db: sqlite3.Connection, name: str, slos: Sequence[Slo]
) -> tuple[Run, Sequence[Verdict]]:
    """Judge objectives by what one run did.

    Args:
        db: The local store, opened to read.
        name: The id of a session or a run, or how it begins; or ``last``, the
            newest session.
        slos: The objectives.

    Raises:
        LookupError: There is no such run, or there are several.
        ConfigurationError: The store doesn't keep what an objective counts.
        sqlite3.Error: The store can't be read.
    """
    run = _find(db, name)
    return run, [_judge(db, run, slo) for slo in slos]


def _find(db: sqlite3.Connection, name: str) -> Run:
    if name == LAST:
        newest = db.execute(_SQL_LAST).fetchone()
        if newest is None:
            raise LookupError("nothing was ever run: run something first")
        return Run(newest[0], None)
    # `%` and `_` would match anything; ids are hexadecimal digits.
    rows = db.execute(_SQL_FIND, {"run": name}).fetchall() if name.isalnum() else []
    if len(rows) != 1:
        what = "several runs begin so" if rows else "there is no such run"
        raise LookupError(f"--run {name}, {what}: give an id, or {LAST}")
    ((kind, found),) = rows
    return Run(found, None) if kind == "session" else Run(None, found)


def _judge(db: sqlite3.Connection, run: Run, slo: Slo) -> Verdict:
    indicator = slo.indicator
    wanted = _known_here(indicator.total)
    total = part = 0
    if isinstance(indicator, Latency):
        for group in _groups(db, run, slo, indicator.threshold):
            if accepts(wanted, group.attributes):
                total += group.events
                part += group.within
        return judge(slo, total, part)
    of_part = _known_here(indicator.part)
    for group in _groups(db, run, slo, 0.0):
        total += group.events * accepts(wanted, group.attributes)
        part += group.events * accepts(of_part, group.attributes)
    return judge(slo, total, part)


def _known_here(where: Where) -> Where:
    """Without the service's own attributes: a local store is of one service."""
    return tuple(match for match in where if match.attribute not in RESOURCE)


def _groups(
    db: sqlite3.Connection, run: Run, slo: Slo, limit: float
) -> Iterator[_Group]:
    metric: Metric = slo.indicator.metric
    values = {"session": run.session, "run": run.run, "limit": limit}
    if metric in _JOBS:
        for runner, outcome, error, events, within in db.execute(_SQL_JOBS, values):
            attributes = {
                semconv.SPANRUN_RUNNER_NAME: runner,
                semconv.SPANRUN_JOB_OUTCOME: outcome,
                # As the metric has it: to be cancelled is no error.
                semconv.ERROR_TYPE: "" if outcome == "cancelled" else error or "",
            }
            yield _Group(attributes, events, int(within))
    elif metric in _SPANS:
        values["key"] = _SPANS[metric]
        for text, within in db.execute(_SQL_SPANS, values):
            attributes = {key: str(each) for key, each in json.loads(text).items()}
            yield _Group(attributes, 1, within)
    else:
        raise ConfigurationError(
            f"{slo.name} counts {metric.name}, which the local store doesn't keep: "
            "check it with --prometheus, or leave it out"
        )
