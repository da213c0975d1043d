"""What the programs that tests start are given."""

from __future__ import annotations

import os
from typing import Final

from tests.waiting import PATIENCE

_OURS: Final = ("OTEL_", "SPANRUN_", "EMBEDDING_")
_PATIENT: Final = ("SPANRUN_SHUTDOWN_TIMEOUT", "SPANRUN_LOOP_THRESHOLD")
_KEPT: Final = ("SPANRUN_PURE_PYTHON", *_PATIENT)


def be_patient() -> None:
    """Let none of them, nor the tests, have trouble since the machine is busy.

    The 5 s that leaving may take by default are too few then to send what there is,
    and a loop that gets no processor for 0.1 s is told as blocked.
    """
    os.environ.update(dict.fromkeys(_PATIENT, str(PATIENCE)))


def is_setting(variable: str) -> bool:
    """Whether it is a setting of whoever runs the tests, which those don't want."""
    return variable.startswith(_OURS) and variable not in _KEPT


def plain_environ() -> dict[str, str]:
    """Our variables, without such settings."""
    return {name: value for name, value in os.environ.items() if not is_setting(name)}
