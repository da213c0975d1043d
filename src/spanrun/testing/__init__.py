"""For tests and demonstrations: virtual time, captured telemetry, leak checks.

As a pytest plugin it gives the fixtures ``fake_clock``, ``spanrun_capture`` and
``no_leaks``. Each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spanrun.testing.captured import Captured, capture
    from spanrun.testing.chat_server import ChatServer
    from spanrun.testing.clock import Deadlock, FakeClock
    from spanrun.testing.embedding_server import EmbeddingServer
    from spanrun.testing.leaks import Leaked, no_leaks
    from spanrun.testing.records import CapturedEvent, CapturedSpan, Point

__all__ = [
    "Captured",
    "CapturedEvent",
    "CapturedSpan",
    "ChatServer",
    "Deadlock",
    "EmbeddingServer",
    "FakeClock",
    "Leaked",
    "Point",
    "capture",
    "no_leaks",
]

# No module has the name of a thing that it holds: importing it would hide that.
_HOMES: Final = {
    "Captured": "captured",
    "CapturedEvent": "records",
    "CapturedSpan": "records",
    "ChatServer": "chat_server",
    "Deadlock": "clock",
    "EmbeddingServer": "embedding_server",
    "FakeClock": "clock",
    "Leaked": "leaks",
    "Point": "records",
    "capture": "captured",
    "no_leaks": "leaks",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
