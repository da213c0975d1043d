"""Engines: the same `map` and `stream`, in other processes and on other machines.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.engines.process import ProcessEngine
else:
    __getattr__, __dir__ = lazy.names(__name__, {"process": ("ProcessEngine",)})

__all__ = ["ProcessEngine"]
