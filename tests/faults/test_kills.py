"""Promise 7: a kill at whatever point costs no outcome, and none is there twice."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_kills_at_any_point_lose_nothing_and_double_nothing():
    """``make kills`` has 1,000 of them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", "50", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 kills in ")
