"""Engines: the same `map` and `stream`, in other processes and on other machines.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.engines.process import ProcessEngine
    from spanrun.engines.ray import RayEngine
else:
    __getattr__, __dir__ = lazy.names(
        __name__, {"process": ("ProcessEngine",), "ray": ("RayEngine",)}
    )

__all__ = ["ProcessEngine", "RayEngine"]
