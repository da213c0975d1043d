"""The examples in the docstrings run."""

import json
import subprocess
import sys
from pathlib import Path

from tests.programs import plain_environ

RUNNER = Path(__file__).with_name("run_docstrings.py")
EXPECTED = (
    "spanrun.runner.runner.Runner",
    "spanrun.policies.retry.Retry",
    "spanrun.telemetry.instrument.unit",
    "spanrun.testing.captured.capture",
)


def test_examples_run(tmp_path: Path) -> None:
    target, work = tmp_path / "results.json", tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(target)],
        cwd=work,
        env=plain_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(target.read_text())
    assert not told["failed"], "".join(told["failed"])
    assert all(name in told["ran"] for name in EXPECTED), sorted(told["ran"])
