"""`aretrieve`: several stores as one, also when some are slow or dead."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.ingest.doubles import MemoryStore
from tests.waiting import PATIENCE

from spanrun.clients.chat import Message
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import (
    CircuitOpen,
    ConfigurationError,
    DeadlineExceeded,
    StoreError,
)
from spanrun.ingest.retrieval import Answer, aquery, aretrieve, retrieve
from spanrun.stores.base import Chunk, Hit
from spanrun.stores.solr import SolrStore
from spanrun.stores.sqlite import SqliteStore
from spanrun.testing import Captured, no_leaks


class Letters:
    """The vector of a text is how often it has an a, and a b."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def aget_query_embedding(self, query: str) -> Sequence[float]:
        self.asked.append(query)
        return [1.0 + query.count("a"), 1.0 + query.count("b")]


class Listed(MemoryStore):
    """Finds the same chunks for every query; `before` is awaited first."""

    def __init__(self, *found: tuple[str, int], before: Any = None) -> None:
        super().__init__()
        self.found = found
        self.before = before
        self.asked: list[str] = []

    async def search(
        self, vector: Sequence[float], text: str, k: int = 10, *, where: Any = None
    ) -> list[Hit]:
        self.asked.append(text)
        if self.before is not None:
            await self.before()
        return [
            Hit(name, chunk, f"{name} {chunk}", None, f"/{name}", 9.0)
            for name, chunk in self.found
        ][:k]


def keys(hits: Sequence[Hit]) -> list[tuple[str, int]]:
    return [(hit.document_id, hit.chunk) for hit in hits]


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise StoreError("out of order")


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[dict[str, SqliteStore]]:
    """Two stores; both have the document "both"."""
    texts = {"a": ["left", "both"], "b": ["right", "both"]}
    async with AsyncExitStack() as stack:
        opened: dict[str, SqliteStore] = {}
        for name, documents in texts.items():
            store = SqliteStore(tmp_path / name, 2, "letters")
            opened[name] = await stack.enter_async_context(store)
            for document in documents:
                await store.upsert(
                    document,
                    content_hash=document,
                    source=f"/{document}",
                    title=document,
                    summary=None,
                    chunks=[Chunk(document, 0, f"A boat on the {document}.", [1, 2])],
                )
        yield opened


@pytest.fixture
async def dead() -> AsyncIterator[SolrStore]:
    """A store whose server isn't there."""
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/solr/docs"
        store = SolrStore(AsyncSolrClient(url), 2, "letters")
        yield store
        await store.aclose()


async def test_what_both_stores_have_comes_first_and_once(
    stores: Mapping[str, SqliteStore],
) -> None:
    (found,) = await aretrieve(["boat"], stores, k=10)
    assert keys(found.hits) == [("both", 0), ("left", 0), ("right", 0)]
    assert found.missing == {}
    assert found.query == "boat"


async def test_scores_are_those_of_reciprocal_rank_fusion() -> None:
    first = Listed(("x", 0), ("y", 0), ("y", 1))
    second = Listed(("y", 1), ("x", 0))
    (found,) = await aretrieve(["q"], {"1": first, "2": second}, k=2)
    assert [(hit.document_id, hit.chunk, hit.score) for hit in found.hits] == [
        ("x", 0, pytest.approx(1 / 61 + 1 / 62)),
        ("y", 1, pytest.approx(1 / 63 + 1 / 61)),
    ]


async def test_a_store_that_finds_a_chunk_twice_counts_it_once() -> None:
    store = Listed(("x", 0), ("x", 0), ("y", 0))
    (found,) = await aretrieve(["q"], {"s": store})
    assert [hit.score for hit in found.hits] == [1 / 61, 1 / 62]


async def test_each_query_gets_its_own_hits_in_order(
    stores: Mapping[str, SqliteStore],
) -> None:
    embedder = Letters()
    queries = ["left", "right", "left"]
    found = await aretrieve(queries, stores, k=1, embedder=embedder)
    assert [each.query for each in found] == queries
    assert found[0].hits[0].document_id in {"left", "both"}
    assert sorted(embedder.asked) == sorted(queries)


async def test_only_documents_that_fit_are_found(
    stores: Mapping[str, SqliteStore],
) -> None:
    (found,) = await aretrieve(["boat"], stores, where={"source": "/right"})
    assert keys(found.hits) == [("right", 0)]


async def test_a_dead_store_gives_partial_results(
    stores: Mapping[str, SqliteStore], dead: SolrStore
) -> None:
    async with no_leaks():
        (found,) = await aretrieve(["boat"], {**stores, "solr": dead})
    assert keys(found.hits) == [("both", 0), ("left", 0), ("right", 0)]
    assert found.missing.keys() == {"solr"}


async def test_a_store_that_does_not_answer_costs_its_own_time_alone() -> None:
    slow, good = Listed(before=forever), Listed(("x", 0))
    (found,) = await aretrieve(["q"], {"slow": slow, "good": good}, store_timeout=0.05)
    assert keys(found.hits) == [("x", 0)]
    assert type(found.missing["slow"]) is DeadlineExceeded


