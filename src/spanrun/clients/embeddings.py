"""`Embeddings`: vectors from any endpoint that speaks OpenAI's embeddings API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeGuard, cast

import httpx

from spanrun import semconv
from spanrun.clients.http import HttpClient, transient
from spanrun.clock import Clock
from spanrun.errors import ConfigurationError, EmbeddingError
from spanrun.policies.base import whole
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
        dimension: How many numbers a vector must have; without it, as many as the
            first one.
        batch: Texts in one request.
        limit: Requests at once.
        retry: Which errors are worth another attempt.
        timeout: For one attempt and for a request in all.
        observers: Told of every request.
        clock: What the requests' times are read from.
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
        dimension: int | None = None,
        batch: int = 64,
        limit: int | Limit = 8,
        retry: Retry | None = None,
        timeout: Timeout | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not model:
            raise ConfigurationError("Embeddings(model=''): name the model")
        whole("Embeddings", "batch", batch, 1)
        if dimension is not None:
            whole("Embeddings", "dimension", dimension, 1)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.model: Final = model
        self.batch: Final = batch
        self._dimension = dimension
        self._http: Final = HttpClient(
            base_url, headers=headers, error=EmbeddingError, transport=transport
        )
        self.runner: Final = Runner(
            "embed",
            limit=limit,
            retry=retry or Retry(on=transient, attempts=5, base=0.1, cap=5.0),
            timeout=timeout or Timeout(attempt=30, total=120),
            observers=observers,
            clock=clock,
        )

    @property
    def dimension(self) -> int | None:
        """How many numbers a vector has; None while nobody knows it."""
        return self._dimension

    async def __aenter__(self) -> Self:
        self._http.open()
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
            ConfigurationError: ``texts`` is one text.
            EmbeddingError: The endpoint refused, or gave unusable vectors.
            httpx.TransportError: It could not be reached.
            DeadlineExceeded: Its time was up.
        """
        if isinstance(texts, str):
            raise ConfigurationError(f"texts={texts[:20]!r}: must be a list of texts")
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
            self._check_dimension(len(vectors[0]))
            self._usage(call, answer)
        return vectors

    def _check_dimension(self, found: int) -> None:
        if self._dimension is None:
            self._dimension = found
        if found != self._dimension:
            raise EmbeddingError(
                f"the vectors of {self.model!r} have {found} numbers, not "
                f"{self._dimension} as those before: another model may answer there"
            )

    @staticmethod
    def _usage(call: CallUnit, answer: dict[str, Any]) -> None:
        tokens = _get(answer.get("usage"), "prompt_tokens")
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
    rows = _get(answer, "data")
    if not _is_list(rows):
        raise EmbeddingError("the answer has no list named 'data'")
    if len(rows) != count:
        raise EmbeddingError(f"the answer has {len(rows)} vectors for {count} texts")
    found: dict[int, Vector] = {}
    for place, row in enumerate(rows):
        index = _get(row, "index", place)
        if type(index) is not int or not 0 <= index < count or index in found:
            raise EmbeddingError(
                f"data[{place}] of the answer has index {index!r:.40}: must be 0 to "
                f"{count - 1}, each once"
            )
        found[index] = _vector(_get(row, "embedding"), place)
    lengths = {len(vector) for vector in found.values()}
    if len(lengths) > 1:
        raise EmbeddingError(f"the answer's vectors differ in length: {lengths}")
    return [found[index] for index in range(count)]


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _get(value: Any, key: str, default: Any = None) -> Any:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return fields.get(key, default)


def _vector(value: Any, place: int) -> Vector:
    """The numbers of one embedding. All zeros have no direction: near to nothing."""
    if not _is_list(value) or not value:
        raise EmbeddingError(f"data[{place}].embedding is no list of numbers")
    try:
        vector = [float(n) for n in value if type(n) in (float, int)]
    except OverflowError:  # a whole number with hundreds of digits
        vector = [math.inf]
    if len(vector) != len(value) or not all(map(math.isfinite, vector)):
        raise EmbeddingError(f"data[{place}].embedding: must be finite numbers")
    if not any(vector):
        raise EmbeddingError(f"data[{place}].embedding: must not be all zeros")
    return vector
