"""For tests and demonstrations: virtual time, captured telemetry, leak checks.

As a pytest plugin it gives the fixtures ``fake_clock``, ``spanrun_capture`` and
``no_leaks``. Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.testing.captured import Captured, capture
    from spanrun.testing.chat_server import ChatServer
    from spanrun.testing.clock import Deadlock, FakeClock
    from spanrun.testing.embedding_server import EmbeddingServer
    from spanrun.testing.leaks import Leaked, no_leaks
    from spanrun.testing.records import CapturedEvent, CapturedSpan, Point
else:
    __getattr__, __dir__ = lazy.names(
        __name__,
        {
            "captured": ("Captured", "capture"),
            "chat_server": ("ChatServer",),
            "clock": ("Deadlock", "FakeClock"),
            "embedding_server": ("EmbeddingServer",),
            "leaks": ("Leaked", "no_leaks"),
            "records": ("CapturedEvent", "CapturedSpan", "Point"),
        },
    )

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
