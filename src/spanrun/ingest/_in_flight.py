"""`InFlight`: how much text is on its way through a pipeline, and who must wait."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from spanrun.causes import causes
from spanrun.ingest.documents import Document
from spanrun.runner.groups import aclose

MOST: Final = 8 * 2**20
"""Bytes of text in flight from which on no further document is pulled."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that did not get through, and why."""

    document_id: str
    stage: str
    error: Exception


class InFlight:
    """The documents that were pulled from the source, and are not through yet.

    Stages hold each other back by the number of documents. What they hold of each
    one, its text, chunks and vectors, grows with the text: a few large documents in
    each stage would fill the memory. So the next one is pulled only when the texts of
    those in flight are smaller than `MOST`: one more than that at most is in memory.

    Args:
        failures: Gets each document's that failed on its way.
    """

    def __init__(self, failures: list[Failure]) -> None:
        self._failures: Final = failures
        self._sizes: Final[dict[str, int]] = {}
        self._total = 0
        self._held = 0
        self._room: Final = asyncio.Event()
        self._room.set()

    async def admitted(
        self, documents: AsyncIterator[Document]
    ) -> AsyncIterator[Document]:
        """The documents, each when there is room for it."""
        try:
            async for document in documents:
                size = sys.getsizeof(document.text)
                self._sizes[document.id] = size
                self._add(size)
                yield document
                del document  # or its text would be kept while the next one is read
                await self._room.wait()
        finally:
            await aclose(documents)

    def left(self, document_id: str) -> int:
        """A document is through, or failed. Returns how large it was."""
        size = self._sizes.pop(document_id, 0)
        self._add(-size)
        return size

    def renamed(self, before: str, after: str) -> None:
        """A stage has given a document another id."""
        self._sizes[after] = self._sizes.get(after, 0) + self._sizes.pop(before, 0)

    def failed(self, failure: Failure) -> None:
        """A document failed; its error won't hold it in memory.

        The frames of a traceback hold what the functions worked on. While that is
        little, it stays for who looks for the cause.
        """
        self._failures.append(failure)
        self._held += self.left(failure.document_id)
        if self._held <= MOST:
            return
        for error in causes(failure.error):
            error.with_traceback(None)

    def _add(self, size: int) -> None:
        self._total += size
        if self._total < MOST:
            self._room.set()
        else:
            self._room.clear()
