"""The compiled part of spanrun, if there is one here.

It is absent where nothing compiled it, in a sub-interpreter, which the compiled part
refuses to be loaded into, and where ``SPANRUN_PURE_PYTHON`` is set. Everything works
without it, at a higher cost: each of its classes has a fallback in plain Python.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["WHY_NOT", "core"]

_SWITCH: Final = "SPANRUN_PURE_PYTHON"
_UNKNOWN: Final = "it was not compiled when spanrun was installed"
_reason: Final = Path(__file__).with_name("_core.missing.txt")  # as its build says it


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get(_SWITCH):
        return None, f"{_SWITCH} is set"
    try:
        import spanrun._core as compiled  # noqa: PLC0415 -- it may not be there
    except ModuleNotFoundError:
        return None, _reason.read_text(
            "utf-8"
        ).strip() if _reason.exists() else _UNKNOWN
    except ImportError as error:
        return None, f"this interpreter can't load it: {error}"
    return compiled, ""


core, WHY_NOT = _load()
"""The module `spanrun._core`, or None and the reason why there is none."""
