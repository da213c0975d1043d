"""`attach`: each record of `logging` is seen here before any handler has it.

A handler of the root logger would do, had it no side effects: `logging.basicConfig`
does nothing where the root has a handler, `logging.lastResort` doesn't print what the
program warns of, and `logging.config` takes it away. So it is no handler, but stands in
front of them all, at the place where Python calls them. What leaves is what a handler
of the root logger would have: records that passed level and filters, of loggers whose
``propagate`` is on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from spanrun.telemetry.logs.place import Place, follow, place
from spanrun.telemetry.suppression import is_suppressed
from spanrun.text import text_of

OURS: Final = frozenset(("spanrun", "opentelemetry", "httpcore", "grpc"))
"""Loggers, and those below them, which speak of the way that records take."""

TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
RUN_ID: Final = "spanrun_run_id"
RUNNER: Final = "spanrun_runner"
JOB_INDEX: Final = "spanrun_job_index"
JOB_KEY: Final = "spanrun_job_key"
"""Attributes of a record that say where it was made."""

_AT: Final = {
    (False, False): 0,
    (True, False): 2,
    (False, True): 3,
    (True, True): 5,
}
MARKS: Final = frozenset((TRACE_ID, SPAN_ID, RUN_ID, RUNNER, JOB_INDEX, JOB_KEY))


_loggers: Final[Any] = logging.Logger  # whose method is replaced


class Take(Protocol):
    """Takes a record that leaves. Never raises."""

    def __call__(self, record: logging.LogRecord, where: Place) -> None:
        """Have it."""
        ...


class _Hook:
    level = 0
    take: Take | None = None
    calls: Callable[[logging.Logger, logging.LogRecord], None] | None = None


def attach(level: int, take: Take) -> None:
    """Mark each record with its place, and have those from ``level`` on taken."""
    if _Hook.take is None:
        follow(1)
    _Hook.level, _Hook.take = level, take
    if _Hook.calls is None:
        _Hook.calls = logging.Logger.callHandlers
        _loggers.callHandlers = _call_handlers


def detach(take: Take) -> None:
    """End that, unless another one has taken the place of ``take``."""
    if _Hook.take != take:
        return
    _Hook.take = None
    follow(-1)
    # Where somebody else stands in front of ours by now, it stays, and does nothing.
    if _loggers.callHandlers is _call_handlers and _Hook.calls is not None:
        _loggers.callHandlers = _Hook.calls
        _Hook.calls = None


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Stands for `logging.Logger.callHandlers`."""
    take, calls = _Hook.take, _Hook.calls
    if take is not None and record.name.partition(".")[0] not in OURS:
        where = place()
        if where.span is not None or where.job is not None:
            _mark(record, where)
        leaves = record.levelno >= _Hook.level and _reaches_root(logger)
        if leaves and not is_suppressed():
            take(record, where)
    if calls is not None:
        calls(logger, record)


def _mark(record: logging.LogRecord, where: Place) -> None:
    """Say on ``record`` where it was made; what the program has put there stays."""
    told = record.__dict__
    if where.span is not None:
        told.setdefault(TRACE_ID, f"{where.span.trace_id:032x}")
        told.setdefault(SPAN_ID, f"{where.span.span_id:016x}")
    if where.job is not None:
        run, index, key = where.job
        told.setdefault(RUN_ID, run.id)
        told.setdefault(RUNNER, run.runner)
        told.setdefault(JOB_INDEX, index)
        if key is not None:
            told.setdefault(JOB_KEY, text_of(key))


def marks_at(where: Place) -> int:
    """How many attributes that puts on a record."""
    return _AT[where.span is not None, where.job is not None] + (
        where.job is not None and where.job[2] is not None
    )


def _reaches_root(logger: logging.Logger) -> bool:
    found: logging.Logger | None = logger
    while found is not None and found.propagate:
        found = found.parent
    return found is None or found.parent is None
