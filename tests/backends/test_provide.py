import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from instrumentation.backends import (
    cache,
    inventory,
    provide,
    servers,
    toolchain,
)
from instrumentation.backends.bench import Bench, Progress, StepError
from instrumentation.backends.manifest import Backend

FAKE = Backend("fake", "1.2", "go_install", programs={"fake": "example.org/fake"})
SOLR = Backend("solr", "9", "maven")
SCRIPT = Path(provide.__file__)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Give a PATH with nothing on it, and a way to put commands there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    toolchain._go.cache_clear()
    toolchain._java.cache_clear()

    def add(name: str, says: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)

    yield add
    toolchain._go.cache_clear()
    toolchain._java.cache_clear()


@pytest.fixture
def go(tools):
    tools("go", "go1.99.1")


class Maker:
    """A recipe which writes one small program, and counts."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.made: list[str] = []
        self.fail = fail

    def __call__(self, backend: Backend, bench: Bench) -> None:
        self.made.append(backend.name)
        (bench.out / backend.name).write_text("program")
        if self.fail:
            raise self.fail


def run(
    base: Path, make: provide.Make, backends: Sequence[Backend] = (FAKE,)
) -> tuple[int, str]:
    out = io.StringIO()
    entries = [inventory.look(backend, base) for backend in backends]
    code = provide.provide(entries, make=make, progress=Progress(out))
    return code, out.getvalue()


# The folders


def test_folder_is_named_after_version_and_toolchain(tmp_path):
    place = cache.folder(FAKE, "go1.99.1", tmp_path)
    assert place == tmp_path / "fake-1.2-go1.99.1"


def test_root_follows_xdg_but_ignores_a_relative_path(tmp_path):
    kept = tmp_path / "spanrun" / "backends"
    assert cache.root({"XDG_CACHE_HOME": str(tmp_path)}) == kept
    default = Path.home() / ".cache" / "spanrun" / "backends"
    assert cache.root({"XDG_CACHE_HOME": "here"}) == default
    assert cache.root({}) == default


def test_toolchain_is_gos_own_version_or_javas_feature_number(tools):
    tools("go", "go1.99.1")
    tools("java", 'openjdk version "21.0.3" 2024-04-16')
    tools("javac", "")
    tools("mvn", "")
    assert toolchain.toolchain(FAKE) == "go1.99.1"
    assert toolchain.toolchain(SOLR) == "java21"


# Making


def test_backend_is_made_once(tmp_path, go, capsys):
    make = Maker()
    assert run(tmp_path, make)[0] == 0
    code, progress = run(tmp_path, make)
    assert (code, progress, make.made) == (0, "", ["fake"])
    assert str(tmp_path / "fake-1.2-go1.99.1") in capsys.readouterr().out


def altered(program: Path) -> None:
    program.write_text("PROGRAM")  # the same size, another content
    os.utime(program, ns=(0, 0))


def cut(program: Path) -> None:
    stat = program.stat()
    program.write_text("prog")
    os.utime(program, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def unreadable(program: Path) -> None:
    (program.parent / "provided.json").write_text("[]")


@pytest.mark.parametrize(
    "spoil",
    [
        altered,
        cut,
        Path.unlink,
        unreadable,
    ],
)
def test_spoilt_backend_is_made_again(tmp_path, go, spoil: Callable[[Path], object]):
    make = Maker()
    run(tmp_path, make)
    program = tmp_path / "fake-1.2-go1.99.1" / "fake"
    spoil(program)
    assert inventory.look(FAKE, tmp_path).fault
    assert run(tmp_path, make)[0] == 0
    assert len(make.made) == 2
    assert program.read_text() == "program"
    assert inventory.look(FAKE, tmp_path).fault is None


def test_copied_backend_is_taken_by_its_hash(tmp_path, go):
    make = Maker()
    run(tmp_path, make)
    place = tmp_path / "fake-1.2-go1.99.1"
    record = (place / "provided.json").read_text()
    os.utime(place / "fake", ns=(0, 0))
    assert run(tmp_path, make)[0] == 0
    assert len(make.made) == 1
    assert (place / "provided.json").read_text() != record  # learnt the new mtime


@pytest.mark.parametrize("error", [StepError("no"), OSError("full")])
def test_failed_build_leaves_no_folder(tmp_path, go, error):
    code, progress = run(tmp_path, Maker(error))
    assert code == 1
    assert f"FAILED: {error}" in progress
    assert [path.name for path in tmp_path.glob("*fake*-go*") if path.is_dir()] == []


def test_interrupted_build_leaves_no_folder_and_is_taken_up_again(tmp_path, go):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Maker(KeyboardInterrupt()))
    left = tmp_path / ".fake-1.2-go1.99.1~killed"  # as kill -9 would leave it
    left.mkdir()
    assert not (tmp_path / "fake-1.2-go1.99.1").exists()
    assert run(tmp_path, Maker())[0] == 0
    assert not left.exists()


def test_two_runs_at_once_make_it_once(tmp_path, go):
    inside, go_on = threading.Event(), threading.Event()
    make = Maker()

    def slow(backend: Backend, bench: Bench) -> None:
        inside.set()
        assert go_on.wait(5)
        make(backend, bench)

    said: list[tuple[int, str]] = []
    first = threading.Thread(target=lambda: said.append(run(tmp_path, slow)))
    first.start()
    assert inside.wait(5)
    second = threading.Thread(target=lambda: said.append(run(tmp_path, make)))
    second.start()
    time.sleep(0.05)
    go_on.set()
    first.join(5)
    second.join(5)
    assert [code for code, _ in said] == [0, 0]
    assert make.made == ["fake"]
    assert "another process is making it" in said[1][1]


def test_missing_tool_is_told_and_the_others_are_made(tmp_path, go, capsys):
    make = Maker()
    code, _ = run(tmp_path, make, [SOLR, FAKE])
    assert code == 69
    assert make.made == ["fake"]
    captured = capsys.readouterr()
    assert "MISSING: needs java" in captured.out
    assert captured.err.count("install a JDK") == 1


def test_command_without_any_tool_exits_69(tmp_path):
    env = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}

    def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    made = run_script()
    assert made.returncode == 69
    assert made.stderr.count("install Go") == made.stderr.count("install a JDK") == 1
    assert run_script("--check").returncode == 1
    asked = run_script("--json")
    assert (asked.returncode, json.loads(asked.stdout)) == (1, {})
    wrong = run_script("grafana")
    assert wrong.returncode == 2
    assert "unknown backend 'grafana'" in wrong.stderr


def test_missing_backend_tells_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with (
        pytest.raises(servers.BackendMissingError, match="run: make backends"),
        servers.jaeger(),
    ):
        pass
