"""`Files`: the documents of files and folders, read when a pipeline gets to them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from spanrun import checks
from spanrun.ingest.documents import (
    MAX_BYTES,
    Document,
    Skipped,
    StrPath,
    documents_below,
)


class Files:
    """The documents of files and folders, for `Pipeline.arun`.

    A pipeline reads them one by one, in a thread, when it gets to them: however many
    there are, only those that it works on are in memory. Before, it has read each file
    once, and kept its hash: so it is known how much there is to do, and what hasn't
    changed is left alone. `read_documents` says which files are read.

    The files are looked through once; make another one to look again.

    Args:
        paths: Files and folders.
        max_bytes: Larger files are skipped.
        follow_links: Read what symbolic links in folders lead to.
    """

    def __init__(
        self,
        paths: Iterable[StrPath] | StrPath,
        *,
        max_bytes: int = MAX_BYTES,
        follow_links: bool = False,
    ) -> None:
        listed = [paths] if isinstance(paths, str | os.PathLike) else paths
        self._paths: Final = checks.each("Files", "paths", listed, "paths")
        for path in self._paths:
            if not isinstance(path, str | os.PathLike):
                raise checks.wrong("Files", "paths", path, "must be paths")
        self._max_bytes: Final = checks.whole("Files", "max_bytes", max_bytes, 0)
        self._follow_links: Final = checks.flag("Files", "follow_links", follow_links)
        self._skipped: Final[list[Skipped]] = []
        self._hashes: dict[str, str] | None = None

    def look(self) -> Mapping[str, str]:
        """The content hash of each document, by its id. Blocks for the first time."""
        if self._hashes is None:
            hashes: dict[str, str] = {}
            for each in self._read(None):
                if isinstance(each, Document):
                    hashes[each.id] = each.content_hash
                else:
                    self._skipped.append(each)
            self._hashes = hashes
        return self._hashes

    @property
    def skipped(self) -> list[Skipped]:
        """The paths that gave no document, and why. Blocks as `look` does."""
        self.look()
        return self._skipped

    def __len__(self) -> int:
        return len(self.look())

    def __iter__(self) -> Iterator[Document]:
        """The documents as they are now, each read when it is asked for."""
        return self.only(None)

    def only(self, ids: Collection[str] | None) -> Iterator[Document]:
        """Those with the ``ids``, or all; no other file is read."""
        for each in self._read(ids):
            if isinstance(each, Document):
                yield each

    def _read(self, ids: Collection[str] | None) -> Iterator[Document | Skipped]:
        return documents_below(
            self._paths, self._max_bytes, follow_links=self._follow_links, ids=ids
        )
