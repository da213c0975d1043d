"""The cells in use: compiled ones, or those in plain Python; see `spanrun._core`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from spanrun.accelerator import core
from spanrun.telemetry.metrics import fallback

if TYPE_CHECKING:
    from spanrun.telemetry.metrics.fallback import (
        ExponentialHistogram,
        Group,
        Histogram,
        JobCells,
        Sum,
    )


class Cells(Protocol):
    """A module with the classes of cells."""

    Group: type[Group]
    Sum: type[Sum]
    Histogram: type[Histogram]
    ExponentialHistogram: type[ExponentialHistogram]
    JobCells: type[JobCells]


_found: Any = core or fallback
cells: Final[Cells] = _found
