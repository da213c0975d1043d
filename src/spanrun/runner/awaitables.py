"""Coroutines that were handed over to be run: checked, each once, closed in the end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from spanrun import checks
from spanrun.errors import ConfigurationError
from spanrun.runner.tasks import begun, discard

T = TypeVar("T")


class owned(Generic[T]):  # noqa: N801 -- used like a function: `with owned(jobs):`
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


def each_once(name: str, jobs: Sequence[Awaitable[T]]) -> list[Awaitable[T]]:
    """The jobs, each once: who stands there twice runs once, as in `gather`.

    Raises:
        ConfigurationError: One of them can't be awaited on this loop.
    """
    loop = asyncio.get_running_loop()
    for index, job in enumerate(jobs):
        wrong = _wrong(job, loop)
        if wrong:
            raise ConfigurationError(f"{name}: item {index}, {wrong}")
    return list({id(job): job for job in jobs}.values())


def in_order(
    jobs: Sequence[Awaitable[T]], each: Sequence[Awaitable[T]], values: list[T]
) -> list[T]:
    """A value for each of ``jobs``, where ``each`` of them ran once."""
    if len(each) == len(jobs):
        return values
    by_job = dict(zip(map(id, each), values, strict=True))
    return [by_job[id(job)] for job in jobs]


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
