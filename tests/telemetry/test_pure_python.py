"""The tests of what is in C hold without it too."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = "test_native_units.py", "test_fast.py", "test_job_cells.py"
FOLDERS = "tests/runner", "tests/policies", "tests/semantics"


def test_all_is_the_same_without_it():
    """In another process, since what is in use is settled by the first import."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow"]
    command += [f"tests/telemetry/{each}" for each in TESTS]
    done = subprocess.run(
        [*command, *FOLDERS],
        env={**os.environ, "SPANRUN_PURE_PYTHON": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
