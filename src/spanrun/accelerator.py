"""`core`: the compiled part of spanrun, or None where the fallbacks are in use.

It isn't there where no compiler was at hand at the installation, nor in an interpreter
that can't load it, and ``SPANRUN_PURE_PYTHON`` switches it off.
"""

from __future__ import annotations

import os
from types import ModuleType

__all__ = ["core"]

core: ModuleType | None = None

if not os.environ.get("SPANRUN_PURE_PYTHON"):
    try:
        from spanrun import _core as core
    except ImportError:
        core = None
