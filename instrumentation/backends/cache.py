"""The folders in which provided backends are kept, outside every checkout.

Each folder is `<name>-<version>-<toolchain>` and appears whole, by a rename. Its
record, `provided.json`, holds the sha256, size and mtime of every file in it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict, cast

from instrumentation.backends.manifest import Backend

_RECORD = "provided.json"
_RETRY_LOCK = 0.2


@dataclass(frozen=True)
class _Seen:
    """What is recorded of one file."""

    sha256: str
    size: int
    mtime_ns: int


class _Record(TypedDict):
    fingerprint: str
    files: dict[str, dict[str, str | int]]


def root(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of all backends: ${XDG_CACHE_HOME:-~/.cache}/spanrun/backends.

    A relative XDG_CACHE_HOME is ignored, as its specification asks.
    """
    given = Path(env.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "spanrun" / "backends"


def folder(backend: Backend, toolchain: str, base: Path | None = None) -> Path:
    """Return where this version, made by this toolchain, is or will be."""
    return (base or root()) / f"{backend.name}-{backend.version}-{toolchain}"


def fault(place: Path, fingerprint: str) -> str | None:
    """Tell why the folder can't be used, or None when it can.

    A file of the recorded size and mtime is taken as unchanged (a stat each); one
    with another mtime is hashed, and when it is right the record learns the mtime.
    """
    try:
        made_from, files = _read(place)
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_RECORD} can't be read" if place.is_dir() else "not there"
    if made_from != fingerprint:
        return "made from another manifest"
    moved = False
    for name, seen in files.items():
        path = place / name
        if not path.is_file():
            return f"{name} is missing"
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (seen.size, seen.mtime_ns):
            continue
        if stat.st_size != seen.size or sha256(path) != seen.sha256:
            return f"{name} isn't the file that was made"
        moved = True
    if moved:
        _write(place, fingerprint)
    return None


def size(place: Path) -> int:
    """Return the recorded bytes of an intact folder."""
    return sum(seen.size for seen in _read(place)[1].values())


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(place: Path, wait: Callable[[float], None]) -> Generator[None]:
    """Hold the folder's lock; call `wait(seconds)` while another process holds it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f"{place.name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                wait(_RETRY_LOCK)
        yield


@contextmanager
def replacing(place: Path, fingerprint: str) -> Generator[Path]:
    """Give a temporary folder which becomes `place` when the block succeeds.

    The caller holds the lock, so what an interrupted run has left is removed first.
    When the block raises, the temporary folder goes and `place` is as it was.
    """
    prefix = f".{place.name}~"
    for stale in place.parent.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
    try:
        made = work / "made"
        made.mkdir()
        yield made
        _write(made, fingerprint)
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(place: Path) -> tuple[str, dict[str, _Seen]]:
    text = (place / _RECORD).read_text(encoding="utf-8")
    record = cast("_Record", json.loads(text))
    files = record["files"].items()
    seen = {
        name: _Seen(str(told["sha256"]), int(told["size"]), int(told["mtime_ns"]))
        for name, told in files
    }
    return record["fingerprint"], seen


def _write(place: Path, fingerprint: str) -> None:
    files: dict[str, dict[str, str | int]] = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.name != _RECORD:
            stat = path.stat()
            told = _Seen(sha256(path), stat.st_size, stat.st_mtime_ns)
            files[path.relative_to(place).as_posix()] = asdict(told)
    record: _Record = {"fingerprint": fingerprint, "files": files}
    # Written aside and renamed: a reader never meets half a record.
    aside = place.parent / f".{place.name}.{_RECORD}.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    aside.replace(place / _RECORD)
