"""Files of what a receiver refused for good, kept for a look at them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from spanrun.telemetry.delivery.frames import Frame, encode

QUARANTINE: Final = "quarantine"
_SUFFIX: Final = ".frames"


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
    folder = root / QUARANTINE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _trim(folder, room - len(data))
    slug = re.sub(r"[^A-Za-z0-9]+", "-", code)[:40]
    path = folder / f"{time.time_ns()}-{slug}-{uuid4().hex[:8]}{_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


def quarantined(root: Path) -> list[Path]:
    """The files, the oldest first."""
    return sorted((root / QUARANTINE).glob(f"*{_SUFFIX}"))


def _trim(folder: Path, room: int) -> None:
    files = sorted(folder.glob(f"*{_SUFFIX}"))
    size = sum(path.stat().st_size for path in files)
    for path in files:
        if size <= room:
            return
        size -= path.stat().st_size
        path.unlink(missing_ok=True)
