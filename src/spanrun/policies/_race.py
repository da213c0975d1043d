"""`Race`: a call and its second ones, of which the first success counts."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from spanrun.outcome import Timings
from spanrun.policies.base import Cancels, Step, Work
from spanrun.semconv import SpanrunHedgeResult

_FIRST: Final = asyncio.FIRST_COMPLETED
_PARTS: Final = ("limit", "rate_limit", "busy", "loop_lag")


class Race:
    """The calls of one attempt: the first in the job's task, others in their own.

    Each second call has its own view of the job, whose timings go on from what
    the job's were when it was sent. When it wins they become the job's. So only
    one way through the layers is booked, and its parts add up.

    Attributes:
        since: When the first call began.
    """

    __slots__ = (
        "_abandoned",
        "_before",
        "_cancelled",
        "_cancels",
        "_errors",
        "_fatal",
        "_first_ended",
        "_given",
        "_job",
        "_news",
        "_task",
        "_winner",
        "branches",
    )

    def __init__(self, job: Work, cancels: Cancels) -> None:
        task = job.task
        assert task is not None  # noqa: S101 -- a job always runs in a task
        self.branches: dict[asyncio.Task[Any], Work] = {}
        self._job = job
        self._cancels = cancels
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._news: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        self._errors: list[Exception] = []
        self._fatal: BaseException | None = None
        self._winner: asyncio.Task[Any] | None = None
        self._given: asyncio.Task[Any] | None = None
        self._first_ended = self._cancelled = False

    def send(self, inner: Step, context: contextvars.Context, name: str) -> Work:
        """Call once more, in a task of its own. Returns that call's view."""
        branch = copy.copy(self._job)
        branch.timings = copy.copy(self._job.timings)
        task = self._task.get_loop().create_task(
            _call(inner, branch), name=name, context=context.copy()
        )
        branch.task = task
        self.branches[task] = branch
        task.add_done_callback(self._ended)
        return branch

    async def won(self, value: Any) -> Any:
        """The first call gave ``value``."""
        self._first_ended = True
        if not self._cancelled:
            await self._stop()
            return value
        # It has swallowed the cancellation by which it was told that it is late.
        self._cancels.obeyed(self._task)
        self._task.uncancel()
        return await self._rest()

    async def lost(self, error: BaseException) -> Any:
        """The first call ended with ``error``. Give what a second one gives.

        Raises:
            BaseException: The first error, when all have failed.
        """
        self._first_ended = True
        if isinstance(error, GeneratorExit):  # nothing can be awaited any more
            self._cancel()
            raise error
        if self._cancelled:
            self._cancels.obeyed(self._task)
            # Unless somebody else asked for cancellation as well, that was us.
            ours = self._task.uncancel() <= self._before
            if not ours or not isinstance(error, Exception | asyncio.CancelledError):
                await self._stop()
                raise error
        elif isinstance(error, Exception):
            self._errors.append(error)
        else:
            await self._stop()
            raise error
        return await self._rest()

    async def _rest(self) -> Any:
        """The first call is out of the race: what do the others give?"""
        while self._fatal is None:
            winner = self._winner or self._done()
            if winner is not None:
                await self._stop()
                self._book(self.branches[winner].timings)
                self._given = winner
                return winner.result()
            left = self._left()
            if not left:
                raise self._errors[0]
            try:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await self._stop()
                raise
        await self._stop()
        raise self._fatal

    def results(self) -> Iterator[SpanrunHedgeResult]:
        """What became of each second call, once the race is over."""
        for task in self.branches:
            if task is self._given:
                yield "won"
            elif task.done() and not task.cancelled() and task.exception():
                yield "failed"
            else:
                yield "cancelled"

    def _book(self, won: Timings) -> None:
        own = self._job.timings
        for part in _PARTS:
            setattr(own, part, getattr(won, part))

    async def _stop(self) -> None:
        """Cancel and await the calls that are still on their way.

        A cancellation that arrives meanwhile is raised when they have ended.
        """
        self._cancel()
        cancelled: asyncio.CancelledError | None = None
        while left := self._left():
            self._news = self._task.get_loop().create_future()
            try:
                await asyncio.wait([*left, self._news], return_when=_FIRST)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _cancel(self) -> None:
        for task in self._left():
            abandon = partial(self._abandon, task)
            self._cancels.cancel(task, self.branches[task], "self", abandon=abandon)

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """It was cancelled, and has not ended: the race is over without it."""
        self._abandoned.add(task)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _left(self) -> list[asyncio.Task[Any]]:
        left = self.branches.keys() - self._abandoned
        return [task for task in left if not task.done()]

    def _done(self) -> asyncio.Task[Any] | None:
        """A success of which `_ended` hasn't told yet."""
        for task in self.branches:
            if task.done() and not task.cancelled() and task.exception() is None:
                return task
        return None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            return
        if isinstance(error, Exception):
            self._errors.append(error)
            return
        if error is None:
            self._winner = self._winner or task
        else:
            self._fatal = error
        if not self._first_ended and not self._cancelled:
            self._cancelled = True
            self._cancels.cancel(self._task, self._job, "self")


async def _call(inner: Step, job: Work) -> Any:
    return await inner(job)
