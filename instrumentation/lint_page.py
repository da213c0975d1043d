"""Lint the page's JavaScript, and that of its tests, by oxlint of `package.json`.

    python instrumentation/lint_page.py [PATH ...]

It is among the browser's packages, which `make backends` provides. Where they aren't
there, it says so and is left out, unless ``SPANRUN_REQUIRE_BACKENDS`` is 1.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from instrumentation.backends import inventory  # noqa: E402 -- a part of the checkout

_CONFIG: Final = ROOT / "viewer/.oxlintrc.json"
_OURS: Final = ("viewer", "tests/view")


def main() -> int:
    """Run the command line; returns the exit code."""
    reason = inventory.why_missing("browser")
    if reason is not None:
        sys.stderr.write(f"  left out: {reason}\n")
        return int(os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1")
    program = inventory.locate("browser") / "node_modules/oxlint/bin/oxlint"
    paths = sys.argv[1:] or [str(ROOT / name) for name in _OURS]
    argv = ["node", str(program), "--quiet", "-c", str(_CONFIG), *paths]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
