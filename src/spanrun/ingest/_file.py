"""The text of one file, or one clear reason why there is none."""

from __future__ import annotations

import codecs
import os
import stat
from typing import Literal, TypeAlias

SkippedKind: TypeAlias = Literal[
    "missing",
    "unreadable",
    "empty",
    "binary",
    "encoding",
    "format",
    "too_large",
    "not_a_file",
    "link",
    "no_documents",
]

HTML = frozenset({".htm", ".html"})
SUFFIXES = HTML | {".md", ".rst", ".txt"}
KNOWN = "html, md, rst and txt are read"

# In this order: the mark of UTF-16-LE is the beginning of UTF-32-LE's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0)
    for name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
)


class UnusableFileError(Exception):
    """A path gives no text. ``str()`` is the reason, for a person."""

    def __init__(self, kind: SkippedKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: SkippedKind = kind


def read_text(path: str, suffix: str, max_bytes: int) -> str:
    r"""The file's text; lines end in ``\n``. ``path`` has no symbolic links in it.

    Nothing but a regular file is ever opened: to open a pipe or a device can
    wait for ever, or do something.

    Raises:
        UnusableFileError: It isn't text in an encoding that can be told.
        OSError: The system won't give it.
    """
    _refuse_special(os.stat(path))  # noqa: PTH116 -- str paths, here and below
    if suffix not in SUFFIXES:
        what = f"not a text format: {suffix}" if suffix else "no file name ending"
        raise UnusableFileError("format", f"{what} ({KNOWN})")
    text = _decode(_read(path, max_bytes))  # of which nothing else is kept
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFileError("not_a_file", "a pipe, socket or device: not opened")


def _read(path: str, max_bytes: int) -> bytes:
    # Without waiting, and looked at once more: a pipe may have taken its place.
    with open(os.open(path, _FLAGS), "rb") as file:  # noqa: PTH123
        before = os.fstat(file.fileno())
        _refuse_special(before)
        data = b""
        if before.st_size <= max_bytes:
            data = file.read(max_bytes + 1) or b""  # of /proc it may be None
        after = os.fstat(file.fileno())
    size = max(before.st_size, len(data))
    if size > max_bytes:
        mebibytes, limit = size / 2**20, max_bytes / 2**20
        raise UnusableFileError(
            "too_large", f"{mebibytes:.4g} MiB are more than {limit:.4g}: max_bytes"
        )
    if len(data) < before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise UnusableFileError("unreadable", "it changed while it was read: run again")
    if not data:
        raise UnusableFileError("empty", "it is empty")
    return data


def _decode(data: bytes) -> str:
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if not mark and b"\0" in data:
            raise _binary() from None
        offset = error.start + len(mark)
        raise UnusableFileError(
            "encoding",
            f"byte {offset} (0x{data[offset]:02x}) is not {encoding.upper()}: "
            "save it as UTF-8",
        ) from None
    if "\0" in text:
        raise _binary()
    return text


def _binary() -> UnusableFileError:
    return UnusableFileError("binary", "binary: there are NUL characters in it")
