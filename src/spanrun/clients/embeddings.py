"""`Embeddings`: vectors from any endpoint that speaks OpenAI's embeddings API."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial as bound
from typing import Any, Final, Literal, Self, Unpack, cast, overload

from spanrun import checks, semconv
from spanrun.clients._model_client import ClientOptions, ModelClient, note_usage
from spanrun.clients.vectors import SimilarityMode, Vector, similarity, vectors
from spanrun.errors import ConfigurationError, EmbeddingError
from spanrun.outcome import Ok
from spanrun.policies.timeout import Timeout
from spanrun.runner.checkpoint.checkpoint import Checkpoint

__all__ = ["Embeddings", "Vector", "similarity"]

_TIMEOUT: Final = Timeout(attempt=30, total=120)


class Embeddings(ModelClient):
    """Vectors of texts, from ``POST {base_url}/embeddings``.

    Every request is a job of `runner`. Open the client with ``async with``; or use
    it at once and close it with `aclose`. Each method has a twin without the ``a``
    for code that isn't async, which works inside a running loop as well: each call
    of a twin has connections of its own.

    Args:
        base_url: As OpenAI's clients take it, with ``/v1``.
        model: The model's name.
        api_key: Sent as a bearer token. Never in telemetry.
        dimension: How many numbers a vector must have; without it, as many as the
            first one.
        batch: Texts in one request.
        encoding: How vectors travel. ``"base64"`` takes a third of the CPU here, and
            rounds to 32 bits; not every service knows it.
        text_fields: Sent as well in the requests for texts.
        query_fields: Sent as well in the requests for a query.
        options: See `ClientOptions`.

    Raises:
        ConfigurationError: At once, for a value that can't work.

    Attributes:
        batch: Texts in one request.
        embed_batch_size: The same, by LlamaIndex's name.
        model_name: The model's name, by LlamaIndex's name.
        base_url: Where requests go, with ``/v1``.
        api_key: As it was given; `repr` and telemetry don't have it.
        timeout: As it was given, or the default.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str | None = None,
        dimension: int | None = None,
        batch: int = 64,
        encoding: Literal["float", "base64"] = "float",
        text_fields: Mapping[str, Any] | None = None,
        query_fields: Mapping[str, Any] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(
            base_url,
            model=model,
            api_key=api_key,
            defaults=("embed", _TIMEOUT),
            error=EmbeddingError,
            options=options,
        )
        kind = "Embeddings"
        self.batch: Final = checks.whole(kind, "batch", batch, 1)
        self.embed_batch_size: Final = self.batch
        self.model_name: Final = model
        self.base_url: Final = base_url.rstrip("/")
        self.api_key: Final = api_key
        timeout = options.get("timeout")
        self.timeout: Final = _TIMEOUT if timeout is None else timeout
        dimension = checks.optional(checks.whole)(kind, "dimension", dimension, 1)
        checks.one_of(kind, "encoding", encoding, ("float", "base64"))
        for name, fields in (
            ("text_fields", text_fields),
            ("query_fields", query_fields),
        ):
            checks.optional(checks.mapping)(kind, name, fields, "names to values")
        self._space: Final = _Space(model, dimension)
        self._packed: Final = encoding == "base64"
        # "float" is what a service gives unasked, and not all know the word.
        common = {"encoding_format": encoding} if self._packed else {}
        self._text_fields: Final = {**common, **(text_fields or {})}
        self._query_fields: Final = {**common, **(query_fields or {})}

    @classmethod
    def heroku(
        cls,
        model: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        dimension: int | None = None,
        batch: int = 96,
        embed_batch_size: int | None = None,
        model_name: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """The embeddings of Heroku's Managed Inference: ``{base_url}/v1/embeddings``.

        What isn't given is taken from the app's config variables. A query is embedded
        as one: ``input_type`` is ``search_query``. It takes the arguments of
        LlamaIndex's ``HerokuEmbedding`` by keyword, but no ``callback_manager``.

        Args:
            model: Else ``EMBEDDING_MODEL_ID``.
            api_key: Else ``EMBEDDING_KEY``.
            base_url: Else ``EMBEDDING_URL``, with or without ``/v1``.
            dimension: How many numbers a vector must have.
            batch: Texts in one request; Heroku takes 96 at most.
            embed_batch_size: Instead of ``batch``, by LlamaIndex's name.
            model_name: Instead of ``model``, by LlamaIndex's name.
            options: See `ClientOptions`.

        Raises:
            ConfigurationError: One is in neither place; the text names the variable.
                Or ``model`` and ``model_name`` differ.
        """
        kind = "Embeddings.heroku"
        checks.optional(checks.text)(kind, "model_name", model_name)
        if model is not None and model_name not in (None, model):
            wrong = f"must be model={model!r}, or left out"
            raise checks.wrong(kind, "model_name", model_name, wrong)
        if embed_batch_size is not None:
            batch = checks.whole(kind, "embed_batch_size", embed_batch_size, 1)
        url = _given("base_url", base_url, "EMBEDDING_URL").rstrip("/")
        options.setdefault("provider", "heroku")
        return cls(
            f"{url.removesuffix('/v1')}/v1",
            model=_given("model", model or model_name, "EMBEDDING_MODEL_ID"),
            api_key=_given("api_key", api_key, "EMBEDDING_KEY"),
            dimension=dimension,
            batch=batch,
            query_fields={"input_type": "search_query"},
            **options,
        )

    @property
    def dimension(self) -> int | None:
        """How many numbers a vector has; None while nobody knows it."""
        return self._space.dimension

    async def aget_text_embedding(self, text: str) -> Vector:
        """The vector of one text. Raises what `aget_text_embedding_batch` does."""
        return (await self._call(self.embed, [_text("text", text)]))[0]

    @overload
    async def aget_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as below
        *,
        partial: Literal[False] = False,
        checkpoint: Checkpoint | None = None,
    ) -> list[Vector]: ...

    @overload
    async def aget_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as below
        *,
        partial: bool,
        checkpoint: Checkpoint | None = None,
    ) -> list[Vector | None]: ...

    async def aget_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as LlamaIndex has it
        *,
        partial: bool = False,
        checkpoint: Checkpoint | None = None,
    ) -> Any:
        """A vector for each text, in order; ``[]`` gives ``[]``.

        An outage of up to 60 s is outlasted, unless ``retry`` says otherwise. The
        first error cancels the other requests; what was there by then is in its
        attribute ``partial``, in order, with None for a text without a vector. Where
        each text is to have its own outcome, use ``runner.map_batches(client.embed,
        texts, size=client.batch, errors="collect")``: a text that the service refuses
        costs itself alone.

        Args:
            texts: Sent in requests of `batch` texts, as many at once as the limit is.
            show_progress: On standard error, how many texts are done.
            partial: Give None for a text that fails, and go on with the others.
            checkpoint: Keeps each vector, so that the same call goes on after a kill.

        Raises:
            CheckpointError: The checkpoint is of other texts or another model, or can't
                be used.
            ConfigurationError: ``texts`` is no list of texts.
            EmbeddingError: The endpoint could not be reached, refused, or gave unusable
                vectors.
            DeadlineExceeded: Its time was up.
            ShuttingDown: The client is closed.
        """
        given = checks.each("Embeddings", "texts", texts, "texts")
        checked = [_text(f"texts[{n}]", text) for n, text in enumerate(given)]
        checks.flag("Embeddings", "show_progress", show_progress)
        checks.flag("Embeddings", "partial", partial)
        runner = await self._ready()
        found: list[Vector | None] = [None] * len(checked)
        run = bound(
            runner.map_batches,
            self._embedding(found),
            list(enumerate(checked)),
            size=self.batch,
            checkpoint=checkpoint,
            progress=show_progress,
        )
        try:
            if not partial:
                return await run()
            for outcome in await run(errors="collect"):
                if isinstance(outcome, Ok):
                    found[outcome.index] = outcome.value  # also one that was kept
        except Exception as error:
            with suppress(Exception):  # one that can't be changed
                cast("Any", error).partial = found
            raise
        return found

    def _embedding(
        self, found: list[Vector | None]
    ) -> Callable[[list[tuple[int, str]]], Awaitable[list[Vector]]]:
        """What embeds a batch of texts, and puts the vectors in their places."""

        async def embed(batch: list[tuple[int, str]]) -> list[Vector]:
            vectors = await self.embed([text for _, text in batch])
            for (place, _), vector in zip(batch, vectors, strict=True):
                found[place] = vector  # now: a sibling's error may come at any time
            return vectors

        embed.__qualname__ = f"Embeddings[{self.model_name}]"  # for a checkpoint
        return embed

    async def aget_query_embedding(self, query: str) -> Vector:
        """The vector of a query. Raises what `aget_text_embedding_batch` does."""
        texts = [_text("query", query)]
        return (await self._call(self._embed, texts, self._query_fields))[0]

    def get_text_embedding(self, text: str) -> Vector:
        """`aget_text_embedding`, from code that isn't async."""
        return self._sync(lambda twin: twin.aget_text_embedding(text))

    @overload
    def get_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as below
        *,
        partial: Literal[False] = False,
    ) -> list[Vector]: ...

    @overload
    def get_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as below
        *,
        partial: bool,
    ) -> list[Vector | None]: ...

    def get_text_embedding_batch(
        self,
        texts: Sequence[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002 -- as LlamaIndex has it
        *,
        partial: bool = False,
    ) -> Any:
        """`aget_text_embedding_batch`, from code that isn't async."""
        return self._sync(
            lambda twin: twin.aget_text_embedding_batch(
                texts, show_progress, partial=partial
            )
        )

    def get_query_embedding(self, query: str) -> Vector:
        """`aget_query_embedding`, from code that isn't async."""
        return self._sync(lambda twin: twin.aget_query_embedding(query))

    @staticmethod
    def similarity(
        a: Sequence[float], b: Sequence[float], mode: SimilarityMode = "cosine"
    ) -> float:
        """How near two vectors are: `spanrun.clients.similarity`."""
        return similarity(a, b, mode)

    async def embed(self, texts: list[str]) -> list[Vector]:
        """One request for texts: what the jobs of `runner` do.

        Raises:
            EmbeddingError: The endpoint could not be reached, refused, or gave unusable
                vectors.
        """
        return await self._embed(texts, self._text_fields)

    async def _embed(self, texts: list[str], fields: Mapping[str, Any]) -> list[Vector]:
        asked: dict[str, Any] = {}
        if self._packed:
            asked[semconv.GEN_AI_REQUEST_ENCODING_FORMATS] = ("base64",)
        with self._operation("embeddings", **asked) as call:
            answer = await self._http.post(
                "/embeddings", {"model": self.model, "input": texts, **fields}
            )
            found = vectors(answer, len(texts), packed=self._packed)
            self._space.check(len(found[0]))
            note_usage(call, answer)
        return found


class _Space:
    """The space that all vectors of a client are in, also those of its twins."""

    def __init__(self, model: str, dimension: int | None) -> None:
        self._model: Final = model
        self.dimension = dimension

    def check(self, found: int) -> None:
        if self.dimension is None:
            self.dimension = found
        if found != self.dimension:
            raise EmbeddingError(
                f"the vectors of {self._model!r} have {found} numbers, not "
                f"{self.dimension} as those before: another model may answer there"
            )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}={value!r:.40}: must be a text")
    return value


def _given(name: str, value: str | None, variable: str) -> str:
    checks.optional(checks.secret)("Embeddings.heroku", name, value)
    found = (value or os.environ.get(variable, "")).strip()
    if not found:
        raise ConfigurationError(
            f"Embeddings.heroku(): no {name}: pass {name}=… or set {variable}"
        )
    return found
