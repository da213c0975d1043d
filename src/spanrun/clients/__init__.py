"""Clients of services. Each call passes through a runner; none retries by itself.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.clients._model_client import ClientOptions
    from spanrun.clients.chat import Chat, ChatAnswer, Message
    from spanrun.clients.embeddings import Embeddings
    from spanrun.clients.http import transient
    from spanrun.clients.solr import AsyncSolrClient, MaybeStored
    from spanrun.clients.solr_responses import (
        SolrResponseHeader,
        SolrSelectResponse,
        SolrSelectResponseBody,
        SolrUpdateResponse,
    )
    from spanrun.clients.solr_schema import SolrSchema
    from spanrun.clients.transport import Transport
    from spanrun.clients.vectors import similarity
else:
    __getattr__, __dir__ = lazy.names(
        __name__,
        {
            "_model_client": ("ClientOptions",),
            "chat": ("Chat", "ChatAnswer", "Message"),
            "embeddings": ("Embeddings",),
            "http": ("transient",),
            "solr": ("AsyncSolrClient", "MaybeStored"),
            "solr_responses": (
                "SolrResponseHeader",
                "SolrSelectResponseBody",
                "SolrSelectResponse",
                "SolrUpdateResponse",
            ),
            "solr_schema": ("SolrSchema",),
            "transport": ("Transport",),
            "vectors": ("similarity",),
        },
    )

__all__ = [
    "AsyncSolrClient",
    "Chat",
    "ChatAnswer",
    "ClientOptions",
    "Embeddings",
    "MaybeStored",
    "Message",
    "SolrResponseHeader",
    "SolrSchema",
    "SolrSelectResponse",
    "SolrSelectResponseBody",
    "SolrUpdateResponse",
    "Transport",
    "similarity",
    "transient",
]
