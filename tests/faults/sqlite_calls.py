"""SQLite's own system calls, each of which can be made to fail.

`Faults` in `tests.faults.disk` sees what Python calls; SQLite calls the system by
itself. Its unix VFS lets each of its system calls be replaced (``xSetSystemCall``),
which is made for such tests; fsync, which isn't among them, is reached by the methods
of each open file.
"""

import ctypes
import ctypes.util
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

_P, _I, _L, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p
_FSYNC: Final = 10 | 4 << 8  # SQLITE_IOERR_FSYNC

_BY_PATH: Final[dict[str, tuple[Any, ...]]] = {
    "open": (_S, _I, _I),
    "access": (_S, _I),
    "stat": (_S, _P),
    "lstat": (_S, _P),
    "unlink": (_S,),
}
_BY_NUMBER: Final[dict[str, tuple[Any, ...]]] = {
    "fstat": (_I, _P),
    "ftruncate": (_I, _L),
    "read": (_I, _P, ctypes.c_size_t),
    "pread": (_I, _P, ctypes.c_size_t, _L),
    "pread64": (_I, _P, ctypes.c_size_t, _L),
    "write": (_I, _P, ctypes.c_size_t),
    "pwrite": (_I, _P, ctypes.c_size_t, _L),
    "pwrite64": (_I, _P, ctypes.c_size_t, _L),
}
_LONG: Final = {"read", "pread", "pread64", "write", "pwrite", "pwrite64"}

Check = Callable[[str, str | int], int]
"""From a call's name, and the path or number that it is on: its error, or 0."""


class Vfs(ctypes.Structure):
    """SQLite's ``sqlite3_vfs``."""

    _fields_ = (
        ("version", _I),
        ("file_size", _I),
        ("longest", _I),
        ("next", _P),
        ("name", _S),
        ("data", _P),
        ("open", _P),
        *((f"unused{number}", _P) for number in range(12)),
        ("set_call", ctypes.CFUNCTYPE(_I, _P, _S, _P)),
        ("get_call", ctypes.CFUNCTYPE(_P, _P, _S)),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", _I),
        *((f"before{number}", _P) for number in range(4)),
        ("sync", _P),
        *((f"after{number}", _P) for number in range(13)),
    )


_OPEN: Final = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P, use_errno=True)
_SYNC: Final = ctypes.CFUNCTYPE(_I, _P, _I, use_errno=True)


class NoCallsError(Exception):
    """Why the calls can't be replaced here."""


def of_sqlite3() -> Vfs:
    """The calls of Python's own SQLite.

    Raises:
        NoCallsError: It has them elsewhere.
    """
    _only_on_linux()
    import sqlite3  # noqa: PLC0415 -- loads the library that is looked for

    with Path("/proc/self/maps").open() as maps:
        paths = {line.split()[-1] for line in maps if "libsqlite3.so" in line}
    if len(paths) != 1:
        raise NoCallsError(f"sqlite3 {sqlite3.sqlite_version} is no shared library")
    find = ctypes.CDLL(paths.pop()).sqlite3_vfs_find
    find.restype = ctypes.POINTER(Vfs)
    return find(None).contents


def of_apsw() -> Vfs:
    """The calls of the SQLite that is a part of apsw.

    Raises:
        NoCallsError: There is no apsw, or it has them elsewhere.
    """
    _only_on_linux()
    try:
        import apsw  # noqa: PLC0415 -- of an extra
    except ImportError as error:
        raise NoCallsError(str(error)) from None
    address = _P()
    with closing(apsw.Connection("")) as temporary:
        given = ctypes.addressof(address)
        temporary.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, given)
    assert address.value is not None
    return Vfs.from_address(address.value)


def _only_on_linux() -> None:
    if sys.platform != "linux":
        raise NoCallsError("SQLite's system calls are replaced on Linux alone")


class SqliteCalls:
    """While it is installed each call is put before ``check``.

    Args:
        vfs: From `of_sqlite3` or `of_apsw`.
        check: Says which call fails.
    """

    def __init__(self, vfs: Vfs, check: Check) -> None:
        self._check = check
        self._vfs = vfs
        self._alive: list[Any] = []  # what SQLite calls must not be freed
        self._methods: dict[int, _Methods] = {}
        self._number_of: dict[int, str] = {}
        self._originals: dict[str, int] = {}
        self._open_file = self._vfs.open

    def install(self) -> None:
        """Replace the calls."""
        for name, kinds in {**_BY_PATH, **_BY_NUMBER}.items():
            self._replace(name, kinds)
        original = _OPEN(self._open_file)

        # SQLite keeps the path by its address: it is passed on as it came.
        def opened(vfs: int, path: int, file: int, flags: int, out: int) -> int:
            status = original(vfs, path, file, flags, out)
            if status == 0 and path:
                self._watch_sync(file, ctypes.string_at(path).decode())
            return int(status)

        made = _OPEN(opened)
        self._alive.append(made)
        self._vfs.open = ctypes.cast(made, _P).value

    def remove(self) -> None:
        """Put the calls back."""
        self._vfs.open = self._open_file
        for name, original in self._originals.items():
            self._vfs.set_call(ctypes.addressof(self._vfs), name.encode(), original)

    def _replace(self, name: str, kinds: tuple[Any, ...]) -> None:
        vfs = ctypes.addressof(self._vfs)
        address = self._vfs.get_call(vfs, name.encode())
        if not address:
            return
        result = ctypes.c_ssize_t if name in _LONG else _I
        kind = ctypes.CFUNCTYPE(result, *kinds, use_errno=True)
        original = kind(address)

        def shim(where: Any, *args: Any) -> int:
            code = self._check(name, where.decode() if type(where) is bytes else where)
            if code:
                ctypes.set_errno(code)
                return -1
            found = int(original(where, *args))
            if name == "open" and found >= 0:
                self._number_of[found] = where.decode()
            return found

        made = kind(shim)
        self._alive.append(made)
        self._originals[name] = address
        self._vfs.set_call(vfs, name.encode(), ctypes.cast(made, _P).value)

    def path_of(self, number: int) -> str:
        """The file that was opened last by that ``number``."""
        return self._number_of.get(number, "")

    def _watch_sync(self, file: int, path: str) -> None:
        place = ctypes.cast(file, ctypes.POINTER(_P))
        address = place[0]
        assert address is not None
        methods = _Methods.from_buffer_copy(ctypes.string_at(address, _SIZE))
        sync = _SYNC(methods.sync)

        def shim(this: int, flags: int) -> int:
            if self._check("fsync", path):
                return _FSYNC
            return int(sync(this, flags))

        made = _SYNC(shim)
        methods.sync = ctypes.cast(made, _P).value
        self._alive += [made, methods]
        place[0] = ctypes.addressof(methods)


_SIZE: Final = ctypes.sizeof(_Methods)
