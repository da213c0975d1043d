"""The files by which processes show what they do, while somebody looks.

In the folder of the local store, or ``.spanrun`` where there is none:

- ``top-PID``: a reader looks. It touches its file each second, and removes it at last.
- ``live-PID``: what a process does, as JSON. While there is a reader's file that was
  touched in the last seconds, the process replaces its own each second.

So nothing is written, and nothing worked out, while nobody looks: a process lists the
folder once a second. Both kinds of files may be left by a process that was killed. A
reader's is too old then; of the other kind the reader looks whether the process lives,
by its number and its beginning, as numbers come again.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from spanrun.telemetry.live.state import ProcessNow, as_object, from_object

HEARTBEAT: Final = 5.0
"""Seconds since it was touched, after which a reader's file says nothing any more."""
SILENT: Final = 10.0
"""The same of a process that can't be asked for, as it is on another machine."""

_READER: Final = "top-"
_PROCESS: Final = "live-"
_MOST: Final = 4 * 1024 * 1024  # bytes of a file
_STARTED: Final = 19  # fields of /proc/PID/stat from the state up to the beginning


def is_watched(folder: Path) -> bool:
    """Whether a reader looks."""
    now = time.time()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _pid_of(entry.name, _READER) is None:
                continue
            with suppress(OSError):
                if abs(now - entry.stat().st_mtime) < HEARTBEAT:
                    return True
    return False


def publish(folder: Path, process: ProcessNow) -> None:
    """Replace what ``process`` has said.

    Raises:
        OSError: It can't be written.
    """
    told = json.dumps(as_object(process), allow_nan=False)
    path = folder / f"{_PROCESS}{process.pid}"
    part = path.with_name(f"{path.name}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _SAFE, 0o600)
    with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123 -- a descriptor
        stream.write(told)
    part.replace(path)


def retract(folder: Path) -> None:
    """This process says nothing any more."""
    name = f"{_PROCESS}{os.getpid()}"
    for path in (folder / name, folder / f"{name}.part"):
        with suppress(OSError):
            path.unlink(missing_ok=True)


class Reader:
    """Somebody who looks, in a ``with`` block.

    Raises:
        OSError: The folder can't be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._path: Final = folder / f"{_READER}{os.getpid()}"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.beat()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Say that somebody still looks; to be called each second."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | _SAFE, 0o600))
        now = time.time_ns()
        os.utime(self._path, ns=(now, now))

    def processes(self) -> list[ProcessNow]:
        """What each process does that lives, by its number. Files of others go."""
        found = (self._read(path, pid) for path, pid in self._files())
        return sorted((one for one in found if one), key=lambda each: each.pid)

    def _files(self) -> Iterator[tuple[Path, int]]:
        now = time.time()
        for entry in tuple(os.scandir(self._folder)):
            pid = _pid_of(entry.name, _PROCESS)
            if pid is not None:
                yield Path(entry.path), pid
            elif _pid_of(entry.name, _READER) is not None:
                with suppress(OSError):  # somebody was killed while they looked
                    if now - entry.stat().st_mtime > HEARTBEAT:
                        Path(entry.path).unlink()

    def _read(self, path: Path, pid: int) -> ProcessNow | None:
        try:
            with path.open("rb") as file:
                told = json.loads(file.read(_MOST), parse_constant=_refuse)
            process = from_object(told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            return None  # of another version, or not ours
        if process.pid == pid and lives(process):
            return process
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None


def lives(process: ProcessNow) -> bool:
    """Whether ``process`` has not ended."""
    if process.host != host():
        return time.time_ns() - process.at_ns < SILENT * 1e9
    if process.started:
        return process.started == started(process.pid)
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def host() -> str:
    """What tells this machine, or container, from others."""
    return platform.node()


def started(pid: int) -> str:
    """When process ``pid`` began, as its system counts; empty if nobody knows."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    # Its name stands in brackets, and may have any of them.
    fields = stat.rpartition(")")[2].split()
    is_over = fields[0] in ("X", "Z")  # its parent hasn't asked for its status yet
    return "" if is_over else fields[_STARTED]


def _refuse(number: str) -> None:
    raise ValueError(f"{number} is no number")


def _pid_of(name: str, kind: str) -> int | None:
    digits = name.removeprefix(kind)
    is_ours = digits != name and digits.isascii() and digits.isdigit()
    return int(digits) if is_ours and len(digits) < 12 else None  # noqa: PLR2004 -- a number's


_SAFE: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
