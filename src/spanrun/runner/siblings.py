"""Errors that come while another one is on its way out: none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from spanrun.causes import leaves
from spanrun.errors import JobCancelled, ShuttingDown
from spanrun.telemetry.log import Log
from spanrun.text import line_of

_log: Final = Log(__name__)

_MOST: Final = 10
"""Errors that are shown; the attribute has all of them."""


class Sibling(NamedTuple):
    """An error that doesn't come out, and who raised it."""

    who: str
    error: BaseException


def attach(error: BaseException | None, others: Sequence[Sibling], runner: str) -> None:
    """Tell of ``others`` in notes of ``error``, and keep them as its ``also_raised``.

    Where nobody may come to see those, they are in the log: without an error, with a
    cancellation, which is often caught, and with one that takes no notes.
    """
    known = {id(error)}
    lost: list[Sibling] = []
    for each in others:
        if id(each.error) not in known:
            known.add(id(each.error))
            lost.append(each)
    if not lost:
        return
    noted = error is not None and _note(error, lost)
    if not noted or isinstance(error, asyncio.CancelledError):
        news = [each for each in lost if not _is_of_the_end(each.error)]
        for who, hidden in news[:_MOST]:
            text = "%s of runner %r raised while it ended"
            _log.warning(text, who, runner, error=hidden)
        if len(news) > _MOST:
            _log.warning("%d more errors of runner %r", len(news) - _MOST, runner)


def _is_of_the_end(error: BaseException) -> bool:
    """Whether ``error`` says no more than that the run was cancelled or drained."""
    ends = asyncio.CancelledError | JobCancelled | ShuttingDown
    return all(isinstance(part, ends) for part in leaves(error))


def _note(error: BaseException, others: Sequence[Sibling]) -> bool:
    errors = tuple(each.error for each in others)
    lines = [f"also raised by {who}: {line_of(each)}" for who, each in others[:_MOST]]
    if len(others) > _MOST:
        lines.append(f"{len(others) - _MOST} more are in its attribute also_raised")
    try:
        before = getattr(error, "also_raised", ())
        error.also_raised = (*before, *errors)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
        error.add_note("\n".join(lines))
    except Exception:  # noqa: BLE001 -- of a frozen class, or one with slots: logged
        return False
    return True
