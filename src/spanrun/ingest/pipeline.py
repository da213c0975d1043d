"""`Pipeline`: documents through stages, all stages at work at the same time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from os import PathLike
from typing import Any, Final, TypeAlias, cast

from spanrun import checks, semconv
from spanrun.errors import ConfigurationError
from spanrun.ingest._flow import (
    Flow,
    Setting,
    Transform,
    check_transform,
    recipe,
    transformed,
)
from spanrun.ingest._in_flight import InFlight
from spanrun.ingest._new import Documents, Report, new_documents
from spanrun.ingest.stages import Embed, Store
from spanrun.runner.bridge import run
from spanrun.runner.checks import observers_of
from spanrun.runner.progress import Progress
from spanrun.telemetry import setup
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.units.run import RunUnit
from spanrun.telemetry.units.unit import Unit

__all__ = ["Documents", "Pipeline", "Report", "Workers"]

Workers: TypeAlias = int | Mapping[str, int]

DEFAULT_WORKERS: Final = 4


class Pipeline:
    """Takes documents through ``stages``.

    Each stage has a runner and its own workers, and pulls from the stage
    before it only as fast as it works, so a slow stage holds the others back
    instead of filling the memory. Nor do large documents fill it: while those that are
    on their way have 8 MiB of text, no further one is pulled. A document that fails
    costs that document.

    A document is not touched when every store has it already, made of the same text
    by the same stages: where a stage's arguments have changed (its ``recipe``), it is
    done anew, in place of the old one. A text that is in the run twice under one id
    is done once; two texts under one id are the second one's failure.

    Nothing of a run is kept in it: it may run several times, also at once.

    Args:
        stages: In order: transforms such as ``Split()`` or
            ``parallel(Title(), Summary())``, then ``Embed(…)`` and ``Store(…)``.
        name: Of the runs: ``run {name}`` is the root of their trace.
    """

    def __init__(
        self, stages: Sequence[Transform | Embed | Store], *, name: str = "ingest"
    ) -> None:
        given = checks.each("Pipeline", "stages", stages, "stages, such as [Split()]")
        for place, stage in enumerate(given):
            if not isinstance(stage, Embed | Store):
                check_transform("Pipeline", f"stages[{place}]", stage)
        self._stages: Final[tuple[Transform | Embed | Store, ...]] = given
        self._name: Final = checks.text("Pipeline", "name", name)

    def run(
        self,
        documents: Documents,
        *,
        num_workers: Workers = DEFAULT_WORKERS,
        show_progress: bool = False,
        observers: Sequence[Observer] = (),
    ) -> Report:
        """`arun`, from code that isn't async."""
        return run(
            self.arun(
                documents,
                num_workers=num_workers,
                show_progress=show_progress,
                observers=observers,
            )
        )

    async def arun(
        self,
        documents: Documents,
        *,
        num_workers: Workers = DEFAULT_WORKERS,
        show_progress: bool = False,
        observers: Sequence[Observer] = (),
    ) -> Report:
        """Take ``documents`` through the stages.

        Cancelled, it has waited for its jobs; what is stored then is whole.

        Args:
            documents: A collection is looked through at once, so that it is known
                how much there is to do; so are `Files`, of which only those that are
                worked on are in memory. An iterator or an async iterable is pulled
                from as the first stage gets to it, and may be endless.
            num_workers: Documents at once in each stage; or by the stage's name, 4
                where it isn't named. Embedding is bounded by its embedder.
            show_progress: Whether to show on standard error how far it is.
            observers: Told of every run and job of the stages.

        Raises:
            ConfigurationError: ``num_workers`` is < 1, or names no stage.
            Exception: What keeps a stage from beginning, and what ``documents``
                raises. Anything else is a document's failure, in the report.
        """
        if isinstance(documents, str | PathLike):
            hint = "must be documents, such as those of read_documents(…)"
            raise checks.wrong("arun", "documents", documents, hint)
        checks.source("arun", "documents", documents, "documents")
        checks.flag("arun", "show_progress", show_progress)
        observers = observers_of("arun", observers)
        report = Report()
        began = time.perf_counter()
        setting = Setting(
            [*observers, Progress()] if show_progress else observers,
            InFlight(report.failures),
            self._workers(num_workers),
            recipe(self._stages),
        )
        unit = RunUnit(setup.recorder_or_off(), self._name, secrets.token_hex(8))
        report.trace_id = unit.trace_id
        unit.enter()
        error: BaseException | None = None
        try:
            await self._flow(documents, setting, report, unit)
        except BaseException as raised:
            error = raised
            raise
        finally:
            unit.leave()
            unit.finish(error, failed=isinstance(error, Exception))
        report.seconds = time.perf_counter() - began
        return report

    async def _flow(
        self, documents: Documents, setting: Setting, report: Report, unit: Unit
    ) -> None:
        async with AsyncExitStack() as stack:
            stages = [await self._open(each, setting, stack) for each in self._stages]
            new = await new_documents(documents, setting, report)
            flow = setting.in_flight.admitted(new)
            unit.set(semconv.SPANRUN_RUN_TRACE, setting.trace)
            if setting.total is not None:
                unit.set(semconv.SPANRUN_RUN_TOTAL, setting.total)
            for stage in stages:
                flow = stage(flow)
            async with aclosing(cast("Any", flow)) as done:
                async for document in done:
                    report.stored += 1
                    report.chunks += len(document.chunks)
                    setting.in_flight.left(document.id)
                    del document  # not kept while the next one is waited for

    def _workers(self, given: Workers) -> Callable[[str], int]:
        if not isinstance(given, Mapping):
            number = checks.whole("arun", "num_workers", given, 1)
            return lambda _: number
        names = [stage.name for stage in self._stages if not isinstance(stage, Embed)]
        for name, number in given.items():
            checks.whole("arun", f"num_workers[{name!r}]", number, 1)
            if name not in names:
                raise ConfigurationError(
                    f"arun(num_workers={{{name!r}: …}}): names none of "
                    f"{', '.join(map(repr, names))}"
                )
        return lambda name: given.get(name, DEFAULT_WORKERS)

    async def _open(
        self, stage: Transform | Embed | Store, setting: Setting, stack: AsyncExitStack
    ) -> Flow:
        if isinstance(stage, Embed | Store):
            return await stage.open(setting, stack)
        return await transformed(stage, setting, stack)
