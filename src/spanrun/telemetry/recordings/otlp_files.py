"""Files of OTLP, imported into a store of their own, which is deleted after use."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from spanrun.errors import StoreError
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.recordings.schema import FILE

MAX_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Of a file that was compressed."""
_DATABASE: Final = b"SQLite format 3\0"
_GZIP: Final = b"\x1f\x8b"
_PIECE: Final = 1024 * 1024


def is_other(path: Path) -> bool:
    """Whether it is a file, and none that a store has."""
    if path.name == FILE or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_DATABASE)) not in (_DATABASE, b"")


class Imported:
    """A folder with a store in which the traces of files are.

    Args:
        paths: Of the files: a request or more, as JSON or protobuf, also compressed.

    Attributes:
        sessions: For each file the ids of the sessions in it, the newest first.

    Raises:
        StoreError: One of them can't be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        with no_fork():
            from spanrun.telemetry.recordings.otlp_store import OtlpStore  # noqa: PLC0415 -- 16 ms

        self.folder: Final = Path(tempfile.mkdtemp(prefix="spanrun-"))
        self.close: Final = weakref.finalize(
            self, shutil.rmtree, self.folder, ignore_errors=True
        )
        self.sessions: Final[list[list[str]]] = []
        store = OtlpStore(self.folder, live=False)
        try:
            for path in paths:
                self._read(store, path)
            whole = store.close()
        except BaseException:
            self.close()
            raise
        if not whole:
            self.close()
            why = store.fault or "some spans can't be kept"
            raise StoreError(f"{self.folder} can't be written, {why}: free some room")

    def _read(self, store: Any, path: Path) -> None:
        with no_fork():
            from spanrun.telemetry import otlp_file  # noqa: PLC0415 -- 16 ms

        try:
            requests = self.folder / "requests"
            with requests.open("wb") as out:
                for _, request in otlp_file.read(self._plain(path)):
                    if otlp_file.has_traces(request):
                        store.foresee(request)
                        out.write(otlp_file.framed(request))
            # Once more: a job may be told ahead of its run. JSON takes longer to read.
            for _, request in otlp_file.read_framed(requests):
                store.add(request)
        except otlp_file.NoOtlpError as error:
            what = f"{path} is no recording and no OTLP, {error}"
            raise StoreError(f"{what}: name a folder, or a file of traces") from error
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{path} can't be read, {error}: name another") from error
        self.sessions.append(store.begin_part())

    def _plain(self, path: Path) -> Path:
        """The file, or what is in it where it is compressed."""
        with path.open("rb") as file:
            if file.read(len(_GZIP)) != _GZIP:
                return path
        out, size = self.folder / "plain", 0
        with gzip.open(path) as packed, out.open("wb") as file:
            while piece := packed.read(_PIECE):
                size += len(piece)
                if size > MAX_BYTES:
                    what = f"{path} has more than {MAX_BYTES >> 30} GiB in it"
                    raise StoreError(f"{what}: split it")
                file.write(piece)
        return out
