"""`Embeddings`: vectors from any endpoint that speaks OpenAI's embeddings API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, cast

import httpx

from spanrun import semconv
from spanrun.clients.http import HttpClient, transient
from spanrun.errors import ConfigurationError, EmbeddingError
from spanrun.policies.limit import Limit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner.runner import Runner
from spanrun.telemetry import setup
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.unit import CallUnit

Vector = list[float]


class Embeddings:
    """Vectors of texts, from ``POST {base_url}/embeddings``.

    Every request is a job of `runner`, which has the limit, the retries and
    the timeout; open the client with ``async with``, which opens the runner.

    Args:
        base_url: As OpenAI's clients take it, with ``/v1``.
        model: The model's name.
        api_key: Sent as a bearer token. Never in telemetry.
        batch: Texts in one request.
        limit: Requests at once.
        retry: Which errors are worth another attempt.
        timeout: For one attempt and for a request in all.
        observers: Told of every request.
        transport: For tests.

    Raises:
        ConfigurationError: At once, for a value that can't work.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str | None = None,
        batch: int = 64,
        limit: int | Limit = 8,
        retry: Retry | None = None,
        timeout: Timeout | None = None,
        observers: Sequence[Observer] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not model:
            raise ConfigurationError("Embeddings(model=''): name the model")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.model: Final = model
        self.batch: Final = batch
        self._http: Final = HttpClient(
            base_url, headers=headers, error=EmbeddingError, transport=transport
        )
        self.runner: Final = Runner(
            "embed",
            limit=limit,
            retry=retry or Retry(on=transient, attempts=5, base=0.1, cap=5.0),
            timeout=timeout or Timeout(attempt=30, total=120),
            observers=observers,
        )

    async def __aenter__(self) -> Embeddings:
        await self.runner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.runner.__aexit__(kind, error, trace)
        finally:
            await self._http.aclose()

    async def aget_text_embedding_batch(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, in order; ``[]`` gives ``[]``.

        Raises:
            EmbeddingError: The endpoint refused, or gave unusable vectors.
            httpx.TransportError: It could not be reached.
            DeadlineExceeded: Its time was up.
        """
        return await self.runner.map_batches(self.embed, list(texts), size=self.batch)

    async def aget_query_embedding(self, query: str) -> Vector:
        """The vector of one text. Raises what `aget_text_embedding_batch` does."""
        return (await self.runner.call(self.embed, [query]))[0]

    async def embed(self, texts: list[str]) -> list[Vector]:
        """One request: what the jobs of `runner` do.

        Raises:
            EmbeddingError: The endpoint refused, or gave unusable vectors.
            httpx.TransportError: It could not be reached.
        """
        call = CallUnit(
            setup.recorder_or_off(),
            f"embeddings {self.model}",
            semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION,
            {
                semconv.GEN_AI_OPERATION_NAME: "embeddings",
                semconv.GEN_AI_PROVIDER_NAME: "openai",
                semconv.GEN_AI_REQUEST_MODEL: self.model,
                semconv.GEN_AI_REQUEST_ENCODING_FORMATS: ("float",),
                **self._http.server,
            },
        )
        with call:
            answer = await self._http.post(
                "/embeddings",
                {"model": self.model, "input": texts, "encoding_format": "float"},
            )
            vectors = _vectors(answer, len(texts))
            self._usage(call, answer)
        return vectors

    @staticmethod
    def _usage(call: CallUnit, answer: dict[str, Any]) -> None:
        usage = cast("Any", answer.get("usage"))
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and tokens >= 0:
            call.set(semconv.GEN_AI_USAGE_INPUT_TOKENS, tokens)
            call.record(
                semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE,
                tokens,
                **{semconv.GEN_AI_TOKEN_TYPE: "input"},
            )
        if isinstance(model := answer.get("model"), str):
            call.set(semconv.GEN_AI_RESPONSE_MODEL, model)


def _vectors(answer: Any, count: int) -> list[Vector]:
    """The vectors of an answer, in the order of the texts, each one checked."""
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise EmbeddingError("the answer has no list named 'data'")
    rows = cast("list[Any]", rows)
    if len(rows) != count:
        raise EmbeddingError(f"the answer has {len(rows)} vectors for {count} texts")
    found: dict[int, Vector] = {}
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise EmbeddingError(f"data[{place}] of the answer is no object")
        index = cast("dict[str, Any]", row).get("index", place)
        if not isinstance(index, int) or not 0 <= index < count or index in found:
            raise EmbeddingError(f"data[{place}].index={index!r}: not one of 0…{count}")
        found[index] = _vector(cast("dict[str, Any]", row).get("embedding"), place)
    lengths = {len(vector) for vector in found.values()}
    if len(lengths) > 1:
        raise EmbeddingError(f"the answer's vectors differ in length: {lengths}")
    return [found[index] for index in range(count)]


def _vector(value: Any, place: int) -> Vector:
    if not isinstance(value, list) or not value:
        raise EmbeddingError(f"data[{place}].embedding is no list of numbers")
    numbers = cast("list[Any]", value)
    for number in numbers:
        if type(number) not in (float, int) or not math.isfinite(number):
            raise EmbeddingError(f"data[{place}].embedding has {number!r} in it")
    return [float(number) for number in numbers]
