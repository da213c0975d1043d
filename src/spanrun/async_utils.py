"""The names of ``llama_index.core.async_utils``, run by `Runner`.

A swap is one import. Arguments, results and their order are the same; every
job is one of a `Runner`, with its span and metrics. What is different:

- The first job that fails cancels and awaits the others before its error comes
  out, and coroutines that never ran are closed. A job that cancels itself is
  a `JobCancelled`, not the caller's cancellation.
- ``workers=0`` and its like are errors, not a standstill or an empty list.
- Progress can't change a result, whatever happens to the terminal.
- Inside a running loop the work has a loop and a thread of its own; nothing is
  patched, so uvloop works.
- The loop that `asyncio_run` keeps is its own, not `asyncio.get_event_loop`'s, and
  tasks that a call left are cancelled at its end, not resumed by the next call.
"""

# ruff: noqa: FBT001, FBT002 -- the signatures are given

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import replace
from itertools import repeat, zip_longest
from typing import Any, Final, Generic, TypeVar

from tqdm.asyncio import tqdm_asyncio

from spanrun import checks
from spanrun.runner.awaitables import each_once, in_order, owned
from spanrun.runner.bridge import enter
from spanrun.runner.kept import kept
from spanrun.runner.progress import Progress
from spanrun.runner.runner import Runner
from spanrun.runner.title import titled
from spanrun.telemetry.observe import Observer, RunInfo

__all__ = [
    "DEFAULT_NUM_WORKERS",
    "asyncio_module",
    "asyncio_run",
    "batch_gather",
    "chunks",
    "get_asyncio_module",
    "run_async_tasks",
    "run_jobs",
]

T = TypeVar("T")

DEFAULT_NUM_WORKERS: Final = 4
_DESC: Final = "Running async tasks"


def asyncio_run(coro: Coroutine[Any, Any, T]) -> T:
    """Run ``coro`` from ordinary code, also where a loop runs already.

    In the main thread, all calls share one event loop: an async client that one of
    them opened can be used in the next one. Tasks that ``coro`` left are cancelled at
    its end. Inside a running loop, and in other threads, each call has a loop of its
    own. SIGTERM is left alone. Context variables go in, and don't come back out.

    To end in order on SIGTERM, use `spanrun.run`, which has a new loop in each call.

    Raises:
        ConfigurationError: ``coro`` is no coroutine, belongs to another loop,
            or has begun already.

    Example:
        >>> asyncio_run(asyncio.sleep(0, 42))
        42
    """
    return enter("asyncio_run", coro, on=kept.lend())


def run_async_tasks(
    tasks: Iterable[Awaitable[T]],
    show_progress: bool = False,
    progress_bar_desc: str = _DESC,
) -> list[T]:
    """Run all ``tasks`` at once from ordinary code, and give their results in order.

    Raises:
        Exception: The first error of a task, as it was.
        ConfigurationError: A task can't be awaited or belongs to another loop.

    Example:
        >>> run_async_tasks([asyncio.sleep(0, "a"), asyncio.sleep(0, "b")])
        ['a', 'b']
    """
    name = "run_async_tasks"
    with owned(name, "tasks", tasks) as jobs:
        checks.text(name, "progress_bar_desc", progress_bar_desc)
        work = _run(
            name,
            jobs,
            workers=max(1, len(jobs)),
            title=None if progress_bar_desc == _DESC else progress_bar_desc,
            observers=_progress(name, progress_bar_desc, show_progress),
        )
        return enter(name, work, on=kept.lend())


async def run_jobs(
    jobs: Iterable[Awaitable[T]],
    show_progress: bool = False,
    workers: int = DEFAULT_NUM_WORKERS,
    desc: str | None = None,
) -> list[T]:
    """Run ``jobs``, at most ``workers`` at once, and give their results in order.

    Raises:
        Exception: The first error of a job, as it was.
        ConfigurationError: ``workers`` is below 1, or a job can't be awaited.

    Example:
        >>> asyncio_run(run_jobs([asyncio.sleep(0, "a")], workers=2))
        ['a']
    """
    with owned("run_jobs", "jobs", jobs) as all_jobs:
        workers = checks.whole("run_jobs", "workers", workers, 1)
        checks.optional(checks.text)("run_jobs", "desc", desc or None)
        return await _run(
            "run_jobs",
            all_jobs,
            workers=workers,
            title=desc,
            observers=_progress("run_jobs", desc or "run_jobs", show_progress),
        )


