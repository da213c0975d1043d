"""Which kind of run there is, with a checkpoint and without one."""

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


def run_of(kind: type[T], checkpoint: object) -> Callable[..., T]:
    """What makes a run of ``kind``. Only one with a checkpoint loads SQLite."""
    if checkpoint is None:
        return kind
    instance(kind.method, "checkpoint", checkpoint, Checkpoint, _EXAMPLE)
    from spanrun.runner.checkpoint import runs  # noqa: PLC0415 -- see above

    kinds: dict[type, Any] = {
        MapRun: runs.CheckpointedMap,
        StreamRun: runs.CheckpointedStream,
        BatchRun: runs.CheckpointedBatches,
    }
    return partial(kinds[kind], checkpoint=checkpoint)
