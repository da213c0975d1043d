"""System calls on the files of a folder that fail when they are told to."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.faults.sqlite_calls import SqliteCalls, Vfs

EVER: Final = 1 << 30
"""As many times as nothing calls: from then on."""
CODES: Final = (
    errno.EIO,
    errno.ENOSPC,
    errno.EINTR,
    errno.EACCES,
    errno.EMFILE,
    errno.ENOENT,
)

_BY_PATH: Final = (
    "open",
    "stat",
    "lstat",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
    "listdir",
    "scandir",
)
_BY_NUMBER: Final = (
    "read",
    "pread",
    "write",
    "pwrite",
    "fstat",
    "fsync",
    "ftruncate",
    "lseek",
)


class Faults:
    """Counts calls on what is below ``root``, and lets some of them fail.

    Those of Python and, with the ``vfs`` of an SQLite, those that it makes by itself.

    Attributes:
        calls: So far.
        failed: The names of those that failed.
    """

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, vfs: Vfs | None = None
    ) -> None:
        self.root = root
        self.calls = 0
        self.failed: list[str] = []
        self._code = 0
        self._at = 0
        self._last = 0
        self._open: set[int] = set()
        for name in _BY_PATH:
            monkeypatch.setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in _BY_NUMBER:
            monkeypatch.setattr(os, name, self._by_number(name, getattr(os, name)))
        monkeypatch.setattr(os, "close", self._closing(os.close))
        for name in ("flock", "lockf"):
            shim = self._by_number(name, getattr(fcntl, name))
            monkeypatch.setattr(fcntl, name, shim)
        self.sqlite = SqliteCalls(vfs, self._of_sqlite) if vfs else None
        if self.sqlite is not None:
            self.sqlite.install()

    def remove(self) -> None:
        """Give SQLite its calls back; Python's are the monkeypatch's."""
        if self.sqlite is not None:
            self.sqlite.remove()

    def begin(self, root: Path) -> None:
        """Count from zero, below another folder, and let nothing fail."""
        self.root, self.calls, self.failed = root, 0, []
        self._at = self._last = 0
        self._open.clear()

    def fail(self, at: int, code: int, *, times: int = 1) -> None:
        """From call ``at`` on fail ``times`` times, with ``code``."""
        self._at, self._code, self._last = at, code, at + times - 1

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._at = self._last = 0

    def _fails(self, name: str) -> bool:
        self.calls += 1
        if self._at <= self.calls <= self._last:
            self.failed.append(name)
            return True
        return False

    def _check(self, name: str, path: Any) -> None:
        if self._fails(name):
            raise OSError(self._code, os.strerror(self._code), path)

    def _of_sqlite(self, name: str, where: str | int) -> int:
        assert self.sqlite is not None
        path = self.sqlite.path_of(where) if isinstance(where, int) else where
        if not path.startswith(str(self.root)):
            return 0
        return self._code if self._fails(f"sqlite {name}") else 0

    def _by_path(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def shim(path: Any = ".", *args: Any, **options: Any) -> Any:
            if not str(path).startswith(str(self.root)):
                return call(path, *args, **options)
            self._check(name, str(path))
            result = call(path, *args, **options)
            if name == "open":
                self._open.add(result)
            return result

        return shim

    def _by_number(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def shim(fd: Any, *args: Any) -> Any:
            if fd in self._open:
                self._check(name, None)
            return call(fd, *args)

        return shim

    def _closing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def shim(fd: int) -> None:
            self._open.discard(fd)
            call(fd)

        return shim
