"""What `SolrStore` does beyond `test_conformance.py`, on a real Solr."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.stores.test_conformance import DIMENSION, MODEL, at, found, put

from spanrun.clients.solr import AsyncSolrClient
from spanrun.clients.solr_schema import SolrSchema
from spanrun.errors import ConfigurationError, StoreError
from spanrun.ingest import _vectors
from spanrun.ingest.documents import Document
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.stages import Split, Store
from spanrun.stores import solr as module
from spanrun.stores._solr_search import LOOKS
from spanrun.stores.base import Chunk
from spanrun.stores.solr import SolrStore
from spanrun.testing import Captured, no_leaks


class Between(AsyncSolrClient):
    """Does something after the nearest are known and before the worded are."""

    happens: Callable[[], Awaitable[None]] | None = None
    is_known: asyncio.Event

    async def search_vector(self, *args: Any, **kwargs: Any) -> Any:
        answer = await super().search_vector(*args, **kwargs)
        self.is_known.set()
        return answer

    async def search_text(self, *args: Any, **kwargs: Any) -> Any:
        if self.happens is not None:
            await self.is_known.wait()
            self.is_known.clear()
            await self.happens()
        return await super().search_text(*args, **kwargs)


@pytest.fixture
def make(solr_url):
    return lambda **options: SolrStore(
        AsyncSolrClient(solr_url), DIMENSION, MODEL, **options
    )


async def count_in_solr(url, **query):
    async with AsyncSolrClient(url) as client:
        await client.commit(soft=True)
        return (await client.search({"q": "*:*", **query})).response.num_found


# The two queries of a search


@pytest.mark.parametrize("times", [1, 99])
async def test_a_document_replaced_between_the_queries_is_seen_in_one_state(
    solr_url, make, times
):
    client = Between(solr_url)
    client.is_known = asyncio.Event()
    left = times

    async def replace() -> None:
        nonlocal left
        if left:
            left -= 1
            await put(writer, "a", *[f"new word {left}"] * 2, content_hash=str(left))
            await writer.count()  # commits

    async with make() as writer, SolrStore(client, DIMENSION, MODEL) as reader:
        await put(writer, "a", *["old word"] * 4)
        await put(writer, "b", "word")
        assert await writer.count() == (2, 5)  # commits
        client.happens = replace
        hits = await reader.search(at(0), "word")
    assert len({hit.text for hit in hits if hit.document_id == "a"}) == 1
    assert sorted((hit.document_id, hit.chunk) for hit in hits) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
    ]
    assert times - left == min(times, LOOKS + 1)


async def test_both_queries_are_asked_at_the_same_time(make, spanrun_capture: Captured):
    async with make() as store:
        await put(store, "a", "word")
        await store.count()
        before = len(spanrun_capture.find("select docs"))
        await store.search(at(0), "word")
        first, second = spanrun_capture.find("select docs")[before:]
    assert first.started_ns < second.started_ns < first.ended_ns


async def test_only_one_query_is_asked_where_there_is_one(
    make, spanrun_capture: Captured
):
    async with make() as store:
        await put(store, "a", "word")
        await store.count()
        before = len(spanrun_capture.find("select docs"))
        await store.search((), "word")
        await store.search(at(0), "*:*")
        await store.search((), "*:*")
        assert len(spanrun_capture.find("select docs")) == before + 2


# What is written


async def test_a_document_is_one_block_that_goes_as_one(make, solr_url):
    async with make() as store:
        await put(store, "a", *["x"] * 5)
        assert await count_in_solr(solr_url, fq='_root_:"document a"') == 6
        await put(store, "a", "y")
        assert await count_in_solr(solr_url) == 2
        await store.delete(["a"])
    assert await count_in_solr(solr_url) == 0


async def test_others_find_in_time_what_was_written(make, solr_url):
    async with make() as store:
        await put(store, "a", "x")
        async with AsyncSolrClient(solr_url) as client:
            # Solr commits once a second; nobody has asked it to.
            while not (await client.search({"q": "*:*"})).response.num_found:
                pass


async def test_reading_commits_once_however_many_read(make, spanrun_capture: Captured):
    async with make() as store:
        await put(store, "a", "word")
        before = len(spanrun_capture.find("commit docs"))
        await asyncio.gather(*(store.search(at(0), "word") for _ in range(10)))
        await store.count()
        assert len(spanrun_capture.find("commit docs")) == before + 1


async def test_a_filter_may_name_any_field_of_the_schema(make):
    async with make() as store:
        await put(store, "a", "word", content_hash="1")
        await put(store, "b", "word", content_hash="2")
        assert await found(store, text="word", content_hash_s="2") == [("b", 0)]


async def test_a_value_too_long_for_solr_is_an_error_and_nothing_is_changed(make):
    async with make() as store:
        await put(store, "a", "old")
        with pytest.raises(StoreError, match="immense term") as raised:
            await put(store, "a", "new", source="x" * 40_000)
        assert raised.value.status == 400
        assert await found(store, text="old new") == [("a", 0)]


async def test_a_document_of_a_thousand_chunks_is_stored(make):
    text, vector = "word " * 100, [0.123456789, 1.0] * (DIMENSION // 2)
    async with make() as store:
        await put(store, "a", *[text] * 1000, vector=vector)
        assert await store.count() == (1, 1000)


async def test_a_large_document_is_never_whole_in_memory(make):
    vectors = _vectors.Vectors(2000)
    for index in range(2000):
        vectors.put(index, [0.123456789 + index, 1.0] * (DIMENSION // 2))
    chunks = [
        Chunk("large", index, "word", vector) for index, vector in enumerate(vectors)
    ]
    described: Any = {"source": "large.txt", "title": None, "summary": None}
    async with make() as store:
        await put(store, "small", "word")  # all is imported and open
        tracemalloc.start()
        try:
            await store.upsert("large", content_hash="1", chunks=chunks, **described)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await store.count() == (2, 2001)
    assert most < 8 * 2**20  # 34 MiB when all was made at once


# With a pipeline


class Vectors:
    """Gives each chunk a vector."""

    name = "vectors"

    async def __call__(self, document: Document) -> dict[str, Any]:
        chunks = [
            Chunk(c.document_id, c.index, c.text, at(c.index)) for c in document.chunks
        ]
        return {"chunks": tuple(chunks)}


async def test_a_pipeline_stores_what_is_new_and_the_gone_can_be_pruned(make):
    def documents(*names: str) -> list[Document]:
        return [
            Document(
                id=name, text=f"About {name}.", source=f"/{name}", content_hash=name
            )
            for name in names
        ]

    async with make() as store:
        pipeline = Pipeline([Split(), Vectors(), Store(store)])
        report = await pipeline.arun(documents("a", "b", "c"))
        assert (report.stored, report.unchanged, report.failures) == (3, 0, [])
        report = await pipeline.arun(documents("b", "c", "d"))
        assert (report.stored, report.unchanged) == (1, 2)
        gone = (await store.content_hashes()).keys() - set("bcd")
        assert await store.delete(gone) == 1
        assert (await store.content_hashes()).keys() == set("bcd")


async def test_thousands_of_documents_are_listed_in_pages(make, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 7)
    async with make() as store:
        await asyncio.gather(*(put(store, f"d{n}", "x") for n in range(50)))
        assert len(await store.content_hashes()) == 50


# A collection that doesn't fit


async def test_a_field_that_the_schema_lacks_is_named(make):
    async with no_leaks():
        with pytest.raises(ConfigurationError, match="the schema lacks body, vec: add"):
            async with make(text="body", vector="vec"):
                pass
        store = make(title="heading")
        with pytest.raises(ConfigurationError, match="the schema lacks heading"):
            await store.count()
        await store.aclose()


async def test_a_field_that_holds_no_vectors_is_refused(make):
    async with no_leaks():
        with pytest.raises(
            ConfigurationError, match="must be a DenseVectorField of 256"
        ):
            async with make(vector="title"):
                pass


async def test_another_similarity_is_refused(make, monkeypatch):
    kind = {"class": "solr.DenseVectorField", "vectorDimension": "256"}
    monkeypatch.setattr(SolrSchema, "type_of", lambda self, name: kind)
    with pytest.raises(ConfigurationError, match=r"cosine similarity, not .* 256 None"):
        async with make():
            pass


async def test_a_dead_server_is_told_at_once():
    async with no_leaks():
        client = AsyncSolrClient("http://127.0.0.1:9/solr/docs")
        with pytest.raises(StoreError, match="can't be reached"):
            async with SolrStore(client, DIMENSION, MODEL):
                pass


async def test_what_goes_wrong_in_a_search_is_told_in_solrs_words(make):
    async with make() as store:
        with pytest.raises(StoreError, match="400 Bad Request: Invalid Num") as raised:
            await store.search(at(0), "word", where={"chunk_i": "no number"})
    assert raised.value.status == 400


async def test_the_password_is_in_no_error(solr_url, make):
    async with make() as store:
        await put(store, "a", "x")
    url = solr_url.replace("//", "//me:hunter22@")
    for options in ({"text": "body"}, {"vector": "title"}, {"model": "other"}):
        told = {"dimension": DIMENSION, "model": MODEL, **options}
        with pytest.raises(ConfigurationError) as raised:
            async with SolrStore(AsyncSolrClient(url), **told):
                pass
        assert "hunter22" not in f"{raised.value}{raised.value!r}"


@pytest.mark.parametrize(
    "call",
    [
        lambda store: put(store, "b", "word"),
        lambda store: store.search(at(0), "word"),
        lambda store: store.delete(["a"]),
        lambda store: store.count(),
        lambda store: store.content_hashes(),
        lambda store: store.__aenter__(),
    ],
    ids=["upsert", "search", "delete", "count", "content_hashes", "open"],
)
async def test_a_cancelled_call_leaves_nothing(make, call, spanrun_capture: Captured):
    async with make() as kept:
        await put(kept, "a", "word")
    cut = 0
    async with no_leaks():
        for turns in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048):
            store = make()
            task = asyncio.create_task(call(store))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            cut += task.cancelled()
            await store.aclose()
    assert cut > 5
    assert not spanrun_capture.unfinished()


async def test_a_cancelled_closing_still_closes(make):
    async with no_leaks():
        for steps in range(6):
            store = make()
            writing = asyncio.create_task(put(store, "a", "x"))
            await asyncio.sleep(0)
            closing = asyncio.create_task(store.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            await store.aclose()
            await writing
