"""The folders of a spool, and whether their processes live.

The lock (``flock``) on a file in a folder ends with the process, however it ends. So
a folder whose lock is free belongs to nobody, and who takes the lock may read it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Container
from pathlib import Path

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.layout import LOCK, LONGEST, PREFIX, segment_name

try:
    import fcntl
except ImportError:  # Windows: the spool lives in memory there
    fcntl = None  # type: ignore[assignment]


def folders(root: Path) -> list[Path]:
    """Where the processes keep what waits, the oldest first. Links aren't followed.

    Raises:
        OSError: ``root`` is there, and can't be read.
    """
    found: list[tuple[float, Path]] = []
    try:
        names = os.listdir(root)  # noqa: PTH208 -- the names are enough
    except FileNotFoundError:
        return []
    for name in names:
        path = root / name
        if name.startswith(PREFIX):
            # Somebody may have emptied and deleted it since it was listed.
            with contextlib.suppress(OSError):
                if files.is_folder(path):
                    found.append((os.lstat(path).st_mtime, path))
    return [path for _, path in sorted(found)]


def size_of_others(root: Path, but: Container[Path]) -> int:
    """The bytes of the segments in the folders of other processes."""
    total = 0
    with contextlib.suppress(OSError):
        for folder in folders(root):
            if folder not in but:
                total += _size(folder)
    return total


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if segment_name(entry.name) is not None:
                # As much as can be frames: a sparse file takes no room.
                total += min(entry.stat(follow_symlinks=False).st_size, LONGEST)
    return total


def take(folder: Path) -> int | None:
    """Lock a folder; None when a process has its lock, or the folder is gone.

    Raises:
        OSError: Nobody can say whether its process lives.
    """
    try:
        lock = files.open_file(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        if _is_deleted(folder):
            return None
        raise OSError(errno.ENOLCK, "Has no lock", str(folder)) from None
    # Who had it may have deleted it just now.
    if acquire(lock) and _is_at(lock, folder / LOCK):
        return lock
    files.close(lock)
    return None


def is_live(folder: Path) -> bool:
    """Whether the process that wrote ``folder``, or another one, has its lock."""
    if fcntl is None:
        return False
    try:
        with files.opened(folder / LOCK) as lock:
            # A shared one, which needs no right to write.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def acquire(lock: int) -> bool:
    """Lock an open file, unless somebody has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def lock_trouble(folder: Path) -> str:
    """Why nobody can take a folder over; empty when that can be, or it is gone."""
    try:
        with files.opened(folder / LOCK, os.O_RDWR):
            return ""
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return "Has no lock" if files.is_folder(folder) else ""
        return ""
    except OSError as error:
        return files.reason(error)


def _is_deleted(folder: Path) -> bool:
    """Whether it is gone, or empty: then it is deleted here."""
    try:
        os.rmdir(folder)  # noqa: PTH106 -- as all here
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False
