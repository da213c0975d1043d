"""`BatchUnit`: the unit of a group of items, above the jobs that are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.units.recorder import JOB, Recorder
from spanrun.telemetry.units.unit import Linked, Unit


class BatchUnit(Unit):
    """A batch's span and metrics."""

    __slots__ = ("_items", "_metrics")

    def __init__(
        self,
        recorder: Recorder,
        metrics: RunnerMetrics,
        name: str,
        attributes: Mapping[str, Any],
        *,
        items: int,
        linked: Linked | None,
    ) -> None:
        self._metrics = metrics
        self._items = items
        super().__init__(recorder, name, attributes=attributes, linked=linked, role=JOB)

    def end(self, error: BaseException | None, *, failed: bool) -> None:
        """End it, by ``error`` if there is one, and record its metrics."""
        ended = self.recorder.now()
        # First, while its trace can still be kept as an exemplar.
        self._metrics.batch(self._items, ended - self.started, self.told)
        self.finish(error, failed=failed, ended=ended)