async def test_a_store_that_goes_on_failing_is_not_asked_any_more() -> None:
    bad, good = Listed(before=fail), Listed(("x", 0))
    queries = [f"q{n}" for n in range(100)]
    found = await aretrieve(queries, {"bad": bad, "good": good})
    assert len(bad.asked) < 30
    assert len(good.asked) == 100
    assert all(keys(each.hits) == [("x", 0)] for each in found)
    assert {type(each.missing["bad"]) for each in found} == {StoreError, CircuitOpen}


async def test_a_slow_store_does_not_hold_up_the_others() -> None:
    """Its searches wait for slots of its own."""
    slow, good = Listed(before=forever), Listed(("x", 0))
    queries = [f"q{n}" for n in range(40)]
    found = await aretrieve(queries, {"slow": slow, "good": good}, store_timeout=0.1)
    assert all(each.hits and each.missing for each in found)


async def test_when_all_are_dead_it_is_an_error() -> None:
    async with no_leaks():
        with pytest.raises(StoreError) as caught:
            await aretrieve(
                ["q"],
                {"a": Listed(before=fail), "b": Listed(before=forever)},
                store_timeout=0.05,
            )
    assert "no store answered (a: out of order; b: 0.05 s for" in str(caught.value)
    assert str(caught.value.__cause__) == "out of order"


async def test_of_a_single_store_the_error_comes_as_it_is() -> None:
    with pytest.raises(StoreError, match=r"^out of order\n"):
        await aretrieve(["q"], {"a": Listed(before=fail)})


async def test_cancelled_it_leaves_nothing() -> None:
    store = Listed(before=forever)
    async with no_leaks():
        task = asyncio.create_task(aretrieve(["q"], {"a": store, "b": store}))
        while len(store.asked) < 2:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("after", range(0, 40, 3))
async def test_cancelled_at_any_time_it_leaves_nothing(
    spanrun_capture: Captured, after: int
) -> None:
    async def soon() -> None:
        for _ in range(9):
            await asyncio.sleep(0)

    stores = {"a": Listed(("x", 0), before=soon), "b": Listed(before=fail)}
    async with no_leaks():
        asking = aquery("q", stores, embedder=Letters())
        task = asyncio.create_task(asking)
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
    assert task.done()
    assert not spanrun_capture.unfinished()


async def test_what_the_embedder_raises_comes_out() -> None:
    class Broken(Letters):
        async def aget_query_embedding(self, query: str) -> Sequence[float]:
            raise KeyError(query)

    with pytest.raises(KeyError, match="q"):
        await aretrieve(["q"], {"a": Listed(("x", 0))}, embedder=Broken())


async def test_no_queries_are_no_work() -> None:
    assert await aretrieve([], {"a": Listed(before=fail)}) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("q", {"a": Listed()}), "must be a list of texts"),
        ((["q"], {}), "must name one at least"),
        ((["q"], {"a": Listed()}, 0), "k=0"),
    ],
)
async def test_wrong_arguments_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await aretrieve(*arguments)


async def test_there_is_a_span_for_each_store_and_query(
    spanrun_capture: Captured,
) -> None:
    stores = {"a": Listed(("x", 0)), "b": Listed(before=fail)}
    await aretrieve(["q", "r"], stores)
    queries = spanrun_capture.find("job search")
    assert len(queries) == 2
    for name in stores:
        searches = spanrun_capture.find(f"job search {name}")
        assert {s.parent_id for s in searches} == {q.span_id for q in queries}


def test_from_code_that_is_not_async() -> None:
    (found,) = retrieve(["q"], {"a": Listed(("x", 0))})
    assert keys(found.hits) == [("x", 0)]


class Model:
    """Answers what it was told to, and keeps what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[Message] = []

    async def achat(self, messages: Sequence[Message]) -> str:
        self.asked += messages
        return self.text


async def ask(model: Model | None, *found: tuple[str, int]) -> Answer:
    return await aquery("What is x?", {"a": Listed(*found)}, chat=model)


async def test_a_model_answers_from_the_hits_and_cites_them() -> None:
    model = Model("It is x [2]. Nobody knows [9].")
    answer = await ask(model, ("x", 0), ("y", 3))
    assert str(answer) == model.text
    assert {n: hit.document_id for n, hit in answer.citations.items()} == {2: "y"}
    system, user = (message["content"] for message in model.asked)
    assert "passages alone" in system
    assert user.startswith("[1] /x\nx 0\n\n[2] /y\ny 3\n\nQuestion: What is x?")


async def test_without_a_model_the_answer_is_made_of_the_hits() -> None:
    answer = await ask(None, ("x", 0), ("y", 3))
    assert answer.text == "x 0 [1]"
    assert keys([*answer.citations.values()]) == [("x", 0)]


async def test_without_hits_nobody_is_asked() -> None:
    model = Model("invented")
    answer = await ask(model)
    assert (answer.text, answer.citations, model.asked) == ("", {}, [])


async def test_the_answer_tells_which_stores_are_missing() -> None:
    stores = {"a": Listed(("x", 0)), "b": Listed(before=fail)}
    answer = await aquery("x", stores)
    assert answer.retrieved.missing.keys() == {"b"}
