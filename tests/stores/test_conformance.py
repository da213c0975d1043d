"""What every `VectorStore` does, held by each of them: SQLite, and a real Solr."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import pytest

from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores.base import Chunk, VectorStore
from spanrun.stores.solr import SolrStore
from spanrun.stores.sqlite import SqliteStore
from spanrun.testing import no_leaks

DIMENSION = 256
MODEL = "test"


def at(angle):
    """A vector by its direction in a plane, in degrees."""
    angle = math.radians(angle)
    return [math.cos(angle), math.sin(angle), *[0.0] * (DIMENSION - 2)]


async def put(store, document_id, *texts, vector=None, **fields):
    chunks = [
        Chunk(document_id, index, text, vector or at(index))
        for index, text in enumerate(texts)
    ]
    described = {"content_hash": "h", "source": "s", "title": None, "summary": None}
    await store.upsert(document_id, **(described | fields), chunks=chunks)


async def found(store, vector=(), text="", k=10, **where):
    hits = await store.search(vector, text, k, where=where)
    return [(hit.document_id, hit.chunk) for hit in hits]


@pytest.fixture(params=["sqlite", "solr"])
def make(request, tmp_path):
    """Makes stores of the same documents; they are to be closed."""
    if request.param == "sqlite":
        return lambda dimension=DIMENSION, model=MODEL: SqliteStore(
            tmp_path / "store.db", dimension, model
        )
    url = request.getfixturevalue("solr_url")
    return lambda dimension=DIMENSION, model=MODEL: SolrStore(
        AsyncSolrClient(url), dimension, model
    )


@pytest.fixture
async def store(make) -> AsyncIterator[VectorStore]:
    async with make() as opened:
        yield opened


async def test_it_is_a_vector_store(store):
    assert isinstance(store, VectorStore)


async def test_what_was_stored_is_found_again_after_reopening(make):
    async with make() as store:
        await put(
            store, "a", "one", "two", content_hash="1", source="/a.md", title="A title"
        )
        await put(store, "b", "three", content_hash="2", summary="In short")
        assert await store.count() == (2, 3)
    async with make() as store:
        assert await store.content_hashes() == {"a": "1", "b": "2"}
        (hit, *_) = await store.search(at(1), "two", 1)
    assert (hit.document_id, hit.chunk, hit.text) == ("a", 1, "two")
    assert (hit.title, hit.source) == ("A title", "/a.md")
    assert hit.score == pytest.approx(2 / 61)


async def test_a_search_gives_as_many_hits_as_were_asked_for(store):
    # sqlite-vec's own search ends at 4,096; Solr's numbers have 32 bits.
    texts = ["word"] * 4200
    chunks = [Chunk("a", n, text, at(n / 25)) for n, text in enumerate(texts)]
    described = {"content_hash": "h", "source": "s", "title": None, "summary": None}
    await store.upsert("a", **described, chunks=chunks)
    await put(store, "b", "word", vector=at(180))
    for k in (4096, 4097, 4201, 5000, 2**31, 2**70):
        near = await found(store, at(0), k=k)
        assert len(set(near)) == len(near) == min(k, 4201)
        places = [n for document, n in near if document == "a"]
        # Single precision can't tell the first few angles apart.
        assert all(abs(place - n) < 8 for place, n in enumerate(places))
        assert len(await found(store, text="word", k=k)) == min(k, 4201)
    assert await found(store, at(0), k=5000, document_id="b") == [("b", 0)]


async def test_an_empty_store_finds_nothing(store):
    assert await store.count() == (0, 0)
    assert await store.content_hashes() == {}
    assert await store.search(at(0), "word") == []
    assert await store.search((), "") == []
    assert await store.delete(["a"]) == 0
    assert await store.delete([]) == 0


@pytest.mark.parametrize("texts", [["x"], ["x", "y", "z"], ["x", "y", "z", "u"], []])
async def test_a_document_takes_the_place_of_what_it_was(store, texts):
    await put(store, "a", "old one", "old two", "old three", title="old")
    await put(store, "b", "other")
    await put(store, "a", *texts, vector=at(180), content_hash="new")
    assert await store.count() == (2, len(texts) + 1)
    assert (await store.content_hashes())["a"] == "new"
    assert await found(store, text="old one two three") == []
    assert sorted(await found(store, text="x y z u")) == [
        ("a", i) for i in range(len(texts))
    ]
    nearest = await found(store, at(180))
    assert {i for d, i in nearest if d == "a"} == set(range(len(texts)))


async def test_delete_removes_documents_and_tells_how_many_there_were(store):
    for name in "abc":
        await put(store, name, f"{name} word", "more")
    assert await store.delete(["a", "gone", "c", "a"]) == 2
    assert await store.count() == (1, 2)
    assert {d for d, _ in await found(store, at(0), "word")} == {"b"}
    assert await store.delete(await store.content_hashes()) == 1
    assert await store.count() == (0, 0)


async def test_the_id_of_a_document_can_look_like_anything(store):
    ids = ["a b", "a:b", "*", 'say "x"', "document a", "chunk 0 of a", "ä/ö?#%", "\\"]
    for name in ids:
        await put(store, name, "word")
    assert (await store.content_hashes()).keys() == set(ids)
    assert await found(store, text="word", document_id="*") == [("*", 0)]
    assert await store.delete(["*"]) == 1
    assert await store.delete(ids) == len(ids) - 1


async def test_search_by_vector_gives_the_nearest_first(store):
    for angle in (90, 10, 180, 45):
        await put(store, str(angle), "x", vector=at(angle))
    nearest = [document for document, _ in await found(store, at(0))]
    assert nearest == ["10", "45", "90", "180"]


async def test_the_length_of_a_vector_does_not_matter(store):
    await put(store, "far", "x", vector=at(60))
    await put(store, "near", "x", vector=[100 * number for number in at(20)])
    assert (await found(store, at(0)))[0] == ("near", 0)


async def test_words_are_found_in_text_and_title_in_any_case(store):
    await put(store, "a", "The engines were running")
    await put(store, "b", "Nothing of this kind", title="Quiet ENGINES")
    await put(store, "c", "Nothing at all")
    assert {d for d, _ in await found(store, text="engines")} == {"a", "b"}
    assert await found(store, text="RUNNING fast") == [("a", 0)]


async def test_the_two_rankings_are_fused_by_reciprocal_rank(store):
    await put(store, "both", "needle", vector=at(20))
    await put(store, "near", "hay", vector=at(10))
    await put(store, "worded", "needle needle", vector=at(170))
    hits = await store.search(at(0), "needle")
    assert [hit.document_id for hit in hits] == ["worded", "both", "near"]
    ranks = {"both": (2, 2), "near": (1,), "worded": (3, 1)}
    for hit in hits:
        expected = sum(1 / (60 + rank) for rank in ranks[hit.document_id])
        assert hit.score == pytest.approx(expected)


async def test_no_more_than_k_hits_are_given(store):
    await put(store, "a", *["word"] * 150)
    assert len(await store.search(at(0), "word", 3)) == 3
    assert len(await store.search(at(0), "word", 140)) == 140
    assert len(await store.search(at(0), "word", 10_000)) == 150


# Filters


async def test_only_the_wanted_documents_are_found(store):
    for name in "abc":
        await put(store, name, "word", source=f"/{name}.md")
    both = {"vector": at(0), "text": "word"}
    assert await found(store, **both, source="/b.md") == [("b", 0)]
    wanted = await found(store, **both, document_id=["a", "c", "gone"])
    assert {d for d, _ in wanted} == {"a", "c"}
    assert await found(store, **both, document_id="a", source="/b.md") == []
    assert await found(store, **both, document_id=[]) == []


async def test_the_filter_chooses_before_k_does(store):
    await put(store, "near", *["word"] * 200, vector=at(0))
    await put(store, "far", "word", vector=at(90))
    assert await found(store, at(0), k=1, document_id="far") == [("far", 0)]


@pytest.mark.parametrize(
    "value", ["*", "* TO *", "a OR b", "a,b", "a'", 'a"', "a\\", "", "${x}", "$text"]
)
async def test_the_value_of_a_filter_is_nothing_but_a_value(store, value):
    for name in "ab":
        await put(store, name, "word", source=name)
    assert await found(store, at(0), "word", source=value) == []


@pytest.mark.parametrize(
    "field", ["nope", "*", "", "d.id", "source OR 1=1", "f v=$x", "id}*:* {!_s"]
)
async def test_a_field_that_is_not_known_is_refused(store, field):
    with pytest.raises(ConfigurationError):
        await store.search(at(0), "word", where={field: "x"})


async def test_a_value_that_is_no_text_is_refused(store):
    with pytest.raises(
        ConfigurationError, match=r"where\['source'\]=7: must be a text"
    ):
        await store.search(at(0), "word", where={"source": [7]})


# Words are never a query language

PAYLOADS = [
    '"', "'", '""', "needle*", "*", "*:*", "NEAR(needle hay)", "text:needle", "\\",
    "needle AND hay", "NOT needle", "-needle", "!needle", "needle OR", "OR needle",
    "needle && hay", "needle || hay", "(", "((needle", "needle)", "^needle", "needle^9",
    "+needle", "+needle -hay", "{a b}: needle", "needle\0hay", "\0", "\ud800 needle",
    "'; drop table chunks; --", "_", "%", "{!x}", "{!lucene}*:*", "{!func}1", "/.*/",
    "{!edismax v=$text}", "{!terms f=id}needle", "{!parent which=*:*}", "$text",
    '_query_:"{!lucene}*:*"', '_val_:"1"', "*:* OR needle", "needle OR *:*", "a:needle",
    "*:* -needle", "[* TO *]", "text:[* TO *]", "title:*", "id:*", "_root_:*", "n?edle",
    "needle~", "needle~0.1", '"needle hay"~9', '"needle', 'needle"', "needle\\", "\\\\",
    "needle\\*", "${text}", "${q} needle", "#{x}", "needle&q=*:*", "needle&rows=0",
    "needle#", "needle;", "&fq=-id:needle", "<delete><query>*:*</query></delete>",
    "needle " * 5000, "x" * 100_000, "世界", "🎉", "“needle” — hay", "Needle\nHAY",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
async def test_words_are_never_a_query_language(store, payload):
    await put(store, "needle", "a needle here")
    await put(store, "hay", "some hay there")
    await put(store, "else", "nothing")
    documents = {document for document, _ in await found(store, text=payload)}
    assert documents == {word for word in ("needle", "hay") if word in payload.lower()}
    assert await store.count() == (3, 3)


@pytest.mark.parametrize(
    "text", ["a\ud800b", "a\0b", "日本語", "🎉", "", " ", "x\r\ny"]
)
async def test_any_text_can_be_stored(store, text):
    await put(store, "a", text, source=text, title=text, summary=text)
    (hit,) = await store.search(at(0), "", 1)
    assert hit.text == hit.source == hit.title == text.replace("\ud800", "?")


# What can't be stored


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0] * 7, "7 numbers, the store has 256"),
        ([0.0] * DIMENSION, "must be finite and not zero"),
        ([math.nan] * DIMENSION, "must be finite and not zero"),
        ([1e300] * DIMENSION, "must be finite and not zero"),
    ],
)
async def test_bad_vectors_are_refused_and_nothing_is_changed(store, vector, message):
    await put(store, "a", "old")
    with pytest.raises(StoreError, match=f"chunk 0 of 'a': {message}"):
        await put(store, "a", "new", vector=vector)
    with pytest.raises(StoreError, match=f"query's vector: {message}"):
        await store.search(vector, "x")
    assert await found(store, text="old new") == [("a", 0)]


@pytest.mark.parametrize(
    "chunk", [Chunk("b", 0, "x", at(0)), Chunk("a", 1, "x", at(0)), Chunk("a", 0, "x")]
)
async def test_chunks_that_do_not_fit_are_refused(store, chunk):
    with pytest.raises(StoreError, match="chunk"):
        await store.upsert(
            "a", content_hash="h", source="s", title=None, summary=None, chunks=[chunk]
        )
    assert await store.count() == (0, 0)


@pytest.mark.parametrize("document_id", ["", "\ud800"])
async def test_an_id_that_cannot_be_kept_is_refused(store, document_id):
    with pytest.raises(StoreError, match="document's id must"):
        await put(store, document_id, "x")
    with pytest.raises(StoreError, match="document's id must"):
        await store.delete([document_id])


async def test_bad_arguments_are_refused(store, make):
    with pytest.raises(ConfigurationError, match=r"search\(k=0\)"):
        await store.search(at(0), "x", 0)
    with pytest.raises(StoreError, match="got one text"):
        await store.delete("abc")
    for options in ({"dimension": 0}, {"dimension": 9000}, {"model": ""}):
        with pytest.raises(ConfigurationError, match="Store"):
            make(**options)


@pytest.mark.parametrize(
    ("dimension", "model"), [(4, MODEL), (DIMENSION, "other"), (4, "other")]
)
async def test_another_model_or_dimension_is_refused(make, dimension, model):
    async with make() as store:
        await put(store, "a", "x")
    async with no_leaks():
        with pytest.raises(ConfigurationError):
            async with make(dimension, model):
                pass


# At the same time


async def test_concurrent_calls_all_succeed(store):
    async with asyncio.TaskGroup() as group:
        for i in range(40):
            group.create_task(put(store, f"d{i}", "word", "more"))
            group.create_task(store.search(at(0), "word"))
    assert await store.count() == (40, 80)


async def test_a_search_sees_a_document_as_it_was_or_as_it_is(make):
    # The number of its chunks, in each of them.
    sizes, done = (1, 5, 3, 8), asyncio.Event()

    async def replace(store):
        for turn in range(24):
            size = sizes[turn % len(sizes)]
            text = f"size {size} turn {turn}"
            await put(store, "a", *[text] * size, content_hash=str(turn))
        done.set()

    async with make() as writer, make() as reader, asyncio.TaskGroup() as group:
        group.create_task(replace(writer))
        while not done.is_set():
            await writer.count()  # lets Solr's readers see what was written
            hits = await reader.search(at(0), "size", 50)
            assert len({hit.text for hit in hits}) <= 1
            assert not hits or len(hits) == int(hits[0].text.split()[1])


@pytest.mark.parametrize("awaits", range(8))
async def test_a_cancelled_upsert_has_happened_whole_or_not_at_all(store, awaits):
    task = asyncio.create_task(put(store, "a", *["word"] * 40))
    for _ in range(awaits**2):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await put(store, "b", "x")  # behind whatever is left of it
    assert await store.count() in {(1, 1), (2, 41)}


async def test_nothing_is_left_after_closing(make):
    async with no_leaks(), make() as store:
        await put(store, "a", "x")
        await store.search(at(0), "x")


async def test_closing_again_and_together_is_fine(make):
    async with no_leaks():
        store = make()
        await put(store, "a", "x")
        await asyncio.gather(store.aclose(), store.aclose())
        await store.aclose()
        with pytest.raises(StoreError, match="is closed"):
            await store.count()


async def test_closing_finishes_what_was_begun(make):
    async with no_leaks():
        store = make()
        writing = [asyncio.create_task(put(store, f"d{i}", "x")) for i in range(20)]
        searching = asyncio.create_task(store.search(at(0), "x"))
        await asyncio.sleep(0)
        await store.aclose()
        await asyncio.gather(*writing, searching)
    async with make() as store:
        assert await store.count() == (20, 20)


async def test_a_store_that_was_never_used_can_be_closed(make):
    async with no_leaks():
        await make().aclose()
