"""`Buffer`: encoded spans on their way to a sink, in batches."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from spanrun.telemetry.span.wire import IS_SMALL, SMALL, varint

if TYPE_CHECKING:  # they have a buffer
    from spanrun.telemetry.span.record import Record
    from spanrun.telemetry.span.scope import Scope

ERROR: Final = 1
RETRIED: Final = 2
SLOW: Final = 4
EXEMPLAR: Final = 8
ROOT: Final = 16

_header: Final = struct.Struct("<16sQIB3x")
_HEADER: Final = _header.size
_SPANS: Final = b"\x12"

_Waiting: TypeAlias = "dict[Scope, deque[bytes]]"


class Batch:
    """Ended spans of one scope, taken out of a `Buffer`. See ``_core.pyi``.

    Args:
        scope: Of all of them.
        spans: Each as its header, and a field ``spans`` of ``ScopeSpans``.
        failed: They are such as failed.
    """

    def __init__(self, scope: Scope, spans: list[bytes], *, failed: bool) -> None:
        self.scope: Final = scope
        self.data: Final = b"".join([span[_HEADER:] for span in spans])
        self.headers: Final = b"".join([span[:_HEADER] for span in spans])
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
        # By whether they failed, and their scopes. Each is bytes, which are nothing to
        # the garbage collector.
        self._spans: Final[tuple[_Waiting, _Waiting]] = {}, {}
        self._sizes: Final = [0, 0]
        # There when nobody has been told since the last `take` that spans wait.
        self._untold: Final[dict[str, bool]] = {"untold": True}

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return sum(len(each) for kind in self._spans for each in tuple(kind.values()))

    def put(self, span: Record, content: bytes) -> None:
        """Add one span, with the content of its message ``Span``."""
        failed, scope = span.flags & ERROR, span.scope
        waiting = self._spans[failed].get(scope)
        if waiting is None:
            waiting = self._spans[failed].setdefault(scope, deque())
        size = len(content)
        begin = _SPANS + (SMALL[size] if size < IS_SMALL else varint(size))
        about = span.trace_bytes, span.duration, len(begin) + size, span.flags
        waiting.append(_header.pack(*about) + begin + content)
        self._sizes[failed] += size
        if self._untold and self._untold.pop("untold", False):
            self._begun(self)
        if self._sizes[failed] > self._most:
            self._full(self)

    def take(self, *, for_room: bool = False) -> list[Batch]:
        """Take what waits: the failed spans, and the others.

        Where that is ``for_room``, only those of the two that are too many.
        """
        kinds = [ERROR, 0]
        if for_room:
            kinds = [kind for kind in kinds if self._sizes[kind] > self._most]
        else:
            # First, so that who adds a span from now on says so, even if it is taken.
            self._untold["untold"] = True
        batches: list[Batch] = []
        for kind in kinds:
            self._sizes[kind] = 0
            for scope, waiting in tuple(self._spans[kind].items()):
                ended: list[bytes] = []
                with suppress(IndexError):  # another thread takes them, too
                    for _ in range(len(waiting)):
                        ended.append(waiting.popleft())  # noqa: PERF401 -- what came
                if ended:
                    batches.append(Batch(scope, ended, failed=bool(kind)))
        return batches

    def after_fork(self) -> None:
        """In a child process: what waits is its parent's."""
        self.take()
