"""`Runner`: run many async jobs under one limit, and see every one of them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Any, Final, Literal, ParamSpec, TypeVar, TypeVarTuple, overload

from spanrun import checks
from spanrun.clock import Clock
from spanrun.outcome import Outcome
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.breaker import Breaker
from spanrun.policies.hedge import Hedge
from spanrun.policies.limit import Limit
from spanrun.policies.rate import RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner import checks as arguments
from spanrun.runner.batches import BatchRun, batches_in
from spanrun.runner.blame import SplitOn
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.checkpoint.chosen import run_of
from spanrun.runner.engine import Engine
from spanrun.runner.lifecycle import Lifecycle
from spanrun.runner.map import Errors, MapRun
from spanrun.runner.run import Trace
from spanrun.runner.stream import Stream, StreamRun, collected
from spanrun.telemetry.observe import Observer

A = TypeVarTuple("A")
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

DEFAULT_LIMIT: Final = 16


class Runner(Lifecycle):
    """Runs async jobs, at most ``limit`` at once, each in one instrumented wrapper.

    Args:
        name: Names the spans (``job {name}``) and labels the metrics.
        limit: How many jobs run at once: a number, `Limit` or `AdaptiveLimit`.
        rate: How many calls begin in a time.
        retry: Which errors are worth another attempt.
        timeout: Seconds for a whole job, or a `Timeout`.
        hedge: When a call that takes long is made a second time.
        breaker: When a service that is down isn't called any more.
        abandon_after: Seconds until a cancelled job that doesn't end is given up.
        observers: Told of every run and outcome.
        clock: What the job's times are read from.
        random: What its waits are drawn from, where they are; else one of its own.
        engine: Where its jobs run: see `spanrun.engines`. None: on this event loop.

    Leaving ``async with`` waits for the jobs that still run or, on an error,
    cancels them; nothing is left behind but what ``abandon_after`` gave up.

    Raises:
        ConfigurationError: At once, for a value that can't work.

    Example:
        >>> async def double(number: int) -> int:
        ...     return number * 2
        >>> async def main() -> list[int]:
        ...     async with Runner("double", limit=2) as runner:
        ...         return await runner.map(double, [1, 2, 3])
        >>> run(main())
        [2, 4, 6]
    """

    def __init__(
        self,
        name: str,
        *,
        limit: int | Limit | AdaptiveLimit = DEFAULT_LIMIT,
        rate: RateLimit | None = None,
        retry: Retry | None = None,
        timeout: float | Timeout | None = None,
        hedge: Hedge | None = None,
        breaker: Breaker | None = None,
        abandon_after: float | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        random: Random | None = None,
        engine: Engine | None = None,
    ) -> None:
        policies = arguments.policies_of(
            limit, rate, retry, timeout, hedge, breaker, abandon_after
        )
        super().__init__(
            checks.text("Runner", "name", name),
            policies,
            arguments.observers_of("Runner", observers),
            arguments.clock_of("Runner", clock),
            arguments.random_of("Runner", random),
            arguments.engine_of(engine, policies, clock=clock, random=random),
        )

    @property
    def name(self) -> str:
        """The runner's name."""
        return self._name

    @overload
    async def call(
        self,
        function: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    @overload
    async def call(
        self,
        function: Callable[[*A], Awaitable[T]],
        /,
        *args: *A,
        priority: float,
    ) -> T: ...

    async def call(  # type: ignore[misc]  # P might have a `priority`: see below
        self,
        function: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        priority: float = 0,
        **kwargs: Any,
    ) -> Any:
        """Run one job, and give its value.

        Cancelling this cancels the job and waits for it; a job that swallows
        the cancellation gives its value.

        Args:
            function: Called with the other arguments; returns an awaitable.
            args: Its arguments.
            priority: The higher, the earlier the job gets a slot. (Put a
                ``lambda`` around a function with an argument of that name.)
            kwargs: Its keyword arguments.

        Raises:
            Exception: What the job raised, unwrapped, with a note.
            JobCancelled: The job cancelled itself.
            DeadlineExceeded: Its time was up.
            ConfigurationError: The runner was never opened, or an argument is wrong.
            ShuttingDown: The runner is closed.
        """
        self._open()
        assert self._calls is not None  # noqa: S101 -- made when it was opened
        if not callable(function) or type(priority) is not int:
            priority = arguments.call_options(self._name, function, priority)
        return await self._calls.call(lambda _: function(*args, **kwargs), priority)

    @overload
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        errors: Literal["raise"] = "raise",
        total: int | None = None,
        trace: Trace = "auto",
        key: Callable[[T], Any] | None = None,
        priority: Callable[[T], float] | None = None,
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[R]: ...

    @overload
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        errors: Literal["collect"],
        total: int | None = None,
        trace: Trace = "auto",
        key: Callable[[T], Any] | None = None,
        priority: Callable[[T], float] | None = None,
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[Outcome[R]]: ...

    async def map(
        self,
        function: Callable[[Any], Awaitable[Any]],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        errors: Errors = "raise",
        total: int | None = None,
        trace: Trace = "auto",
        key: Callable[[Any], Any] | None = None,
        priority: Callable[[Any], float] | None = None,
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[Any]:
        """Run ``function`` on each item, and give the results in the items' order.

        Args:
            function: Called with one item; returns an awaitable.
            items: Pulled only as fast as jobs are admitted.
            errors: ``"raise"``: the first error cancels and awaits the other
                jobs and is raised, unwrapped, with a note. ``"collect"``: the
                list holds `Ok` and `Err`.
            total: How many items there are, where their source doesn't tell.
            trace: ``"child"``: the jobs' spans are children of the run's;
                ``"linked"``: each job has its own trace, linked to the run;
                ``"auto"``: children up to 1,000 known items.
            key: Names an item, for outcomes and spans.
            priority: The higher, the earlier a job gets a slot.
            checkpoint: Keeps each outcome, so that the run goes on after a kill.
            progress: Show on standard error how far it is: see `Progress`.

        Raises:
            CheckpointError: The checkpoint is of another run, or can't be used.
            ConfigurationError: The runner was never opened, or an argument is wrong.
            ShuttingDown: The runner is closed.
        """
        run = run_of(MapRun, checkpoint, self._engine)(
            self._open(),
            function,
            items,
            errors=errors,
            total=total,
            trace=trace,
            key=key,
            priority=priority,
            progress=progress,
        )
        self._runs.add(run)
        try:
            return await run.results()
        finally:
            self._runs.discard(run)

    def stream(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        ordered: bool = True,
        total: int | None = None,
        trace: Trace = "auto",
        key: Callable[[T], Any] | None = None,
        priority: Callable[[T], float] | None = None,
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> Stream[R]:
        """Run ``function`` on each item, and give the outcomes one by one.

        To be used as ``async with runner.stream(…) as outcomes`` and then
        ``async for outcome in outcomes``. The items may be infinite: no more
        are pulled than there is room for, and outcomes that nobody takes stop
        the pulling. Leaving early cancels and awaits the jobs that run.

        Args:
            function: Called with one item; returns an awaitable.
            items: Pulled only when there is room.
            ordered: In the order of the items, or as the jobs end.
            total: How many items there are, where their source doesn't tell.
            trace: As for `map`.
            key: Names an item, for outcomes and spans.
            priority: The higher, the earlier a job gets a slot.
            checkpoint: As for `map`.
            progress: As for `map`.
        """
        return self._stream(
            run_of(StreamRun, checkpoint, self._engine)(
                self._open(),
                function,
                items,
                ordered=ordered,
                total=total,
                trace=trace,
                key=key,
                priority=priority,
                progress=progress,
            )
        )

    def stream_batches(
        self,
        function: Callable[[list[T]], Awaitable[Sequence[R]]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        size: int,
        max_wait: float | None = None,
        split_on: SplitOn = None,
        ordered: bool = True,
        total: int | None = None,
        trace: Trace = "auto",
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> Stream[R]:
        """Run ``function`` on lists of items, and give each item's outcome.

        A batch that fails by an error which may lie in its items is split until
        the poisoned ones stand alone, so they cost only themselves; when nothing of
        it succeeds, after ``2 · log2(size) + 2`` calls at most. A service that can't
        be reached, is overloaded, refuses us or answers nonsense blames no item.

        Args:
            function: Called with a list; returns a list of as many values, in order.
            items: Pulled only when there is room.
            size: Items in a full batch.
            max_wait: Seconds that a batch waits for more items of an async source.
            split_on: Errors that may lie in single items, instead of the usual ones:
                exception types, or a predicate; ``False``: none does.
            ordered: In the order of the items, or as the jobs end.
            total: How many batches there are, where that is known.
            trace: As for `map`.
            checkpoint: As for `map`.
            progress: As for `map`; what is counted are the items.
        """
        return self._stream(
            run_of(BatchRun, checkpoint, self._engine)(
                self._open(),
                function,
                items,
                size=size,
                max_wait=max_wait,
                retry=self._policies.retry,
                split_on=split_on,
                ordered=ordered,
                total=total,
                trace=trace,
                progress=progress,
            )
        )

    @overload
    async def map_batches(
        self,
        function: Callable[[list[T]], Awaitable[Sequence[R]]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        size: int,
        max_wait: float | None = None,
        split_on: SplitOn = None,
        errors: Literal["raise"] = "raise",
        trace: Trace = "auto",
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[R]: ...

    @overload
    async def map_batches(
        self,
        function: Callable[[list[T]], Awaitable[Sequence[R]]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        size: int,
        max_wait: float | None = None,
        split_on: SplitOn = None,
        errors: Literal["collect"],
        trace: Trace = "auto",
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[Outcome[R]]: ...

    async def map_batches(
        self,
        function: Callable[[list[Any]], Awaitable[Sequence[Any]]],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        size: int,
        max_wait: float | None = None,
        split_on: SplitOn = None,
        errors: Errors = "raise",
        trace: Trace = "auto",
        checkpoint: Checkpoint | None = None,
        progress: bool = False,
    ) -> list[Any]:
        """Run ``function`` on lists of items, and give one result for each item.

        As `stream_batches`, collected in order; ``errors`` as for `map`.
        """
        outcomes = self.stream_batches(
            function,
            items,
            size=size,
            max_wait=max_wait,
            split_on=split_on,
            ordered=errors == "collect",
            total=batches_in("map_batches", items, size, errors),
            trace=trace,
            checkpoint=checkpoint,
            progress=progress,
        )
        return await collected(outcomes, errors)
