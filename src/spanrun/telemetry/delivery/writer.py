"""`Writer`: the spool folder of one process, which another may take over."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Final, NoReturn, TypeAlias
from uuid import uuid4

from spanrun.telemetry.delivery.frames import SIGNALS, Signal
from spanrun.telemetry.delivery.lane import Lane, Lost
from spanrun.telemetry.delivery.parcel import Cursor, Parcel

try:
    import fcntl
except ImportError:  # Windows: the spool lives in memory there
    fcntl = None  # type: ignore[assignment]

Key: TypeAlias = tuple[Signal, bool]
Held: TypeAlias = Callable[[Lane], Container[int]]

PREFIX: Final = "w-"
_LOCK: Final = "lock"
_CURSORS: Final = "ack"

# In the order in which room is made: ordinary spans go first, failed ones last.
KEYS: Final[tuple[Key, ...]] = tuple(
    (signal, keep) for keep in (False, True) for signal in SIGNALS
)
_SLOT: Final = struct.Struct(f"<4sQ{len(KEYS) * 3}Q")
_SLOT_MAGIC: Final = b"SRak"
_SLOT_BYTES: Final = 512


class Writer:
    """The lanes of one process, their cursors, and the lock that says it lives.

    The lock (``flock``) ends with the process, however it ends. So a folder
    whose lock is free belongs to nobody, and who takes the lock may read it.

    The cursors are in a file of two slots, written in turn, each with a number
    and a CRC. A torn write leaves the other slot, which is one acknowledgement
    behind: one batch is sent again. No room is needed on the disk for it.
    """

    def __init__(
        self,
        path: Path,
        lock: int,
        lost: Lost,
        held: Held,
        *,
        segment_bytes: int,
        metric_segments: int | None,
    ) -> None:
        self.path: Final = path
        self._lock: int | None = lock
        self._cursors: int | None = None
        self._generation = 0
        self.lanes: Final[dict[Key, Lane]] = {}
        for signal, keep in KEYS:
            self.lanes[signal, keep] = Lane(
                path,
                lane_name(signal, keep=keep),
                lost,
                signal=signal,
                segment_bytes=segment_bytes,
                held=held,
                most=metric_segments if (signal, keep) == KEYS[1] else None,
            )

    @property
    def size(self) -> int:
        """Bytes of the frames in it."""
        return sum(lane.size for lane in self.lanes.values())

    def load(self) -> int:
        """Read what another process left here; how many items wait."""
        self._generation, cursors = read_cursors(self.path)
        pairs = zip(self.lanes.values(), cursors, strict=True)
        return sum(lane.load(cursor) for lane, cursor in pairs)

    def ack(self, parcels: Iterable[Parcel]) -> None:
        """Note on disk that ``parcels`` are done with, and delete what can be."""
        parcels = list(parcels)
        for lane in self.lanes.values():
            mine = [p for p in parcels if p.place and p.place.lane is lane]
            if mine:
                lane.ack(mine)
        self.sweep()

    def sweep(self) -> None:
        """Save the cursors, then delete the files that are done with."""
        # Unsaved, they cost a batch that is sent again: no reason to fail.
        with contextlib.suppress(OSError):
            self._save_cursors()
        for lane in self.lanes.values():
            with contextlib.suppress(OSError):
                lane.sweep()

    def close(self) -> None:
        """Let go of the folder; delete it when nothing waits in it."""
        for lane in self.lanes.values():
            lane.seal()
        if not any(lane.segments for lane in self.lanes.values()):
            _remove(self.path)
        self.abandon()

    def abandon(self) -> None:
        """Close all files, and touch nothing: also in the child of a fork.

        The child shares the lock with its parent, and closing leaves it there.
        """
        for lane in self.lanes.values():
            lane.seal()
        for fd in (self._cursors, self._lock):
            if fd is not None:
                os.close(fd)
        self._cursors = self._lock = None

    def _save_cursors(self) -> None:
        if self._cursors is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._cursors = os.open(self.path / _CURSORS, flags, 0o600)
        self._generation += 1
        numbers = [n for lane in self.lanes.values() for n in lane.cursor]
        slot = _SLOT.pack(_SLOT_MAGIC, self._generation, *numbers)
        slot += zlib.crc32(slot).to_bytes(4, "little")
        os.lseek(self._cursors, self._generation % 2 * _SLOT_BYTES, os.SEEK_SET)
        os.write(self._cursors, slot)


def read_cursors(path: Path) -> tuple[int, list[Cursor]]:
    """The newest cursors of the folder ``path``, one for each key, and their number."""
    newest, best = 0, [Cursor(0, 0, 0)] * len(KEYS)
    try:
        data = (path / _CURSORS).read_bytes()
    except FileNotFoundError:
        return newest, best
    for at in (0, _SLOT_BYTES):
        slot = data[at : at + _SLOT.size]
        seal = data[at + _SLOT.size : at + _SLOT.size + 4]
        if len(seal) < 4 or zlib.crc32(slot) != int.from_bytes(seal, "little"):  # noqa: PLR2004 -- a CRC-32
            continue
        magic, generation, *numbers = _SLOT.unpack(slot)
        if magic == _SLOT_MAGIC and generation > newest:
            newest = generation
            best = [Cursor(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
    return newest, best


def create(root: Path) -> tuple[Path, int]:
    """Make a folder of our own below ``root``; its path, and its lock.

    Raises:
        OSError: If that can't be.
    """
    name = f"{os.getpid()}-{uuid4().hex[:12]}"
    # Made under another name: a folder that can be seen is a locked one.
    new = root / f"new-{name}"
    new.mkdir(mode=0o700)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    lock: int | None = None
    try:
        lock = os.open(new / _LOCK, flags, 0o600)
        if fcntl is None or not _acquire(lock):
            _no_locks()
        # Its room is taken now, so that a disk that fills up doesn't make
        # delivered frames come again.
        _fill(new / _CURSORS)
        return new.rename(root / f"{PREFIX}{name}"), lock
    except OSError:
        _remove(new)
        if lock is not None:
            os.close(lock)
        raise


def _fill(cursors: Path) -> None:
    fd = os.open(cursors, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, bytes(2 * _SLOT_BYTES))
    finally:
        os.close(fd)


def _no_locks() -> NoReturn:
    raise OSError("the spool needs a file system with locks")


def orphans(root: Path) -> Iterable[tuple[Path, int]]:
    """The folders below ``root`` whose process is gone, each with its lock."""
    for path in sorted(root.glob(f"{PREFIX}*"), key=_age):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        # Somebody may have emptied and deleted it since it was listed.
        if _acquire(lock) and _is_at(lock, path / _LOCK):
            yield path, lock
        else:
            os.close(lock)


def is_live(folder: Path) -> bool:
    """Whether the process that wrote ``folder`` still has its lock."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _acquire(lock)
    finally:
        os.close(lock)


def lane_name(signal: Signal, *, keep: bool) -> str:
    """What the files of a lane are called, up to their number."""
    return f"{signal}-keep" if keep else signal


def _acquire(lock: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    """Delete a folder without frames. The lock goes last."""
    with contextlib.suppress(OSError):
        for name in (_CURSORS, _LOCK):
            (path / name).unlink(missing_ok=True)
        path.rmdir()
