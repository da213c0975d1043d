"""Where documents are kept and searched: `VectorStore` and what is behind it.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanrun import lazy

if TYPE_CHECKING:
    from spanrun.stores.base import Chunk, Hit, VectorStore
    from spanrun.stores.fusion import fuse
    from spanrun.stores.solr import SolrStore
    from spanrun.stores.sqlite import SqliteStore
else:
    __getattr__, __dir__ = lazy.names(
        __name__,
        {
            "base": ("Chunk", "Hit", "VectorStore"),
            "fusion": ("fuse",),
            "solr": ("SolrStore",),
            "sqlite": ("SqliteStore",),
        },
    )

__all__ = [
    "Chunk",
    "Hit",
    "SolrStore",
    "SqliteStore",
    "VectorStore",
    "fuse",
]
