"""What a receiver refused for good, and what is no file of a spool, kept for a look.

It is in a folder of the spool. See `spanrun.telemetry.queue.layout`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.frame import HEADER, Frame, encode, later_version
from spanrun.telemetry.queue.layout import LONGEST, QUARANTINE
from spanrun.telemetry.queue.notices import Notices
from spanrun.telemetry.queue.scan import Found, scan

FRAMES: Final = ".frames"
UNUSABLE: Final = ".unusable"
_NAME: Final = re.compile(r"([0-9]{1,20})-(.+)-[0-9a-f]+\.(?:frames|unusable)")


class Kept(NamedTuple):
    """What the name of a file says.

    Attributes:
        path: Of the file.
        code: What the receiver answered, or what is wrong with the file.
        at: When it was put there, seconds since the epoch.
    """

    path: Path
    code: str
    at: float


def put_aside(root: Path, frames: Sequence[Frame], code: str, room: int) -> None:
    """Write ``frames`` into a file that tells when, and the receiver's ``code``.

    The oldest files go, until all of them have no more than ``room`` bytes. What
    is longer than that by itself isn't kept.

    Raises:
        OSError: If the disk won't have it.
    """
    data, before = b"", 0
    for frame in frames:
        data += encode(frame, before)
        before += frame.items
    if len(data) > room:
        return
    path = _folder(root) / _name(code, FRAMES)
    _trim(root, room - len(data))
    try:
        with files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            files.write(fd, data)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def move_aside(root: Path, path: Path, why: str, notices: Notices) -> None:
    """Move ``path``, whatever it is, out of the folder of a process, and say so."""
    try:
        is_file = stat.S_ISREG(os.lstat(path).st_mode)
        to = _folder(root) / _name(why, FRAMES if is_file else UNUSABLE)
        path.rename(to)
    except FileNotFoundError:
        return
    except OSError as error:
        why = f"{why}. It can't be moved away: {files.reason(error)}"
    else:
        why = f"{why}. It was moved to {str(to)!r}"
    notices.note(path, why)


def requeue(
    root: Path, limit: int, append: Callable[[list[Frame]], int], notices: Notices
) -> int:
    """Give all frames to ``append``, about ``limit`` bytes at a time.

    A file is deleted when it was read. What can't be read stays.

    Returns:
        The items that ``append`` has taken.

    Raises:
        OSError: The folder can't be read, or ``append`` failed.
    """
    items = 0
    for path in quarantined(root):
        found = 0
        try:
            if not is_readable(path):
                notices.note(path, "written in a later format, and left as it is")
                continue
            frames = quarantined_frames(path)
            while run := _upto(frames, limit):
                found += append(run)
            if found:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.filename != str(path):
                raise
            notices.note(path, files.reason(error))
        items += found
    return items


def quarantined(root: Path, suffix: str = FRAMES) -> list[Path]:
    """The files of frames, or with `UNUSABLE` what is no file; the oldest first.

    Raises:
        OSError: It is there, and can't be read.
    """
    folder = root / QUARANTINE
    if not files.is_folder(folder):
        return []
    names = os.listdir(folder)  # noqa: PTH208 -- the names are enough
    return sorted(folder / name for name in names if name.endswith(suffix))


def named(path: Path) -> Kept | None:
    """What is known of a file in the quarantine by its name; None for any other."""
    parts = _NAME.fullmatch(path.name)
    return None if parts is None else Kept(path, parts[2], int(parts[1]) / 1e9)


def quarantined_frames(path: Path) -> Iterator[Frame]:
    """The frames in one file of the quarantine; none of a later format.

    Raises:
        OSError: It can't be read.
    """
    with files.opened(path) as fd:
        size = min(os.fstat(fd).st_size, LONGEST)
        for piece in scan(files.reader(fd), 0, size):
            if isinstance(piece, Found):
                yield piece.frame


def is_readable(path: Path) -> bool:
    """Whether this release can read a file of frames.

    Raises:
        OSError: Nobody can.
    """
    with files.opened(path) as fd:
        return not later_version(files.read(fd, 0, HEADER))


def _name(code: str, suffix: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", code)[:40] or "unknown"
    return f"{time.time_ns()}-{slug}-{uuid4().hex[:8]}{suffix}"


def _folder(root: Path) -> Path:
    """The folder, made on demand. Nothing is written through a link."""
    folder = root / QUARANTINE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not files.is_folder(folder):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", str(folder))
    return folder


def _upto(frames: Iterator[Frame], limit: int) -> list[Frame]:
    run: list[Frame] = []
    size = 0
    while size < limit and (frame := next(frames, None)) is not None:
        run.append(frame)
        size += len(frame.payload)
    return run


def _trim(root: Path, room: int) -> None:
    sizes: dict[Path, int] = {}
    for path in quarantined(root):
        with contextlib.suppress(FileNotFoundError):
            sizes[path] = os.lstat(path).st_size
    size = sum(sizes.values())
    for path, its in sizes.items():
        if size <= room:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            size -= its
