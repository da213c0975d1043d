"""What is refused by the clients."""

import math
import ssl
from collections.abc import Mapping
from typing import Final

import httpx
import numpy as np
from tests.construction.rows_runner import POLICIES
from tests.construction.values import (
    ABOVE_0,
    ANY_TEXT,
    AT_LEAST_0,
    CLOCK,
    FLAG,
    MAPPING,
    OBSERVERS,
    TEXT,
    WHOLE,
    WHOLE_ABOVE_0,
    Kind,
    Wrong,
    inside,
    only,
    optional,
    refused,
    unseen,
)

from spanrun.clients import Transport

NAMES_OF_FIELDS: Final = Kind((1, None, "", "a", [], {}, inside(3)))
VECTOR: Final = Kind((1, None, "12", [], [math.nan], ["x"], [None]))
WHERE: Final = Kind((1, "a:b", ["a"], Wrong({"a": 5}, "5")))
CLIENT: Final = {
    "base_url": Kind((1, None, "", "localhost", "ftp://host", "http://")),
    "model": TEXT,
    "api_key": Kind((unseen(17), unseen(b"key"), unseen(["key"])), (None, "key")),
    "name": TEXT,
    "provider": TEXT,
    "headers": Kind(
        (
            unseen("Bearer key"),
            unseen(17),
            unseen(["key"]),
            unseen({"a": 17}),
            unseen({"a": "ü"}),
        ),
        ({}, {"a": "b"}),
    ),
    **POLICIES,
    "max_bytes": WHOLE_ABOVE_0,
    "http2": FLAG,
    "tls": Kind((True, "ca.pem", ssl.SSLContext), (None, ssl.create_default_context())),
    "transport": Kind(
        (1, "x", httpx.MockTransport),
        (None, httpx.MockTransport(lambda _: httpx.Response(200))),
    ),
    "http_client": Kind(
        (1, "x", httpx.AsyncClient, httpx.Client()),
        (None, httpx.AsyncClient(transport=Transport())),
    ),
}
TEXTS: Final = only(1, None, "x", inside(1))

ROWS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "Embeddings": {
        **CLIENT,
        "dimension": optional(WHOLE_ABOVE_0),
        "batch": WHOLE_ABOVE_0,
        "encoding": Kind(("x", None, 1), ("float", "base64")),
        "text_fields": optional(MAPPING),
        "query_fields": optional(MAPPING),
    },
    "Embeddings.heroku": {
        **CLIENT,
        "base_url": only(unseen(1), Wrong("localhost", "localhost")),
        "api_key": only(unseen(17), unseen(b"key")),
        "model": only(unseen(1), unseen(b"x")),
        "model_name": only(1, b"x", "another"),
        "dimension": optional(WHOLE_ABOVE_0),
        "batch": WHOLE_ABOVE_0,
        "embed_batch_size": optional(WHOLE_ABOVE_0),
    },
    "Embeddings.aget_query_embedding": {"query": refused(ANY_TEXT)},
    "Embeddings.aget_text_embedding": {"text": refused(ANY_TEXT)},
    "Embeddings.get_query_embedding": {"query": refused(ANY_TEXT)},
    "Embeddings.get_text_embedding": {"text": refused(ANY_TEXT)},
    "Embeddings.aget_text_embedding_batch": {
        "texts": TEXTS,
        "show_progress": refused(FLAG),
        "partial": refused(FLAG),
        "checkpoint": Kind(("run.checkpoint", 1, True), ()),
    },
    "Embeddings.get_text_embedding_batch": {
        "texts": TEXTS,
        "show_progress": refused(FLAG),
        "partial": refused(FLAG),
    },
    "Embeddings.similarity": {
        "a": only(unseen(1), unseen(None), unseen([]), unseen([math.nan])),
        "b": only(unseen(1), unseen(None), unseen([]), unseen([math.nan])),
        "mode": Kind(("x", None, 1), ("cosine", "dot_product", "euclidean")),
    },
    "Chat": {
        **CLIENT,
        "temperature": optional(
            Kind(("3", True, -0.1, 2.1, math.nan, math.inf), (0, 0.5, np.float32(2)))
        ),
        "max_tokens": optional(WHOLE_ABOVE_0),
        "fields": optional(MAPPING),
    },
    "Chat.achat": {"messages": only(1, None, [], unseen([1]), unseen([{"role": "x"}]))},
    "Chat.chat": {"messages": only(1, None, [], unseen([1]), unseen([{"role": "x"}]))},
    "Transport": {
        "http2": FLAG,
        "tls": CLIENT["tls"],
        "proxy": Kind(
            (1, Wrong("proxy:3128", "proxy:3128"), unseen("ftp://u:key@p:1")),
            (None, "http://p:3128", httpx.URL("http://p"), httpx.Proxy("http://p")),
        ),
        "trust_env": FLAG,
        "limits": Kind((1, httpx.Limits, {}), (None, httpx.Limits(max_connections=1))),
        "total": optional(ABOVE_0),
        "max_bytes": optional(WHOLE_ABOVE_0),
        "transport": CLIENT["transport"],
    },
    "AsyncSolrClient": {
        "base_url": Kind((1, None, "", "localhost", "http://host")),
        "request_timeout_sec": AT_LEAST_0,
        "headers": CLIENT["headers"],
        "limit": POLICIES["limit"],
        "retry": POLICIES["retry"],
        "observers": OBSERVERS,
        "clock": CLOCK,
    },
    "AsyncSolrClient.add": {"documents": only(1, None, "x", unseen([1]))},
    "AsyncSolrClient.commit": {"soft": refused(FLAG)},
    "AsyncSolrClient.delete_by_id": {"ids": only(1, None, "a", [])},
    "AsyncSolrClient.delete_by_query": {"query_string": only(1, None, "", " ")},
    "AsyncSolrClient.search": {"query_params": only(1, None, "q=a")},
    "AsyncSolrClient.search_text": {
        "text": refused(ANY_TEXT),
        "fields": NAMES_OF_FIELDS.without("a")
        | only("a", Wrong({"a": 0}, "0"), Wrong({"a": "x"}, "'x'")),
        "where": WHERE.without(None),
        "rows": refused(WHOLE),
    },
    "AsyncSolrClient.search_vector": {
        "vector": VECTOR,
        "field": refused(TEXT),
        "where": WHERE,
        "rows": refused(WHOLE_ABOVE_0),
    },
    "AsyncSolrClient.search_where": {"where": WHERE, "rows": refused(WHOLE)},
    "similarity": {
        "a": only(unseen(1), unseen(None), unseen([]), unseen([math.nan])),
        "b": only(unseen(1), unseen(None), unseen([]), unseen([math.nan])),
        "mode": Kind(("x", None, 1), ("cosine", "dot_product", "euclidean")),
    },
}
