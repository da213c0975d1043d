"""`read_documents`: files and folders in, documents and the reasons for none out."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from spanrun import checks
from spanrun.filenames import local_name, unicode_name
from spanrun.ingest._file import HTML, KNOWN, SkippedKind, UnusableFileError, read_text
from spanrun.ingest._front_matter import split_front_matter
from spanrun.ingest._html import html_text
from spanrun.stores.base import Chunk

StrPath: TypeAlias = str | os.PathLike[str]

MAX_BYTES = 16 * 2**20
_UNPRINTABLE = "\\udc"
"""Begins a byte that was spelt out: the id isn't the path then."""


@dataclass(frozen=True, slots=True)
class Document:
    r"""A text to ingest, and what the stages have found out about it.

    Attributes:
        id: The same from run to run. For a file: its absolute path with symbolic
            links resolved, so that one file is one document however it was named
            and from whichever folder. (A path relative to what the user named
            would differ between ``ingest docs`` and ``ingest docs/a.md``, and
            store the file twice.) It is the same in every locale, too. The price: a
            moved file is a new document.
        text: Lines end in ``\n``; there is at least one character to see.
        source: Where a person finds it: the path as it was named.
        content_hash: Of the text alone, see `content_hash`.
        title: What it is called, where that is known.
        summary: What it says, where that is known.
        chunks: Its parts, in order, once it was split.
    """

    id: str
    text: str
    source: str
    content_hash: str
    title: str | None = None
    summary: str | None = None
    chunks: tuple[Chunk, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that gave no document.

    Attributes:
        source: The path.
        reason: One line for a person: what is wrong, with the value.
        kind: The same for a program. ``"missing"`` is the user's mistake: a path
            that was named and isn't there. The others are what folders are full of.
    """

    source: str
    reason: str
    kind: SkippedKind


def content_hash(text: str) -> str:
    """32 hexadecimal digits (BLAKE2b) which differ when the text does."""
    checks.text("content_hash", "text", text, empty=True)
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def topics() -> list[Document]:
    """The chapters of the language reference that every Python carries, by name."""
    from pydoc_data.topics import topics as texts  # noqa: PLC0415 -- half a megabyte

    return [
        Document(
            id=f"pydoc:{name}",
            text=text,
            source=f"pydoc_data.topics:{name}",
            content_hash=content_hash(text),
        )
        for name, text in sorted(texts.items())
    ]


def read_documents(
    paths: Iterable[StrPath] | StrPath,
    *,
    max_bytes: int = MAX_BYTES,
    follow_links: bool = False,
) -> Iterator[Document | Skipped]:
    """Read files, and all files below folders: one result for each.

    Named paths are taken in the given order, what is in a folder by name. Read
    are ``.txt``, ``.md``, ``.rst``, ``.html`` and ``.htm``, in UTF-8, or in UTF-16
    or UTF-32 with a byte order mark. Front matter in YAML or TOML gives the title, and
    is no text. Left out without a word: hidden files and
    folders inside a folder, and a file that was read before under another name.
    Nothing but a regular file is opened, and of a folder nothing that is elsewhere: a
    symbolic link out of it is skipped, and so is one to a folder. A link that was
    named itself is followed.

    A file that can't be read costs that file: nothing is raised. The work is
    done while iterating, and it blocks: iterate in a thread.

    Args:
        paths: Files and folders.
        max_bytes: Larger files are skipped.
        follow_links: Read what symbolic links in folders lead to, wherever that is.
            A folder is read once, so links in a circle end.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(listed, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise checks.wrong("read_documents", "paths", paths, "must be paths")
    most = checks.whole("read_documents", "max_bytes", max_bytes, 0)
    checks.flag("read_documents", "follow_links", follow_links)
    return documents_below(listed, most, follow_links=follow_links)


def documents_below(
    paths: Iterable[StrPath],
    max_bytes: int,
    *,
    follow_links: bool,
    ids: Collection[str] | None = None,
) -> Iterator[Document | Skipped]:
    """`read_documents`, its arguments checked; of files with the ``ids`` alone."""
    seen: set[str] = set()
    for path in paths:
        if not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise checks.wrong("read_documents", "paths", path, "must be paths")
        root = os.fspath(path)
        barren = os.path.isdir(root)  # noqa: PTH112 -- Path("") is Path(".")
        for result in _walk(root, max_bytes, ids, follow_links=follow_links):
            if isinstance(result, Skipped):
                barren = barren and result.source != _printable(root)
            else:
                barren = False
                if result.id in seen:
                    continue
                seen.add(result.id)
            yield result
        if barren:
            yield _skipped(root, "no_documents", f"no documents in it: {KNOWN}")


def gone(document_ids: Iterable[str], paths: Iterable[StrPath]) -> list[str]:
    """The ids of files that lay below the folders in ``paths`` and are not there now.

    A path that is no folder, as where a disk isn't mounted, tells nothing.
    """
    roots = [
        _printable(os.path.join(os.path.realpath(path), ""))  # noqa: PTH118 -- ends in a slash
        for path in paths
        if os.path.isdir(path)  # noqa: PTH112
    ]
    return [
        document_id
        for document_id in document_ids
        if any(document_id.startswith(root) for root in roots)
        and _UNPRINTABLE not in document_id
        and not os.path.lexists(local_name(document_id))
    ]


def _walk(
    root: str, max_bytes: int, ids: Collection[str] | None, *, follow_links: bool
) -> Iterator[Document | Skipped]:
    """Depth first, by name, without recursion: a tree may be deeper than the stack."""
    pending = [root]
    within = ""
    entered: set[tuple[int, int]] = set()
    while pending:
        path = pending.pop()
        try:
            status = os.stat(path)  # noqa: PTH116
            folder = status.st_dev, status.st_ino
            if path is root and not follow_links:
                within = os.path.realpath(root)
            if not stat.S_ISDIR(status.st_mode):
                if ids is None or _printable(os.path.realpath(path)) in ids:
                    yield _document(path, max_bytes, within)
            elif within and path is not root and os.path.islink(path):  # noqa: PTH114
                reason = "a symbolic link to a folder: name that folder to read it"
                yield _skipped(path, "not_a_file", reason)
            elif folder not in entered:
                entered.add(folder)
                pending += [
                    os.path.join(path, name)  # noqa: PTH118
                    for name in _by_name(os.listdir(path))  # noqa: PTH208
                    if not name.startswith(".")
                ]
        except UnusableFileError as error:
            yield _skipped(path, error.kind, str(error))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            yield _failed(path, error, named=path is root)


def _document(path: str, max_bytes: int, within: str) -> Document:
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    real = os.path.realpath(path)
    folder = os.path.join(within, "")  # noqa: PTH118 -- ends in a slash
    if within and real != within and not real.startswith(folder):
        reason = "a symbolic link out of the folder: follow_links would read it"
        raise UnusableFileError("link", reason)
    text = read_text(real, suffix, max_bytes)
    title = None
    if suffix != ".rst":  # where a title may stand between two such lines
        title, text = split_front_matter(text)
    if suffix in HTML:
        named, text = html_text(text)
        title = title or named
    if not text.strip():
        raise UnusableFileError("empty", "there is no text in it")
    return Document(
        id=_printable(real),
        text=text,
        source=_printable(path),
        content_hash=content_hash(text),
        title=title,
    )


def _failed(path: str, error: Exception, *, named: bool) -> Skipped:
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        if named:
            return _skipped(path, "missing", "there is no such file or folder")
        if os.path.islink(path):  # noqa: PTH114
            return _skipped(path, "unreadable", "a symbolic link that leads nowhere")
        return _skipped(path, "unreadable", "it vanished while the folder was read")
    why = getattr(error, "strerror", None) or str(error)
    return _skipped(path, "unreadable", f"can't be read: {why.lower()}")


def _skipped(path: str, kind: SkippedKind, reason: str) -> Skipped:
    return Skipped(_printable(path), reason, kind)


def _by_name(names: Iterable[str]) -> list[str]:
    """The last first, in an order that no locale changes."""
    return sorted(names, key=os.fsencode, reverse=True)


def _printable(path: str) -> str:
    r"""The path; a byte of it that is no UTF-8 as ``\udcff``, spelt out."""
    return unicode_name(path).encode("utf-8", "backslashreplace").decode()
