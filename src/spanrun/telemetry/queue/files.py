"""Opening what is in a spool folder: a regular file of its owner, or nothing.

Anything may be there under any name: a FIFO, which `open` would wait for, a link to
a device that never ends, a folder, a file of somebody else. So every file of a
spool is opened by `open_file`, and read in pieces whose size the reader chooses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

_SAFE: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# What another attempt may get over, because the machine or the process was short of
# something. All other errors are about the file.
_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file that belongs to this user or to the owner of the spool.

    Args:
        path: In a folder of the spool.
        flags: Those of `os.open`. A file that is made is for its owner alone.

    Raises:
        OSError: There is none, it is something else, or somebody else's.
    """
    fd = os.open(path, flags | _SAFE, 0o600)
    try:
        _check(path, os.fstat(fd))
    except OSError:
        close(fd)
        raise
    return fd


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Generator[int]:
    """`open_file`, and close it in the end."""
    fd = open_file(path, flags)
    try:
        yield fd
    finally:
        close(fd)


def read(fd: int, at: int, size: int) -> bytes:
    """The ``size`` bytes from ``at`` on; fewer where the file ends before."""
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(fd, size, at)):
        parts.append(part)
        at += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def reader(fd: int) -> Callable[[int, int], bytes]:
    """`read` of an open file."""
    return lambda at, size: read(fd, at, size)


def write(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def close(fd: int) -> None:
    """Close a file that isn't needed any more, whatever the disk says to it."""
    with contextlib.suppress(OSError):
        os.close(fd)


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder itself, and no link to one.

    Raises:
        OSError: That can't be told.
    """
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def is_passing(error: OSError) -> bool:
    """Whether the same may succeed later, with the file as it is."""
    return error.errno in _PASSING


def reason(error: OSError) -> str:
    """What is wrong, for a line that names the path."""
    if error.errno == errno.ELOOP:
        return "Is a link"
    if error.errno in (errno.ENXIO, errno.EISDIR):
        return "Not a regular file"
    return error.strerror or type(error).__name__


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    # A file system that gives all files to one user gives it the folder, too.
    if status.st_uid not in {os.geteuid(), _owner(path.parent.parent)}:
        raise OSError(errno.EPERM, f"Belongs to user {status.st_uid}", str(path))


def _owner(path: Path) -> int:
    return os.stat(path).st_uid  # noqa: PTH116 -- as all here
