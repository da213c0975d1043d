"""Which kind of run there is: with or without a checkpoint, and an engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from spanrun.checks import instance
from spanrun.runner.batches import BatchRun
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.map import MapRun
from spanrun.runner.stream import StreamRun

T = TypeVar("T", MapRun, StreamRun, BatchRun)

_EXAMPLE = "Checkpoint('run.checkpoint')"


def run_of(kind: type[T], checkpoint: object, engine: object) -> Callable[..., T]:
    """What makes a run of ``kind``. Only one with a checkpoint loads SQLite."""
    if checkpoint is None:
        return kind if engine is None else _remote(kind)
    instance(kind.method, "checkpoint", checkpoint, Checkpoint, _EXAMPLE)
    from spanrun.runner.checkpoint import runs  # noqa: PLC0415 -- see above

    kinds: dict[type, Any] = {
        MapRun: runs.CheckpointedMap,
        StreamRun: runs.CheckpointedStream,
        BatchRun: runs.CheckpointedBatches,
    }
    found = kinds[kind]
    if engine is not None:
        found = _remote(found)
    return partial(found, checkpoint=checkpoint)


def _remote(kind: type[T]) -> type[T]:
    from spanrun.runner.engine_run import remote  # noqa: PLC0415 -- few use engines

    found: type[T] = remote(kind)
    return found
