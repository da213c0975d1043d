"""`MapRun`: every outcome into one list, in the order of the items."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

from spanrun.checks import one_of
from spanrun.errors import ShuttingDown
from spanrun.outcome import Ok, Outcome
from spanrun.runner.core import Core
from spanrun.runner.feed import FedRun
from spanrun.runner.job import Job
from spanrun.runner.run import Call, Source
from spanrun.runner.siblings import attach
from spanrun.runner.title import show_title

Errors: TypeAlias = Literal["raise", "collect"]
ERRORS: Final[tuple[Errors, ...]] = get_args(Errors)


class MapRun(FedRun):
    """Collects values, or with ``errors="collect"`` outcomes, in input order."""

    awaited = True
    method = "map"

    def __init__(
        self, core: Core, call: Call, source: Source, *, errors: Errors, **options: Any
    ) -> None:
        super().__init__(core, call, source, **options)
        one_of(self.method, "errors", errors, ERRORS)
        self._raises: Final = errors == "raise"
        self.shows_times = not self._raises
        self._results: Final[list[Any]] = []
        self._error: BaseException | None = None

    def open(self, *, span: bool = True) -> None:
        """Begin: open the run's unit, with its title, and tell the observers."""
        super().open(span=span)
        show_title(self.unit, self._inside)

    def take(self, job: Job, value: Any) -> None:
        """Put the value, or its outcome, in its place."""
        result = value if self._raises else self._ok(job, value)
        if job.index == len(self._results):
            self._results.append(result)
        else:
            self._put(job.index, result)

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:  # noqa: ARG002
        """Put the outcome in its place; the first error ends a raising map."""
        if not self._raises:
            self._put(outcome.index, outcome)
        elif isinstance(outcome, Ok):
            self._put(outcome.index, outcome.value)
        elif self.closing and outcome.outcome == "cancelled":
            self._lost = True
        elif self._error is None:
            self._error = outcome.error
            self.stop("run")

    def _put(self, index: int, result: Any) -> None:
        results = self._results
        missing = index - len(results)
        if missing < 0:
            results[index] = result
        else:
            if missing:
                results.extend([None] * missing)
            results.append(result)

    def ended(self) -> None:
        """The source has no more items, or has failed: then nothing else counts.

        But one that was drained has not failed: what it gave before has its grace.
        """
        drained = self.core.draining and isinstance(self.source_error, ShuttingDown)
        if self.source_error is not None and not drained:
            self.stop("run")

    async def results(self) -> list[Any]:
        """Run to the end.

        Raises:
            Exception: The first error of a job, bare, once its siblings have
                been cancelled and awaited; or what the source raised.
        """
        error: BaseException | None = None
        try:
            await self._all()
            error = (
                self.fatal
                or self._error
                or self.source_error
                or self.close_error
                or self.cut_short()
            )
            if error is not None:
                raise error  # noqa: TRY301 -- closed with it, below
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.close(error)
            attach(error, self.unseen(self._error), self.core.name)
        return self._results

    async def _all(self) -> None:
        try:
            self.begin()
        except BaseException:
            self.stop("run")
            await self.idle()
            raise
        await self.idle()
