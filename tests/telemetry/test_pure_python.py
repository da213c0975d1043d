"""The tests of jobs hold without the compiled part too."""

import faulthandler
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDERS = "runner", "policies", "semantics", "telemetry/units"
ROOT = Path(__file__).parents[2]
MOST = 104
"""Calls of our functions that a job with three spans may make.

It makes 100, of which two ask whether it is slow, and two keep its ledger's times. Now
and then it is 102: then its thread encodes the sizes of a batch.
"""


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_is_the_same_without_it(folder):
    """In another process, since what is in use is settled by the first import."""
    faulthandler.cancel_dump_traceback_later()  # each test there has a limit of its own
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", f"tests/{folder}"],
        env={**os.environ, "SPANRUN_PURE_PYTHON": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_traced_job_calls_few_functions(tmp_path):
    """What it costs is what it calls, and that is the same on each machine."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.telemetry.pure_python_calls"],
        env={
            **os.environ,
            "SPANRUN_PURE_PYTHON": "1",
            "SPANRUN_SPOOL": str(tmp_path),
            "SPANRUN_STORE": "none",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 20 < float(done.stdout) <= MOST
