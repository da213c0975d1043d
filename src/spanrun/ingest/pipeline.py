"""`Pipeline`: documents through stages, all stages at work at the same time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final, cast

from spanrun import semconv
from spanrun.ingest.documents import Document
from spanrun.ingest.stages import (
    Embed,
    Failure,
    Setting,
    Stage,
    Store,
    Transform,
    TransformStage,
)
from spanrun.runner.bridge import run
from spanrun.runner.run import MAX_CHILDREN
from spanrun.telemetry import setup
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.unit import Unit

DEFAULT_WORKERS: Final = 4


@dataclass(slots=True)
class Report:
    """What a pipeline did.

    Attributes:
        stored: Documents that went through.
        unchanged: Documents that had been through before, as they are.
        chunks: Chunks of the stored documents.
        failures: Documents that did not get through, and why.
        seconds: How long it took.
        trace_id: The trace of the run; 0 without telemetry.
    """

    stored: int = 0
    unchanged: int = 0
    chunks: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    seconds: float = 0.0
    trace_id: int = 0


class Pipeline:
    """Takes documents through ``stages``.

    Each stage has a runner and its own workers, and pulls from the stage
    before it only as fast as it works, so a slow stage holds the others back
    instead of filling the memory. A document that fails costs that document.
    One that the store has with the same text is not touched.

    Args:
        stages: In order: transforms such as ``Split()`` or
            ``parallel(Title(), Summary())``, then ``Embed(…)`` and ``Store(…)``.
        name: Of the runs: ``run {name}`` is the root of their trace.
    """

    def __init__(
        self, stages: Sequence[Transform | Embed | Store], *, name: str = "ingest"
    ) -> None:
        self._stages: Final = tuple(stages)
        self._name: Final = name

    def run(self, documents: Iterable[Document], **options: Any) -> Report:
        """`arun`, from code that isn't async."""
        return run(self.arun(documents, **options))

    async def arun(
        self,
        documents: Iterable[Document],
        *,
        num_workers: int = DEFAULT_WORKERS,
        observers: Sequence[Observer] = (),
    ) -> Report:
        """Take ``documents`` through the stages.

        Args:
            documents: Pulled as the first stage gets to them.
            num_workers: Documents at once in each transform.
            observers: Told of every run and job of the stages.
        """
        report = Report()
        began = time.perf_counter()
        known = list(documents)
        stages = [_stage(stage, num_workers) for stage in self._stages]
        recorder = setup.recorder_or_off()
        unit = Unit(
            recorder,
            f"run {self._name}",
            attributes={
                semconv.SPANRUN_RUNNER_NAME: self._name,
                semconv.SPANRUN_RUN_TOTAL: len(known),
                semconv.SPANRUN_RUN_TRACE: "child",
            },
        )
        report.trace_id = unit.trace_id
        unit.enter()
        error: BaseException | None = None
        try:
            await self._flow(known, stages, report, observers)
        except BaseException as raised:
            error = raised
            raise
        finally:
            unit.leave()
            unit.finish(error, failed=isinstance(error, Exception))
        report.seconds = time.perf_counter() - began
        return report

    async def _flow(
        self,
        documents: Sequence[Document],
        stages: Sequence[Stage],
        report: Report,
        observers: Sequence[Observer],
    ) -> None:
        setting = Setting(observers, failed=report.failures.append)
        async with AsyncExitStack() as stack:
            for stage in stages:
                await stage.open(setting, stack)
            new = [
                document
                for document in documents
                if not any(stage.has(document) for stage in stages)
            ]
            report.unchanged = len(documents) - len(new)
            setting.total = len(new)
            setting.trace = "child" if len(new) <= MAX_CHILDREN else "linked"
            flow = _each(new)
            for stage in stages:
                flow = stage.process(flow)
            async with aclosing(cast("Any", flow)) as stored:
                async for document in stored:
                    report.stored += 1
                    report.chunks += len(document.chunks)


async def _each(documents: Sequence[Document]) -> AsyncIterator[Document]:
    for document in documents:
        yield document


def _stage(stage: Transform | Embed | Store, workers: int) -> Stage:
    if isinstance(stage, Embed | Store):
        return stage
    return TransformStage(stage, workers)
