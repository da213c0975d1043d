"""`where_is`: where a thread is, as text, and in the user's own code."""

from __future__ import annotations

import sysconfig
import traceback
from types import FrameType
from typing import Final

from spanrun.loop.lag import Place

_FRAMES: Final = 32
_LINE: Final = 200
_LIBRARIES: Final = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def where_is(
    top: FrameType | None, outside: FrameType | None
) -> tuple[str, Place | None]:
    """Where a thread is, from just inside ``outside`` on.

    As a traceback shows it, and the innermost place that is in no library.
    """
    frames: list[tuple[FrameType, int]] = []
    frame = top
    while frame is not None and frame is not outside and len(frames) < _FRAMES:
        frames.append((frame, _line_of(frame)))
        frame = frame.f_back
    summary = traceback.StackSummary.extract(reversed(frames))
    lines = "".join(summary.format()).splitlines()
    own = [each for each in frames if not _is_library(each[0])] or frames
    text = "\n".join(line[:_LINE] for line in lines)
    if not own:
        return text, None
    frame, line = own[0]
    code = frame.f_code
    return text, Place(code.co_qualname, code.co_filename, line)


def _line_of(frame: FrameType) -> int:
    """The line that runs; the function's first where the instruction has none."""
    line: int | None = frame.f_lineno
    return frame.f_code.co_firstlineno if line is None else line


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith((*_LIBRARIES, "<frozen "))
