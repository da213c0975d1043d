"""The command line for tests: in this process, or in one of its own."""

import contextlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.util._once import Once
from tests import programs
from tests.programs import is_setting, plain_environ
from typer.testing import CliRunner

from spanrun import recordings
from spanrun.cli import session
from spanrun.cli.app import app
from spanrun.testing import EmbeddingServer

MODEL = "wordllama-l2-256"
FILES = {
    "fox.txt": "The quick brown fox jumps over the lazy dog.\n",
    "sailing.md": "# Sailing\n\nBoats move by wind. A sail is an upright wing.\n",
    "bread.rst": "Baking bread\n============\n\nYeast makes dough rise.\n",
    "alps.html": "<title>Mountains</title><p>The Alps are full of glaciers.</p>",
}


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Commands in a folder of their own, in this process."""

    folder: Path
    environ: dict[str, str | None] = field(default_factory=dict[str, str | None])

    def __call__(self, *arguments: str) -> Result:
        runner = CliRunner()
        result = runner.invoke(app, [*arguments], env=self.environ)
        if result.exception is not None and not isinstance(
            result.exception, SystemExit
        ):
            raise result.exception
        return Result(result.exit_code, result.stdout, result.stderr)

    @property
    def store(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / ".spanrun/documents.db")

    @property
    def telemetry(self) -> recordings.Recording:
        return recordings.open(self.folder / ".spanrun")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    for name in os.environ:
        if is_setting(name) or name == "COLUMNS":
            monkeypatch.delenv(name)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in session.LOGGERS]
    before = [(each.handlers[:], each.propagate) for each in loggers]
    yield Cli(tmp_path)
    for logger, (handlers, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with a document of each format."""
    return write(tmp_path / "docs", FILES)


@pytest.fixture
def endpoint() -> Iterator[EmbeddingServer]:
    """An endpoint that answers at once, and whose vectors cost nothing."""
    with EmbeddingServer(
        latency=0,
        jitter=0,
        rate_limited=0,
        unavailable=0,
        retry_after=0.01,
        embed=embed,
    ) as server:
        yield server


@pytest.fixture
def at(endpoint: EmbeddingServer) -> tuple[str, ...]:
    """The options that name the endpoint."""
    return "--embeddings-url", f"{endpoint.url}/v1", "--model", "m"


def embed(texts: Sequence[str]) -> tuple[list[list[float]], int]:
    """Vectors of letters: 26 numbers."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [[1.0 + text.count(each) for each in letters] for text in texts], len(texts)


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def many(folder: Path, count: int) -> Path:
    """A folder of ``count`` different documents."""
    return write(
        folder,
        {f"{n:04}.txt": f"Document {n} says {n * 7919}.\n" for n in range(count)},
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command in a process of its own; none is left afterwards."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "spanrun", *arguments]
        options = {
            "cwd": tmp_path,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
            "env": {**plain_environ(), **options.pop("env", {})},
        }
        process = programs.start(options.pop("args", command), **options)
        running.append(process)
        return process

    yield started
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def documents(folder: Path) -> dict[str, int]:
    """The stored documents' names and how many chunks each has; all are whole."""
    path = folder / ".spanrun/documents.db"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin")
        (state,) = db.execute("pragma integrity_check").fetchone()
        assert state == "ok"
        rows = db.execute(
            "select source, count(c.rowid), max(position) from documents d "
            "left join chunks c on c.document = d.rowid group by d.rowid"
        ).fetchall()
        (vectors,) = db.execute("select count(*) from vectors_rowids").fetchone()
    assert vectors == sum(chunks for _, chunks, _ in rows)
    assert all(chunks == last + 1 for _, chunks, last in rows)
    return {Path(source).name: chunks for source, chunks, _ in rows}