async def batch_gather(
    tasks: Iterable[Awaitable[T]], batch_size: int = 10, verbose: bool = False
) -> list[T]:
    """Run ``tasks`` in groups, one group after the other; the results are in order.

    Raises:
        Exception: The first error of a task, as it was.
        ConfigurationError: ``batch_size`` is below 1, or a task can't be awaited.

    Example:
        >>> asyncio_run(batch_gather([asyncio.sleep(0, "a")], batch_size=2))
        ['a']
    """
    with owned("batch_gather", "tasks", tasks) as jobs:
        batch_size = checks.whole("batch_gather", "batch_size", batch_size, 1)
        checks.flag("batch_gather", "verbose", verbose)
        each = each_once("batch_gather", jobs)

        def say(done: int) -> None:
            if verbose:
                with contextlib.suppress(OSError, ValueError):  # closed or full
                    print(f"Completed {done} out of {len(each)} tasks")  # noqa: T201 -- asked for

        groups = _Groups(each, batch_size, say)
        async with Runner("batch_gather", limit=batch_size) as runner:
            values = await runner.map(groups.run, groups, total=len(each))
        if each:
            say(len(each))
        return in_order(jobs, each, values)


def chunks(iterable: Iterable[T], size: int) -> Iterator[tuple[T | None, ...]]:
    """Group ``iterable`` into tuples of ``size``; the last is filled with None.

    Raises:
        ConfigurationError: ``size`` is below 1.

    Example:
        >>> list(chunks([1, 2, 3], 2))
        [(1, 2), (3, None)]
    """
    size = checks.whole("chunks", "size", size, 1)
    if not isinstance(iterable, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise checks.wrong("chunks", "iterable", iterable, "must be an iterable")
    return zip_longest(*repeat(iter(iterable), size))


def get_asyncio_module(show_progress: bool = False) -> Any:
    """What has ``gather``: tqdm's asyncio class with progress, else `asyncio`.

    Example:
        >>> get_asyncio_module().__name__
        'asyncio'
    """
    checks.flag("get_asyncio_module", "show_progress", show_progress)
    return tqdm_asyncio if show_progress else asyncio


def asyncio_module(show_progress: bool = False) -> Any:
    """`get_asyncio_module`, by the older name that LlamaIndex's evaluation uses.

    Example:
        >>> asyncio_module().__name__
        'asyncio'
    """
    return get_asyncio_module(show_progress)


async def _run(
    name: str,
    jobs: Sequence[Awaitable[T]],
    *,
    workers: int,
    title: str | None,
    observers: Sequence[Observer],
) -> list[T]:
    each = each_once(name, jobs)
    async with Runner(name, limit=workers, observers=observers) as runner:
        with titled(title):
            values = await runner.map(_itself, each)
    return in_order(jobs, each, values)


def _itself(job: Awaitable[T]) -> Awaitable[T]:
    return job


class _Groups(Generic[T]):
    """A source of jobs that gives a group once the one before has ended."""

    def __init__(
        self, jobs: Sequence[Awaitable[T]], size: int, said: Callable[[int], object]
    ) -> None:
        self._jobs: Final = jobs
        self._size: Final = size
        self._said: Final = said
        self._ended = 0
        self._change: Final = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Awaitable[T]]:
        for given, job in enumerate(self._jobs):
            if given and not given % self._size:
                while self._ended < given:
                    self._change.clear()
                    await self._change.wait()
                self._said(given)
            yield job

    async def run(self, job: Awaitable[T]) -> T:
        """Run one of them."""
        try:
            return await job
        finally:
            self._ended += 1
            self._change.set()


def _progress(name: str, title: str, show: bool) -> Sequence[Observer]:
    checks.flag(name, "show_progress", show)
    # Without a console, as under pythonw, there is no standard error at all.
    return (_Titled(title),) if show and sys.stderr is not None else ()


class _Titled(Progress):
    """Progress under the user's own words; a runner's name labels metrics."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        super().run_opened(replace(run, runner=self._title))
