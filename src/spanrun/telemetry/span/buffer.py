"""`Buffer`: encoded spans on their way to a sink, in batches."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # it has a buffer
    from spanrun.telemetry.span.scope import Scope

ERROR: Final = 1
RETRIED: Final = 2
SLOW: Final = 4
EXEMPLAR: Final = 8
ROOT: Final = 16

_header: Final = struct.Struct("<16sQIB3x").pack


class Batch:
    """Ended spans of one scope, taken out of a `Buffer`. See ``_core.pyi``."""

    def __init__(
        self, scope: Scope, spans: list[tuple[bytes, bytes]], *, failed: bool
    ) -> None:
        self.scope: Final = scope
        self.data: Final = b"".join(data for data, _ in spans)
        self.headers: Final = b"".join(header for _, header in spans)
        self.spans: Final = len(spans)
        self.failed: Final = failed


class Buffer:
    """Collects encoded spans until they are taken. See ``_core.pyi``.

    There is no lock: appending to a deque, and taking from it, are atomic.
    """

    def __init__(
        self,
        begun: Callable[[Buffer], object],
        full: Callable[[Buffer], object],
        most: int,
    ) -> None:
        self._begun: Final = begun
        self._full: Final = full
        self._most: Final = most
        self._spans: Final[deque[tuple[Scope, bool, bytes, bytes]]] = deque()
        self._bytes = 0
        # There when nobody has been told since the last `take` that spans wait.
        self._untold: Final[dict[str, bool]] = {"untold": True}

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return len(self._spans)

    def put(
        self, scope: Scope, data: bytes, trace: bytes, duration: int, flags: int
    ) -> None:
        """Add one span, as a field ``spans`` of OTLP's ``ScopeSpans``."""
        header = _header(trace, duration, len(data), flags)
        self._spans.append((scope, bool(flags & ERROR), data, header))
        self._bytes += len(data)
        if self._untold and self._untold.pop("untold", False):
            self._begun(self)
        if self._bytes > self._most:
            self._full(self)

    def take(self) -> list[Batch]:
        """Take what waits: the failed spans, and the others."""
        # First, so that who adds a span from now on says so, even if it is taken here.
        self._untold["untold"] = True
        self._bytes = 0
        taken: dict[tuple[bool, Scope], list[tuple[bytes, bytes]]] = {}
        for _ in range(len(self._spans)):
            try:
                scope, failed, data, header = self._spans.popleft()
            except IndexError:  # another thread takes them, too
                break
            taken.setdefault((not failed, scope), []).append((data, header))
        return [
            Batch(scope, spans, failed=not fine)
            for (fine, scope), spans in sorted(taken.items(), key=_failed_first)
        ]

    def after_fork(self) -> None:
        """In a child process: what waits is its parent's."""
        self.take()


def _failed_first(
    group: tuple[tuple[bool, Scope], list[tuple[bytes, bytes]]],
) -> bool:
    return group[0][0]
