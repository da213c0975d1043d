"""`place`: in which span, run and job the code is that runs now."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeVar

from opentelemetry.trace import INVALID_SPAN, SpanContext, get_current_span

from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.units.job import JobUnit, Submitted

T = TypeVar("T", bound=Submitted)


class Place(NamedTuple):
    """Where a log record was made.

    Attributes:
        span: The current span's identity; None outside of any.
        job: The run, the job's index and its key; None outside of any job.
    """

    span: SpanContext | None
    job: tuple[RunInfo, int, Any] | None


_job: Final[ContextVar[tuple[RunInfo, int, Any] | None]] = ContextVar(
    "spanrun-job", default=None
)


class _Followers:
    count = 0


def follow(change: int) -> None:
    """One more, or one less, wants to know in which job code runs."""
    _Followers.count += change


def placed(opens: Callable[[T], JobUnit], run: RunInfo) -> Callable[[T], JobUnit]:
    """What ``opens`` the units of the jobs of ``run``, each in its job's own context.

    It also notes there which job it is, if anybody wants to know; else it is ``opens``.
    """
    if not _Followers.count:
        return opens

    def open_placed(job: T) -> JobUnit:
        _job.set((run, job.index, job.key))
        return opens(job)

    return open_placed


def place() -> Place:
    """Where the code is that runs now."""
    span = get_current_span()
    if span is INVALID_SPAN:
        return Place(None, _job.get())
    context = span.get_span_context()
    return Place(context if context.is_valid else None, _job.get())
