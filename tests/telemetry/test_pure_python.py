"""The tests of jobs hold without the compiled part too."""

import os
import subprocess
import sys
from pathlib import Path

FOLDERS = "runner", "policies", "semantics", "telemetry/units"


def test_all_is_the_same_without_it():
    """In another process, since what is in use is settled by the first import."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow"]
    command += [f"tests/{each}" for each in FOLDERS]
    done = subprocess.run(
        command,
        env={**os.environ, "SPANRUN_PURE_PYTHON": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
