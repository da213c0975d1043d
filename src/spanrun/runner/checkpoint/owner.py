"""`Owner`: one run has a checkpoint at a time, and whoever comes second is told whose.

The lock is one of the system's (POSIX), on a file beside the checkpoint that also says
who has it. The system releases it with the process, however that ends, so nobody has to
tell a stale one from a living one. It isn't inherited by a fork, and doesn't keep the
process itself from a second run: `_ours` does.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Final

from spanrun.errors import CheckpointError
from spanrun.text import one_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HELD: Final = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_MOST: Final = 1_000  # bytes of what is said of an owner
_ours: Final[set[Path]] = set()
_lock: Final = threading.Lock()


class Owner:
    """Has the checkpoint at ``path`` from `take` to `release`."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._file: Final = path.with_name(f"{path.name}.lock")
        self._real: Path | None = None
        self._descriptor = -1

    def take(self) -> None:
        """Have it.

        Raises:
            CheckpointError: Another run has it, or nobody can.
            OSError: The file can't be made.
        """
        real = self._path.resolve()
        with _lock:
            if real in _ours:
                raise CheckpointError(
                    f"{self._path} is in use by another run of this process: wait for "
                    "its end, or give each run a checkpoint of its own",
                    reason="locked",
                )
            self._descriptor = _locked(self._path, self._file)
            _ours.add(real)
        self._real = real

    def release(self) -> None:
        """Have it no more. The file that was locked stays."""
        real, self._real = self._real, None
        if real is None:
            return
        with _lock:
            os.close(self._descriptor)
            _ours.discard(real)


def _locked(path: Path, file: Path) -> int:
    """Lock ``file``, and write into it who has it; gives its descriptor."""
    if fcntl is None:
        raise _no_locks(path, "as this system has no such locks")
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        told = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(told).encode(), 0)
    except OSError as error:
        held = error.errno in _HELD
        said = os.pread(descriptor, _MOST, 0) if held else b""
        os.close(descriptor)
        if held:
            raise _held(path, said) from error
        if error.errno in _NO_LOCKS:
            raise _no_locks(path, "as its file system has no locks") from error
        raise
    return descriptor


def _held(path: Path, said: bytes) -> CheckpointError:
    try:
        told = json.loads(said)
        who = f"process {told['pid']} on {told['host']}, since {told['since']}"
    except (ValueError, TypeError, KeyError):
        who = "another process"
    return CheckpointError(
        f"{path} is in use by {one_line(who, 200)}: wait for its end, or name another "
        "checkpoint",
        reason="locked",
    )


def _no_locks(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} can't be locked, {why}: name a checkpoint on a local disk",
        reason="disk",
    )
