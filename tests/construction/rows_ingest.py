"""What is refused by ingest, the stores and the sandbox."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from tests.construction.rows_runner import POLICIES
from tests.construction.subjects import SOLR, THING
from tests.construction.values import (
    ABOVE_0,
    ANY_TEXT,
    AT_LEAST_0,
    FLAG,
    LIST,
    MAPPING,
    OBSERVERS,
    PLAIN,
    TEXT,
    WHOLE,
    WHOLE_ABOVE_0,
    Coroutine,
    Kind,
    Wrong,
    inside,
    only,
    optional,
    refused,
)

from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.ingest.stages import Embed, Split, Store, Title, parallel
from spanrun.stores.sqlite import SqliteStore

RETRIEVE: Final = {
    "stores": Kind((1, None, [THING], {}, Wrong({"a": 1}, "1")), ({"a": THING},)),
    "k": WHOLE_ABOVE_0,
    "embedder": Kind((1, "m", Embeddings), (None, THING)),
    "store_timeout": ABOVE_0,
    "where": Kind((1, "a:b", ["a"]), (None, {})),
}
LIMITS: Final = {
    "seconds": ABOVE_0,
    "memory": Kind(("3", None, True, 2.5, 1, math.nan), (2**23, np.int64(2**23))),
    "recursion": WHOLE_ABOVE_0,
    "output": WHOLE,
    "sleep": AT_LEAST_0,
    "imports": Kind((None, 1, "math", inside(1)), ((), {"math"}, ["math"])),
    "on_print": PLAIN,
}
CODE: Final = {
    "source": Kind((1, None, ["1"], len), ("1", b"1")),
    "globals": optional(MAPPING),
    "locals": optional(MAPPING),
    **{name: refused(kind) for name, kind in LIMITS.items()},
}
UPSERT: Final = {
    "document_id": refused(ANY_TEXT),
    "content_hash": refused(ANY_TEXT),
    "source": refused(ANY_TEXT),
    "title": refused(optional(ANY_TEXT)),
    "summary": refused(optional(ANY_TEXT)),
    "chunks": only(1, None, "x", inside(1)),
}
STORED: Final = {
    "delete": {"document_ids": only(1, None, inside(1))},
    "search": {
        "vector": only(1, None, "12"),
        "text": refused(ANY_TEXT),
        "k": refused(WHOLE_ABOVE_0),
        "where": only(1, "a:b", ["a"]),
    },
    "upsert": UPSERT,
}
STAGES: Final = Kind(
    (
        1,
        None,
        "x",
        Split(),
        inside(1),
        inside(None),
        inside(len),
        inside(Split),
    ),
    ([], [Split(), Title(), Embed(THING), Store(THING)], (parallel(Title()),)),
)
ARUN: Final = {
    "documents": Kind((1, None, "docs", Coroutine(), inside("text")), ([], ())),
    "num_workers": Kind(("3", None, True, 2.5, 0, -1, [3]), (3, np.int64(3), {})),
    "show_progress": Kind(FLAG.wrong, (False,)),
    "observers": OBSERVERS,
}

ROWS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "ChatSummary": {
        "chat": Kind((1, None, "m", Chat), (THING,)),
        "sentences": WHOLE_ABOVE_0,
        "characters": WHOLE_ABOVE_0,
    },
    "open": {"path": only(1, None, b"x")},
    "waits": {"spans": LIST},
    "Recording.events": {"session": refused(ANY_TEXT), "run": refused(ANY_TEXT)},
    "Recording.find": {"name": refused(ANY_TEXT)},
    "Recording.jobs": {"session": refused(ANY_TEXT), "run": refused(ANY_TEXT)},
    "Recording.logs": {"session": refused(ANY_TEXT), "trace_id": refused(ANY_TEXT)},
    "Recording.requests": {"session": refused(ANY_TEXT)},
    "Recording.runs": {"session": refused(ANY_TEXT)},
    "Recording.session": {"name": refused(ANY_TEXT)},
    "Recording.spans": {"session": refused(ANY_TEXT)},
    "Recording.trace": {"trace_id": refused(ANY_TEXT)},
    "Recording.traces": {"session": refused(ANY_TEXT)},
    "ChatTitle": {
        "chat": Kind((1, None, "m", Chat), (THING,)),
        "characters": WHOLE_ABOVE_0,
    },
    "read_documents": {
        "paths": Kind((1, None, inside(1)), ([], "no-such-file")),
        "max_bytes": WHOLE,
        "follow_links": FLAG,
    },
    "Files": {
        "paths": Kind((1, None, inside(1)), ([], "no-such-file")),
        "max_bytes": WHOLE,
        "follow_links": FLAG,
    },
    "LocalEmbedder": {"limit": POLICIES["limit"], "observers": OBSERVERS},
    "Pipeline": {"stages": STAGES, "name": TEXT},
    "Pipeline.arun": ARUN,
    "Pipeline.run": ARUN,
    "Embed": {
        "embedder": Kind((1, None, "m", Embeddings), (THING,)),
        "max_wait": ABOVE_0,
    },
    "Split": {
        "size": Kind(WHOLE_ABOVE_0.wrong, (41, np.int64(200))),
        "overlap": Kind((*WHOLE.wrong, 200), (1, np.int64(3))),
        "count": PLAIN,
    },
    "Store": {
        "store": Kind((1, None, "a.db", SqliteStore), (THING,)),
        "name": TEXT,
    },
    "parallel": {
        "transforms": only(inside(1), inside(None), inside(len), inside(Title)),
        "name": TEXT,
    },
    "aquery": {
        "query": refused(ANY_TEXT),
        "chat": Kind((1, "m", Chat), (None, THING)),
        **RETRIEVE,
    },
    "aretrieve": {"queries": Kind((1, None, "q", inside(1)), ([], ["q"])), **RETRIEVE},
    "retrieve": {"queries": Kind((1, None, "q", inside(1)), ([], ["q"])), **RETRIEVE},
    "Limits": LIMITS,
    "asafe_eval": CODE,
    "asafe_exec": CODE,
    "safe_eval": CODE,
    "safe_exec": CODE,
    "content_hash": {"text": ANY_TEXT},
    "load": {"paths": Kind((1, None, "a.yaml", inside("a.yaml")), ([],))},
    "parse": {"text": refused(ANY_TEXT), "source": refused(TEXT)},
    "fuse": {"rankings": Kind((1, None, "x", inside(1)), ([], [["a"], {"b": 1}]))},
    "SqliteStore": {
        "path": Kind((1, None, b"x"), ("never.db",)),
        "dimension": WHOLE_ABOVE_0 | only(8193),
        "model": TEXT,
    },
    "SolrStore": {
        "client": Kind((1, None, SOLR, AsyncSolrClient), (THING,)),
        "dimension": WHOLE_ABOVE_0 | only(4097),
        "model": TEXT,
        "text": TEXT,
        "title": TEXT,
        "vector": TEXT,
    },
    **{
        f"{store}.{method}": rows
        for store in ("SqliteStore", "SolrStore")
        for method, rows in STORED.items()
    },
}
