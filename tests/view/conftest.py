"""Recordings of real programs, and a real browser that looks at their pages."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from instrumentation.backends import inventory
from tests.programs import plain_environ

from spanrun import recordings
from spanrun.view.data import data_of
from spanrun.view.feed import Limits
from spanrun.view.page import write

HERE = Path(__file__).parent


def record(folder: Path, program: str, *arguments: str) -> Path:
    """Run a program of this folder; returns its recording's folder."""
    environment = {**plain_environ(), "SPANRUN_SUMMARY": "false"}
    argv = [sys.executable, str(HERE / program), *arguments]
    subprocess.run(
        argv, cwd=folder, env=environment, check=True, timeout=120, capture_output=True
    )
    return folder / ".spanrun"


@pytest.fixture(scope="session")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("sizes"), "sizes.py")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("pipeline"), "pipeline.py", "100")


def packed(store: Path, runner: str = "", limits: Limits | None = None) -> Any:
    """The data of a page: of the session, or of the run of a runner."""
    with recordings.open(store) as recording:
        runs = {run.runner: run.id for run in recording.runs()}
        return data_of(recording, runs[runner] if runner else "last", limits)


class Browser:
    """A headless browser in a process of its own, which is told line by line."""

    def __init__(self, folder: Path) -> None:
        argv = ["node", str(HERE / "browser.mjs"), str(folder)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(
        self, page: Path | str, *steps: tuple[str, Any], **options: Any
    ) -> Any:
        """What came of each step. A page may do nothing that it must not do."""
        told = self.look(page, *steps, **options)
        assert told["faults"] == []
        return told["results"]

    def look(self, page: Path | str, *steps: tuple[str, Any], **options: Any) -> Any:
        url = page.as_uri() if isinstance(page, Path) else page
        spec = {"url": url, "steps": steps, **options}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(spec)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def browse() -> Iterator[Browser]:
    reason = inventory.why_missing("browser")
    if reason is not None:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    browser = Browser(inventory.locate("browser"))
    yield browser
    browser.close()


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., Path]:
    """Write the page of a recording."""

    def make(store: Path, runner: str = "") -> Path:
        path = tmp_path / "run.html"
        write(packed(store, runner), path)
        return path

    return make
