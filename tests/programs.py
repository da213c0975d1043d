"""What the programs that tests start are given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.waiting import PATIENCE

_OURS: Final = ("OTEL_", "SPANRUN_", "EMBEDDING_")
_PATIENT: Final = ("SPANRUN_SHUTDOWN_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_KEPT: Final = ("SPANRUN_PURE_PYTHON", *_PATIENT)
_WITH_US: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):  # else we have ended already
    os.execvp(sys.argv[2], sys.argv[2:])
"""


UNBLOCKED: Final = {"SPANRUN_LOOP_THRESHOLD": str(PATIENCE)}
"""For a program that must say nothing: a loop without a processor seems blocked."""


def be_patient() -> None:
    """Let none of them, nor the tests, have trouble since the machine is busy.

    By default leaving may take 5 s and a request 10 s: too few to send what there is.
    """
    os.environ.update(dict.fromkeys(_PATIENT, str(PATIENCE)))


def is_setting(variable: str) -> bool:
    """Whether it is a setting of whoever runs the tests, which those don't want."""
    return variable.startswith(_OURS) and variable not in _KEPT


def plain_environ() -> dict[str, str]:
    """Our variables, without such settings."""
    return {name: value for name, value in os.environ.items() if not is_setting(name)}


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
    """Start a program that may have no end, but is killed when this thread ends.

    So none goes on when the tests are killed, or end with a hanging one. Where there
    is no Linux it does.
    """
    if sys.platform == "linux":
        first = [sys.executable, "-I", "-S", "-c", _WITH_US, str(os.getpid())]
        command = [*first, *command]
    return subprocess.Popen(command, text=True, **options)
