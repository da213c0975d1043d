"""Which documents of a run have to be done, and what a run has done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from spanrun import checks
from spanrun.errors import ConfigurationError
from spanrun.ingest._flow import Setting
from spanrun.ingest._in_flight import Failure
from spanrun.ingest.documents import Document
from spanrun.ingest.files import Files
from spanrun.runner.groups import aclose
from spanrun.runner.run import MAX_CHILDREN

Documents: TypeAlias = Files | Iterable[Document] | AsyncIterable[Document]


@dataclass(slots=True)
class Report:
    """What a pipeline did.

    Attributes:
        stored: Documents that went through.
        unchanged: Documents that had been through before, as they are.
        chunks: Chunks of the stored documents.
        pruned: Documents that were removed from the store, by who asked for that.
        failures: Documents that did not get through, and why.
        seconds: How long it took.
        trace_id: The trace of the run; 0 without telemetry.
    """

    stored: int = 0
    unchanged: int = 0
    chunks: int = 0
    pruned: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    seconds: float = 0.0
    trace_id: int = 0


async def new_documents(
    documents: Documents, setting: Setting, report: Report
) -> AsyncIterator[Document]:
    """Those that have to be done; the setting learns how many, if that is known."""
    new = _New(setting, report)
    setting.trace = "linked"
    if isinstance(documents, Files):
        return await new.files(documents)
    if isinstance(documents, AsyncIterable):
        return new.awaited(documents)
    if not isinstance(documents, Collection):
        return _each(filter(new.is_new, documents))
    listed = [document for document in documents if new.is_new(document)]
    new.known(len(listed))
    return _each(listed)


class _New:
    """Tells the documents that have to be done from the others, and counts these."""

    def __init__(self, setting: Setting, report: Report) -> None:
        self._setting: Final = setting
        self._report: Final = report
        self._seen: Final[dict[str, str]] = {}

    def known(self, total: int) -> None:
        """So many have to be done."""
        self._setting.total = total
        self._setting.trace = "child" if total <= MAX_CHILDREN else "linked"

    def is_new(self, document: Document) -> bool:
        """Whether it has to be done; each id only once."""
        if not isinstance(document, Document):  # pyright: ignore[reportUnnecessaryIsInstance]
            hint = "must be documents: leave out what read_documents has Skipped"
            raise checks.wrong("arun", "documents", document, hint)
        seen = self._seen.get(document.id)
        if seen is None:
            self._seen[document.id] = document.content_hash
            return self._is_new(document.id, document.content_hash)
        if seen != document.content_hash:
            error = ConfigurationError(
                f"a second document has the id {document.id!r}, with another text"
            )
            self._report.failures.append(Failure(document.id, "", error))
        else:
            self._report.unchanged += 1
        return False

    def _is_new(self, document_id: str, content_hash: str) -> bool:
        if not self._setting.is_stored(document_id, content_hash):
            return True
        self._report.unchanged += 1
        return False

    async def awaited(
        self, documents: AsyncIterable[Document]
    ) -> AsyncIterator[Document]:
        source = aiter(documents)
        try:
            async for document in source:
                if self.is_new(document):
                    yield document
        finally:
            await aclose(source)

    async def files(self, files: Files) -> AsyncIterator[Document]:
        hashes = await asyncio.to_thread(files.look)
        new = {each for each, told in hashes.items() if self._is_new(each, told)}
        self.known(len(new))
        return self._read(files, new)

    async def _read(self, files: Files, new: set[str]) -> AsyncIterator[Document]:
        """One by one, in a thread."""
        documents = files.only(frozenset(new))
        while document := await asyncio.to_thread(next, documents, None):
            new.discard(document.id)
            yield document
            del document  # not kept while the next one is read
        for document_id in sorted(new):
            error = FileNotFoundError("it was there, and can't be read now: run again")
            self._report.failures.append(Failure(document_id, "", error))


async def _each(documents: Iterable[Document]) -> AsyncIterator[Document]:
    for document in documents:
        yield document
