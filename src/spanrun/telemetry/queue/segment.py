"""`Segment`: one file of a log; and `Owner`, whom a log tells what becomes of it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.queue.layout import Key
from spanrun.telemetry.queue.scan import Extent
from spanrun.telemetry.signals import Signal


@dataclass(slots=True)
class Segment:
    """One file: items ``first`` to ``last`` of its log, and how many still wait.

    Attributes:
        trouble: Why it can't be read; empty when it can.
    """

    number: int
    path: Path
    size: int
    first: int
    last: int
    waiting: int
    trouble: str = ""


class StoredSegment(NamedTuple):
    """A segment that another process left: its number, its size, what is in it."""

    number: int
    path: Path
    size: int
    inside: Extent | None


class Owner(Protocol):
    """The spool that a log is part of."""

    def lose(
        self, signal: Signal, items: int, reason: SpanrunTelemetryReason, /
    ) -> None:
        """``items`` were evicted or found damaged."""
        ...

    def find(self, signal: Signal, items: int, /) -> None:
        """There are ``items`` more in a file than its headers told."""
        ...

    def set_aside(self, path: Path, why: str, /) -> None:
        """Take a file away that can't be read or deleted. Never raises."""
        ...

    def held(self, folder: Path, key: Key, /) -> Container[int]:
        """The segments of a log that must not be evicted just now."""
        ...
