"""From files to a store and back: read, split, describe, embed, store, retrieve.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.ingest.chat_extract import ChatSummary, ChatTitle
    from spanrun.ingest.documents import (
        Document,
        Skipped,
        content_hash,
        read_documents,
        topics,
    )
    from spanrun.ingest.embedder import Embedder, LocalEmbedder
    from spanrun.ingest.files import Files
    from spanrun.ingest.pipeline import Pipeline, Report
    from spanrun.ingest.retrieval import (
        Answer,
        QueryEmbedder,
        Retrieved,
        aquery,
        aretrieve,
        retrieve,
    )
    from spanrun.ingest.stages import (
        Embed,
        Failure,
        Split,
        Store,
        Summary,
        Title,
        parallel,
    )
else:
    __getattr__, __dir__ = lazy.names(
        __name__,
        {
            "chat_extract": ("ChatSummary", "ChatTitle"),
            "documents": (
                "Document",
                "Skipped",
                "content_hash",
                "read_documents",
                "topics",
            ),
            "embedder": ("Embedder", "LocalEmbedder"),
            "files": ("Files",),
            "pipeline": ("Pipeline", "Report"),
            "retrieval": (
                "Answer",
                "QueryEmbedder",
                "Retrieved",
                "aquery",
                "aretrieve",
                "retrieve",
            ),
            "stages": (
                "Embed",
                "Failure",
                "Split",
                "Store",
                "Summary",
                "Title",
                "parallel",
            ),
        },
    )

__all__ = [
    "Answer",
    "ChatSummary",
    "ChatTitle",
    "Document",
    "Embed",
    "Embedder",
    "Failure",
    "Files",
    "LocalEmbedder",
    "Pipeline",
    "QueryEmbedder",
    "Report",
    "Retrieved",
    "Skipped",
    "Split",
    "Store",
    "Summary",
    "Title",
    "aquery",
    "aretrieve",
    "content_hash",
    "parallel",
    "read_documents",
    "retrieve",
    "topics",
]
