"""`CHANGELOG.md`: what was released, below what the news fragments say is to come."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RELEASED: Final = "<!-- towncrier release notes start -->\n"

_HEAD: Final = """\
# Changelog

What a user notices, by version.
[What is stable?](docs/reference/public-api.md)
"""


def render(root: Path = ROOT) -> str:
    """The page: what comes with the next version, and the versions before it."""
    path = root / "CHANGELOG.md"
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    released = written.partition(RELEASED)[2]
    return f"{_HEAD}\n{_upcoming(root)}\n{RELEASED}{released}"


def _upcoming(root: Path) -> str:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    version = project["version"].partition(".dev")[0]
    command = f"-m towncrier build --draft --date unreleased --version {version}"
    done = subprocess.run(  # noqa: S603 -- our own words
        [sys.executable, *command.split()],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return f"{done.stdout.strip()}\n"
