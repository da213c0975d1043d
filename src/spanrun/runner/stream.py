"""`Stream`: outcomes one by one, as the consumer asks for them."""

from __future__ import annotations

import asyncio
from collections import deque
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from spanrun.checks import flag
from spanrun.errors import ConfigurationError
from spanrun.outcome import Err, Outcome
from spanrun.runner.core import Core
from spanrun.runner.feed import FedRun
from spanrun.runner.job import Job
from spanrun.runner.map import Errors
from spanrun.runner.run import Call, Source
from spanrun.runner.siblings import Sibling, attach

T = TypeVar("T")


class StreamRun(FedRun):
    """Keeps the outcomes until the consumer takes them."""

    method = "stream"

    def __init__(
        self, core: Core, call: Call, source: Source, *, ordered: bool, **options: Any
    ) -> None:
        super().__init__(core, call, source, **options)
        self._ordered: Final = flag(self.method, "ordered", ordered)
        self._due = 0
        self._early: dict[int, Outcome[Any]] = {}
        self.ready: deque[Outcome[Any]] = deque()
        self._readers: Final[list[asyncio.Future[None]]] = []

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:  # noqa: ARG002
        """Queue the outcome."""
        self._emit(outcome)

    def _emit(self, outcome: Outcome[Any]) -> None:
        """Queue it now or, in order, when those before it are here."""
        self.unread += 1
        if not self._ordered:
            self.ready.append(outcome)
        else:
            self._early[outcome.index] = outcome
            while self._due in self._early:
                self.ready.append(self._early.pop(self._due))
                self._due += 1
        self.tell()

    def ended(self) -> None:
        """The source has no more items."""
        self.tell()

    def tell(self) -> None:
        """Wake who reads; there may be several, and each looks for itself."""
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def hide_unread(self) -> None:
        """Nobody will read the errors that are ready."""
        unread = [*self.ready, *self._early.values()]
        errors = [each for each in unread if isinstance(each, Err)]
        self.hidden.extend(Sibling(f"item {each.index}", each.error) for each in errors)

    async def news(self) -> None:
        """Wait until there may be something to read."""
        reader = self.loop.create_future()
        self._readers.append(reader)
        try:
            await reader
        finally:
            self._readers.remove(reader)


class Stream(Generic[T]):
    """Outcomes of a `Runner.stream`: an async context manager and iterator.

    Leaving the ``async with`` early cancels and awaits what still runs.

    Raises:
        Exception: In ``async for``, what the source raised, after the outcomes
            of the items that came before it.
    """

    def __init__(self, run: StreamRun, leave: Any) -> None:
        self._run: Final = run
        self._leave: Final = leave
        self._open = False
        self._closed = False

    async def __aenter__(self) -> Stream[T]:
        if self._open or self._closed:
            raise ConfigurationError("a stream can be entered once: make another one")
        self._open = True
        try:
            await self._run.prepare()
        except BaseException:
            self._leave(self._run)
            await self._run.finish()
            raise
        self._run.begin()
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> None:
        self._open, self._closed = False, True
        run = self._run
        try:
            run.stop("run")
            try:
                await run.idle()
            finally:
                await run.finish()
        finally:
            late = run.fatal or run.close_error
            run.close(error or run.source_error or late)
            self._leave(run)
            fatal = None if error is run.fatal else run.fatal
            attach(fatal or error or late, run.unseen(), run.core.name)
        if run.fatal is not None and error is not run.fatal:
            raise run.fatal  # the program's end, also where an outcome was raised
        if error is None and late is not None:
            raise late

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> Outcome[T]:
        run = self._run
        if not self._open:
            raise ConfigurationError(
                "the stream isn't open: write `async with runner.stream(…) as outcomes`"
            )
        if run.fatal is not None:
            raise run.fatal
        while not run.ready:
            if run.fatal is not None:
                raise run.fatal
            if run.over:
                if run.source_error is not None:
                    error, run.source_error = run.source_error, None
                    raise error
                raise run.cut_short() or StopAsyncIteration
            await run.news()
        run.unread -= 1
        outcome = run.ready.popleft()
        run.refill()
        return outcome


async def collected(outcomes: Stream[Any], errors: Errors) -> list[Any]:
    """All outcomes in the items' order or, with ``errors="raise"``, their values.

    Raises:
        Exception: Then, the first error.
    """
    results: list[Any] = []
    async with outcomes:
        async for outcome in outcomes:
            if errors == "raise" and isinstance(outcome, Err):
                outcomes._run.hide_unread()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- the same
                raise outcome.error
            results.append(outcome)
    if errors == "collect":
        return results
    results.sort(key=attrgetter("index"))
    return [outcome.value for outcome in results]
