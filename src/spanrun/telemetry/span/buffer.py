"""`Buffer`: encoded spans on their way to a sink, in batches."""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from spanrun.telemetry.span.wire import IS_SMALL, SMALL, varint

if TYPE_CHECKING:  # it has a buffer
    from spanrun.telemetry.span.scope import Scope

ERROR: Final = 1
RETRIED: Final = 2
SLOW: Final = 4
EXEMPLAR: Final = 8
ROOT: Final = 16

_header: Final = struct.Struct("<16sQIB3x").pack


_Ended: TypeAlias = tuple["Scope", bytes, bytes, int, int]
"""A span's scope, its content, its trace, its duration and its flags."""


class Batch:
    """Ended spans of one scope, taken out of a `Buffer`. See ``_core.pyi``."""

    def __init__(self, scope: Scope, spans: list[_Ended], *, failed: bool) -> None:
        data: list[bytes] = []
        headers: list[bytes] = []
        for _, span, trace, duration, flags in spans:
            size = len(span)
            begin = b"\x12" + (SMALL[size] if size < IS_SMALL else varint(size))
            data += (begin, span)
            headers.append(_header(trace, duration, len(begin) + size, flags))
        self.scope: Final = scope
        self.data: Final = b"".join(data)
        self.headers: Final = b"".join(headers)
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
        self._spans: Final[deque[_Ended]] = deque()
        self._bytes = 0
        # There when nobody has been told since the last `take` that spans wait.
        self._untold: Final[dict[str, bool]] = {"untold": True}

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return len(self._spans)

    def put(
        self, scope: Scope, span: bytes, trace: bytes, duration: int, flags: int
    ) -> None:
        """Add one span, as the content of a message ``Span``."""
        self._spans.append((scope, span, trace, duration, flags))
        self._bytes += len(span)
        if self._untold and self._untold.pop("untold", False):
            self._begun(self)
        if self._bytes > self._most:
            self._full(self)

    def take(self) -> list[Batch]:
        """Take what waits: the failed spans, and the others."""
        # First, so that who adds a span from now on says so, even if it is taken here.
        self._untold["untold"] = True
        self._bytes = 0
        taken: defaultdict[tuple[bool, Scope], list[_Ended]] = defaultdict(list)
        for _ in range(len(self._spans)):
            try:
                ended = self._spans.popleft()
            except IndexError:  # another thread takes them, too
                break
            taken[not ended[-1] & ERROR, ended[0]].append(ended)
        return [
            Batch(scope, spans, failed=not fine)
            for (fine, scope), spans in sorted(taken.items(), key=_failed_first)
        ]

    def after_fork(self) -> None:
        """In a child process: what waits is its parent's."""
        self.take()


def _failed_first(group: tuple[tuple[bool, Scope], list[_Ended]]) -> bool:
    return group[0][0]
