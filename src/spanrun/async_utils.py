"""The names of ``llama_index.core.async_utils``, run by `Runner`.

A swap is one import. Arguments, results and their order are the same; every
job is one of a `Runner`, with its span and metrics. What is different:

- The first job that fails cancels and awaits the others before its error comes
  out, and coroutines that never ran are closed. A job that cancels itself is
  a `JobCancelled`, not the caller's cancellation.
- ``workers=0`` and its like are errors, not a standstill or an empty list.
- Progress can't change a result, whatever happens to the terminal.
- Inside a running loop the work has a loop and a thread of its own; nothing is
  patched, so uvloop works. Each call has a new loop, as in `asyncio.run`.
"""

# ruff: noqa: FBT001, FBT002 -- the signatures are given

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import (
    Awaitable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from itertools import repeat, zip_longest
from typing import Any, Final, Generic, TypeVar

from tqdm.asyncio import tqdm_asyncio

from spanrun import checks
from spanrun.errors import ConfigurationError
from spanrun.runner.bridge import enter
from spanrun.runner.progress import Progress
from spanrun.runner.runner import Runner
from spanrun.runner.tasks import begun, discard
from spanrun.telemetry.observe import Observer, RunInfo

__all__ = [
    "DEFAULT_NUM_WORKERS",
    "asyncio_run",
    "batch_gather",
    "chunks",
    "get_asyncio_module",
    "run_async_tasks",
    "run_jobs",
]

T = TypeVar("T")

DEFAULT_NUM_WORKERS: Final = 4


def asyncio_run(coro: Coroutine[Any, Any, T]) -> T:
    """Run ``coro`` from ordinary code, also where a loop runs already.

    As `spanrun.run`, but it leaves SIGTERM alone.

    Raises:
        ConfigurationError: ``coro`` is no coroutine, belongs to another loop,
            or has begun already.

    Example:
        >>> asyncio_run(asyncio.sleep(0, 42))
        42
    """
    return enter("asyncio_run", coro)


def run_async_tasks(
    tasks: Iterable[Awaitable[T]],
    show_progress: bool = False,
    progress_bar_desc: str = "Running async tasks",
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
    with _owned(name, "tasks", tasks) as jobs:
        checks.text(name, "progress_bar_desc", progress_bar_desc)
        seen = _progress(name, progress_bar_desc, show_progress)
        return enter(name, _run(name, jobs, workers=max(1, len(jobs)), observers=seen))


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
    with _owned("run_jobs", "jobs", jobs) as all_jobs:
        workers = checks.whole("run_jobs", "workers", workers, 1)
        checks.optional(checks.text)("run_jobs", "desc", desc or None)
        seen = _progress("run_jobs", desc or "run_jobs", show_progress)
        return await _run("run_jobs", all_jobs, workers=workers, observers=seen)


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
    with _owned("batch_gather", "tasks", tasks) as jobs:
        batch_size = checks.whole("batch_gather", "batch_size", batch_size, 1)
        checks.flag("batch_gather", "verbose", verbose)
        each = _each_once("batch_gather", jobs)
        values: list[T] = []
        async with Runner("batch_gather", limit=batch_size) as runner:
            for first in range(0, len(each), batch_size):
                group = each[first : first + batch_size]
                values += await runner.map(_itself, group)
                if verbose:
                    with contextlib.suppress(OSError, ValueError):  # closed or full
                        print(f"Completed {len(values)} out of {len(each)} tasks")  # noqa: T201 -- asked for
        return _in_order(jobs, each, values)


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


async def _run(
    name: str,
    jobs: Sequence[Awaitable[T]],
    *,
    workers: int,
    observers: Sequence[Observer],
) -> list[T]:
    each = _each_once(name, jobs)
    async with Runner(name, limit=workers, observers=observers) as runner:
        values = await runner.map(_itself, each)
    return _in_order(jobs, each, values)


def _itself(job: Awaitable[T]) -> Awaitable[T]:
    return job


class _owned(Generic[T]):  # noqa: N801 -- used like a function: `with _owned(jobs):`
    """The jobs as a list; those that never ran are closed in the end."""

    def __init__(self, name: str, argument: str, jobs: Iterable[Awaitable[T]]) -> None:
        self._jobs: Final[list[Awaitable[T]]] = []
        given = jobs
        if isinstance(jobs, Iterable) and not isinstance(jobs, str | bytes | Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] -- users
            given = self._kept(jobs)
        try:
            checks.each(name, argument, given, "coroutines, as in [work(1), …]")
        except BaseException:  # of what makes them: those before are nobody's
            self.__exit__()
            raise

    def _kept(self, jobs: Iterable[Awaitable[T]]) -> Iterator[Awaitable[T]]:
        for job in jobs:
            self._jobs.append(job)
            yield job

    def __enter__(self) -> list[Awaitable[T]]:
        return self._jobs

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            discard(job)


def _each_once(name: str, jobs: Sequence[Awaitable[T]]) -> list[Awaitable[T]]:
    """The jobs, each once: who stands there twice runs once, as in `gather`."""
    loop = asyncio.get_running_loop()
    for index, job in enumerate(jobs):
        wrong = _wrong(job, loop)
        if wrong:
            raise ConfigurationError(f"{name}: item {index}, {wrong}")
    return list({id(job): job for job in jobs}.values())


def _wrong(job: object, loop: asyncio.AbstractEventLoop) -> str:
    kind = type(job).__name__
    if asyncio.isfuture(job):
        if job.get_loop() is not loop:
            return f"a {kind}, belongs to another loop: await it there"
    elif begun(job):
        called = getattr(job, "__qualname__", kind)
        return (
            f"the coroutine {called}, has begun already: make another, none runs twice"
        )
    elif not inspect.isawaitable(job):
        return f"a {kind}, can't be awaited: call the function, as in [work(1), …]"
    return ""


def _in_order(
    jobs: Sequence[Awaitable[T]], each: Sequence[Awaitable[T]], values: list[T]
) -> list[T]:
    if len(each) == len(jobs):
        return values
    by_job = dict(zip(map(id, each), values, strict=True))
    return [by_job[id(job)] for job in jobs]


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
