"""`aretrieve` and `aquery`: several stores asked at once, an answer from the hits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, Protocol

from spanrun import checks
from spanrun.errors import StoreError
from spanrun.ingest.answer import Chatting, cited, extract, messages
from spanrun.policies.breaker import Breaker
from spanrun.policies.timeout import Timeout
from spanrun.runner.bridge import run
from spanrun.runner.runner import Runner
from spanrun.stores.base import Hit, VectorStore, Where
from spanrun.stores.fusion import DEPTH, fuse
from spanrun.telemetry.instrument import unit

TIMEOUT: Final = 10.0
_LIMIT: Final = 8


class QueryEmbedder(Protocol):
    """Makes the vector of a query: `Embeddings`, `LocalEmbedder`, your own."""

    async def aget_query_embedding(self, query: str) -> Sequence[float]:
        """The vector of a query, in the space of what the stores hold."""
        ...


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the stores found for a query.

    Attributes:
        query: The query.
        hits: The best first. ``score`` is the fused one: the sum of 1 / (60 + rank)
            over the stores that found the chunk.
        missing: The stores that gave no answer, by name, and why. Empty where the
            result is complete.
    """

    query: str
    hits: tuple[Hit, ...]
    missing: Mapping[str, Exception]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what it rests on; ``str(answer)`` is its text.

    Attributes:
        text: The answer, with ``[n]`` where it rests on the n-th hit, from 1. Empty
            where nothing was found.
        citations: The hits that the text cites, by that n.
        retrieved: All hits, and the stores that are missing.
    """

    text: str
    citations: Mapping[int, Hit]
    retrieved: Retrieved

    def __str__(self) -> str:
        return self.text


async def aretrieve(
    queries: Sequence[str],
    stores: Mapping[str, VectorStore],
    k: int = 10,
    *,
    embedder: QueryEmbedder | None = None,
    store_timeout: float = TIMEOUT,
    where: Where | None = None,
) -> list[Retrieved]:
    """Search all stores for all queries at the same time, and fuse what they find.

    Each query is a job of the runner ``search``. Each store has a runner of its own,
    ``search {name}``, so a slow one holds up no other, and one that goes on failing
    isn't asked any more (`Breaker`). So there is a span for each store and query.

    The rankings are fused by reciprocal rank (G. V. Cormack, C. L. A. Clarke and
    S. Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
    learning methods", SIGIR 2009), as the scores of two stores can't be compared. A
    chunk that several stores have is one hit; equal scores are in the order of the
    documents' ids. What is no longer in the same chunks everywhere stays apart.

    Args:
        queries: Taken literally.
        stores: By a name of your own, from a small set: it becomes a metric's label.
        k: Hits of each query at most, ≥ 1. Of several stores each is asked for 100 at
            least: what is low in all rankings may be the best in the fused one.
        embedder: Makes the queries' vectors; None searches by words alone.
        store_timeout: Seconds that one search of one store may take.
        where: Only documents with these values: see `VectorStore.search`.

    Returns:
        One for each query, in their order.

    Raises:
        ConfigurationError: An argument is wrong.
        StoreError: No store answered a query; chained is what the first one raised.
            Of a single store its own error, as it is.
        Exception: What the embedder raised.
    """
    queries = checks.each("retrieve", "queries", queries, "texts")
    for place, query in enumerate(queries):
        checks.text("retrieve", f"queries[{place}]", query, empty=True)
    _check_stores(stores)
    if embedder is not None:
        example = "an embedder, such as Embeddings(…)"
        checks.offers("retrieve", "embedder", embedder, "aget_query_embedding", example)
    k = checks.whole("retrieve", "k", k, 1)
    store_timeout = checks.above("retrieve", "store_timeout", store_timeout, 0)
    checks.optional(checks.mapping)("retrieve", "where", where, "fields to values")
    async with AsyncExitStack() as stack:
        runners = {
            name: await stack.enter_async_context(_runner(name, store_timeout))
            for name in stores
        }
        depth = k if len(stores) == 1 else max(k, DEPTH)
        asking = _Asking(stores, runners, embedder, k, depth, where)
        runner = await stack.enter_async_context(Runner("search", limit=_LIMIT))
        return await runner.map(asking.ask, queries)


def retrieve(
    queries: Sequence[str],
    stores: Mapping[str, VectorStore],
    k: int = 10,
    *,
    embedder: QueryEmbedder | None = None,
    store_timeout: float = TIMEOUT,
    where: Where | None = None,
) -> list[Retrieved]:
    """`aretrieve`, from code that isn't async."""
    return run(
        aretrieve(
            queries,
            stores,
            k,
            embedder=embedder,
            store_timeout=store_timeout,
            where=where,
        )
    )


async def aquery(
    query: str,
    stores: Mapping[str, VectorStore],
    k: int = 5,
    *,
    chat: Chatting | None = None,
    embedder: QueryEmbedder | None = None,
    store_timeout: float = TIMEOUT,
    where: Where | None = None,
) -> Answer:
    """Answer a question from what the stores hold, and cite it.

    With ``chat`` a language model is told to answer from the hits alone, and to cite
    them. Without it the answer is made of the sentences of the hits that have most of
    the question's words in them: offline, and nothing that isn't in a document.
    Where nothing was found the answer is empty, and no model is asked.

    A citation says where the model pointed, not that it is right.

    Args:
        query: The question.
        stores: As in `aretrieve`.
        k: Hits to answer from, ≥ 1.
        chat: Of a language model.
        embedder: As in `aretrieve`.
        store_timeout: As in `aretrieve`.
        where: As in `aretrieve`.

    Raises:
        Exception: As `aretrieve`; and what ``chat`` raised.
    """
    checks.text("aquery", "query", query, empty=True)
    if chat is not None:
        checks.offers("aquery", "chat", chat, "achat", "a model, such as Chat(…)")
    with unit("query"):
        (found,) = await aretrieve(
            [query],
            stores,
            k,
            embedder=embedder,
            store_timeout=store_timeout,
            where=where,
        )
        hits = found.hits
        if not hits:
            return Answer("", {}, found)
        if chat is not None:
            text = str(await chat.achat(messages(query, hits)))
            return Answer(text, cited(text, hits), found)
        said = await asyncio.to_thread(extract, query, hits)
        text = " ".join(f"{sentence} [{number}]" for sentence, number in said)
        return Answer(text, {number: hits[number - 1] for _, number in said}, found)


def _check_stores(stores: object) -> None:
    found = checks.mapping("retrieve", "stores", stores, "names to stores")
    if not found:
        raise checks.wrong("retrieve", "stores", stores, "must name one at least")
    for name, store in found.items():
        checks.text("retrieve", "stores", name)
        example = "a store, such as SqliteStore(…)"
        checks.offers("retrieve", f"stores[{name!r}]", store, "search", example)


def _runner(name: str, seconds: float) -> Runner:
    return Runner(
        f"search {name}",
        limit=_LIMIT,
        timeout=Timeout(attempt=seconds),
        breaker=Breaker(on=Exception),
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """How one query is asked of all stores."""

    stores: Mapping[str, VectorStore]
    runners: Mapping[str, Runner]
    embedder: QueryEmbedder | None
    k: int
    depth: int
    where: Where | None

    async def ask(self, query: str) -> Retrieved:
        vector: Sequence[float] = ()
        if self.embedder is not None:
            vector = await self.embedder.aget_query_embedding(query)
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(self._search(name, vector, query))
                for name in self.stores
            }
        found: list[list[Hit]] = []
        missing: dict[str, Exception] = {}
        for name, task in tasks.items():
            outcome = task.result()
            if isinstance(outcome, Exception):
                missing[name] = outcome
            else:
                found.append(outcome)
        if not found:
            raise _none_answered(missing)
        return Retrieved(query, _fused(found, self.k), missing)

    async def _search(
        self, name: str, vector: Sequence[float], query: str
    ) -> list[Hit] | Exception:
        search = self.stores[name].search
        try:
            return await self.runners[name].call(
                search, vector, query, self.depth, where=self.where
            )
        except Exception as error:  # noqa: BLE001 -- it costs its store, and is told
            return error


def _none_answered(missing: Mapping[str, Exception]) -> Exception:
    first, *others = missing.values()
    if not others:
        return first
    told = "; ".join(f"{name}: {error}" for name, error in missing.items())
    error = StoreError(f"no store answered ({told})")
    error.__cause__ = first
    return error


def _fused(rankings: Sequence[Sequence[Hit]], k: int) -> tuple[Hit, ...]:
    hits = {
        (hit.document_id, hit.chunk): hit
        for ranking in reversed(rankings)  # the first store's hit stays
        for hit in ranking
    }
    scores = fuse(
        dict.fromkeys((hit.document_id, hit.chunk) for hit in ranking)
        for ranking in rankings
    )
    best = sorted(scores, key=lambda key: (-scores[key], key))[:k]
    return tuple(replace(hits[key], score=scores[key]) for key in best)
