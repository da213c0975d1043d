"""`EmbeddingServer`: an OpenAI-compatible service on loopback, slow and fallible."""

from __future__ import annotations

from typing import Self, Unpack

from spanrun.checks import function, optional
from spanrun.ingest import local_model
from spanrun.testing._embedding_api import PATH, EmbedCounted, respond
from spanrun.testing._faults import Fault
from spanrun.testing._http import Answer
from spanrun.testing._model_server import ModelServer, ServerOptions, Stats

__all__ = ["EmbeddingServer", "Stats"]


class EmbeddingServer(ModelServer):
    """Serves ``POST /v1/embeddings`` and ``GET /healthz`` with real vectors.

    A context manager: inside, a thread serves at `url`; afterwards neither the
    thread nor a socket is left, whatever its clients are doing. The vectors are
    those of `LocalEmbedder`; errors, usage and base64 are as OpenAI has them.

    An answer takes ``latency``, 0.2 ms for each text, and a log-normal share whose
    mean is ``jitter`` (its tail makes the p99). A drawn share of the requests fails
    at once, as real services do: 429 with ``Retry-After``, and 503.

    Args:
        embed: Makes the vectors and counts the tokens, in place of the model.
        latency: Seconds that an answer takes at least; 0.02 by default.
        jitter: Seconds more, in the mean; 0.01 by default.
        rate_limited: The share of requests answered with 429, 0 to 1; 0.05 by default.
        unavailable: The share answered with 503; 0.03 by default.
        retry_after: Seconds in the header of a 429; 0.2 by default.
        seed: The same seed draws the same failures in the same order.
        token: Require this bearer token; else 401.
        poison: A request with this in one of its texts is always answered with 400.

    Example:
        >>> import httpx
        >>> with EmbeddingServer(rate_limited=0, unavailable=0) as server:
        ...     body = {"model": server.model, "input": ["one", "two"]}
        ...     answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
        >>> [len(item["embedding"]) for item in answer.json()["data"]]
        [256, 256]
    """

    def __init__(
        self, *, embed: EmbedCounted | None = None, **options: Unpack[ServerOptions]
    ) -> None:
        super().__init__(PATH, options)
        self.model = local_model.NAME
        optional(function)("EmbeddingServer", "embed", embed, plain=True)
        self._embed = embed or local_model.embed_counted
        self._load = None if embed else local_model.load

    def __enter__(self) -> Self:
        if self._load is not None:
            self._load()  # not in the first request's latency
        return super().__enter__()

    def answer(self, body: bytes, fault: Fault | None) -> tuple[Answer, int]:
        """The vectors for the texts in ``body``."""
        return respond(self._embed, body, self._poison, fault)
