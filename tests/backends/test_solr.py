"""The Solr client against a real Solr."""

import asyncio
import datetime
import math
import random

import httpx
import numpy as np
import pytest
from tests import solr
from tests.solr import DIMENSION
from tests.stores.test_conformance import PAYLOADS

from spanrun.clients.solr import AsyncSolrClient
from spanrun.clients.solr_responses import SolrSelectResponse
from spanrun.errors import ConfigurationError, StoreError
from spanrun.testing import Captured, no_leaks

solr_server, solr_url = solr.solr_server, solr.solr_url


def at(angle: float) -> list[float]:
    angle = math.radians(angle)
    return [math.cos(angle), math.sin(angle), *[0.0] * (DIMENSION - 2)]


@pytest.fixture
async def client(solr_url):
    async with AsyncSolrClient(f"{solr_url}/") as opened:
        yield opened


async def ids(client, **params):
    found = await client.search({"q": "*:*", "fl": "id", "rows": 100, **params})
    return {document["id"] for document in found.response.docs}


async def test_what_was_added_is_found_typed_and_deleted_again(client):
    documents = [
        {
            "id": "a",
            "title": b"Cats",
            "n_i": np.int64(3),
            "seen_dt": datetime.datetime(2025, 2, 18, 1, 2, 3, 450_000),  # noqa: DTZ001
            "embedding": np.array(at(0), np.float32),
        },
        {"id": "b", "title": "Dogs", "tags_s": "x"},
        {"id": "c"},
    ]
    added = await client.add(documents, commit=True)
    assert added.response_header.status == 200
    assert (added.response_header.q_time or 0) >= 0
    assert added.response_header.zk_connected is None
    found = await client.search(
        {"q": "title:cats", "fl": "id,title,n_i,seen_dt,score", "echoParams": "all"},
        debugQuery=True,
    )
    (document,) = found.response.docs
    assert document.pop("score") > 0
    assert document == {
        "id": "a",
        "title": "Cats",
        "n_i": 3,
        "seen_dt": "2025-02-18T01:02:03.450Z",
    }
    assert (found.response.num_found, found.response.start) == (1, 0)
    assert found.response.num_found_exact
    assert found.response_header.params is not None
    assert found.response_header.params["q"] == "title:cats"
    assert found.debug is not None
    assert await ids(client, fq=["title:(cats dogs)", "n_i:3"]) == {"a"}
    assert (await client.search({"q": "id:none"})).response.docs == []

    assert (await client.delete_by_id(["a", "none"], commit=True)).debug is None
    assert await ids(client) == {"b", "c"}
    await client.delete_by_query("tags_s:x", commit=True)
    assert await ids(client) == {"c"}
    await client.clear_collection(commit=True)
    assert await ids(client) == set()


async def test_nothing_is_found_before_a_commit(client):
    await client.add([{"id": "a"}], commitWithin=60_000)
    await client.commit(soft=True)
    assert await ids(client) == {"a"}
    await client.commit()


async def test_an_atomic_update_changes_one_field(client):
    await client.add([{"id": "a", "n_i": 1, "tags_s": "x"}], commit=True)
    await client.add([{"id": "a", "n_i": {"inc": 2}}], commit=True)
    found = await client.search({"q": "id:a", "fl": "n_i,tags_s"})
    assert found.response.docs == [{"n_i": 3, "tags_s": "x"}]


async def test_many_calls_at_once_leave_nothing(solr_url):
    async with no_leaks():
        client = AsyncSolrClient(solr_url)
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(client.add([{"id": str(number)}]))
                group.create_task(client.search({"q": "id:1"}))
        await client.commit(soft=True)
        assert len(await ids(client)) == 100
        await client.close()


# Other handlers than select


async def test_a_handler_may_answer_something_else_than_documents(client):
    await client.add(
        [{"id": str(n), "title": f"Doc {n}", "text": "cats and dogs"} for n in "12"],
        commit=True,
    )
    asked = {
        "terms": {"terms.fl": "text"},
        "/suggest": {"suggest.q": "Doc", "suggest.build": True},
        "mlt": {"q": "id:1", "mlt.fl": "text", "mlt.mintf": 1, "mlt.mindf": 1},
        "spell": {"q": "text:x", "spellcheck.q": "catz", "spellcheck": True},
        "tvrh": {"q": "id:1", "tv.fl": "text"},
        "browse": {"q": "cats"},
        "get": {"id": "1"},
        "admin/ping": {},
        "schema/fields": {},
    }
    found = {
        handler: await client.search(query, handler=handler)
        for handler, query in asked.items()
    }
    for answer in found.values():
        assert isinstance(answer, SolrSelectResponse)
    assert found["terms"].terms == {"text": ["and", 2, "cats", 2, "dogs", 2]}
    assert found["terms"].response.docs == []
    assert found["/suggest"].suggest["titles"]["Doc"]["numFound"] > 0
    assert [each["id"] for each in found["mlt"].response.docs] == ["2"]
    assert found["spell"].spellcheck["suggestions"][0] == "catz"
    assert found["tvrh"].termVectors
    assert found["browse"].response.num_found == 2
    assert found["browse"].facet_counts
    assert [each["title"] for each in found["get"].response.docs] == ["Doc 1"]
    nothing = await client.search({"q": "id:9", "mlt.fl": "text"}, handler="mlt")
    assert nothing.response.docs == []  # Solr says `null`
    nothing = await client.search({"id": "9"}, handler="get")
    assert (nothing.response.docs, nothing.doc) == ([], None)
    spelt = await client.search(
        {"spellcheck.q": "dogz", "spellcheck": True}, handler="spell"
    )
    assert spelt.spellcheck["suggestions"][0] == "dogz"


@pytest.mark.parametrize("handler", ["select", "query"])
async def test_debug_is_given_where_it_was_asked_for(client, handler):
    async def parts(**params) -> set[str]:
        found = await client.search({"q": "*:*", "rows": 0}, handler=handler, **params)
        return set(found.debug or ())

    assert await parts() == set()
    every = {"querystring", "explain", "timing"}
    for params in ({"debug": True}, {"debug": "all"}, {"debugQuery": True}):
        assert every <= await parts(**params)
    assert await parts(debug="timing") & every == {"timing"}
    for several in (["timing", "query"], ("timing", "query")):
        assert await parts(debug=several) & every == {"timing", "querystring"}


async def test_documents_come_in_the_order_that_was_asked_for(client):
    await client.add([{"id": n, "n_i": int(n)} for n in "123"], commit=True)

    async def order(sort) -> str:
        found = await client.search({"q": "*:*", "sort": sort})
        return "".join(document["id"] for document in found.response.docs)

    assert await order("id desc") == "321"
    assert await order("product(n_i,-1) ASC, score desc") == "321"
    assert await order(["if(eq(n_i,2),0,1) asc", "id desc"]) == "231"
    assert sorted(await order("random_123 asc")) == ["1", "2", "3"]
    with pytest.raises(StoreError, match="can't be found: nope"):
        await order("nope asc")


async def test_every_sort_that_is_refused_would_be_refused_by_solr(client, solr_url):
    draw = random.Random(11)
    pieces = [
        "n_i", "id", "sum(n_i,1)", "{!func}n_i", "termfreq(text,'a, b')", "$s", "1",
        "random_1", "sum(n_i", "'a'", " asc", " desc", "ASC", " up", ",", ", ", " ",
    ]  # fmt: skip
    refused = accepted = 0
    async with httpx.AsyncClient(trust_env=False, verify=False) as plain:
        for _ in range(400):
            sort = "".join(draw.choices(pieces, k=draw.randint(1, 5)))
            params = {"q": "*:*", "rows": 0, "s": "n_i", "sort": sort}
            taken = (await plain.get(f"{solr_url}/select", params=params)).is_success
            accepted += taken
            try:
                await client.search(params)
            except ConfigurationError:
                refused += 1
                assert not taken, sort
            except StoreError:
                assert not taken, sort
    assert accepted > 10
    assert refused > 200


# What users typed


@pytest.fixture
async def library(client):
    await client.add(
        [
            {"id": "needle", "text": "a needle here", "tags_s": "a"},
            {"id": "hay", "text": "some hay there", "tags_s": "b"},
            {"id": "code", "text": "select * from q where text is null or not"},
            {"id": "other", "text": "zebra", "title": "zebra"},
        ],
        commit=True,
    )
    return client


WORDS = {
    "needle": {"a", "needle", "here"},
    "hay": {"some", "hay", "there"},
    "code": {"select", "from", "q", "where", "text", "is", "null", "or", "not"},
    "other": {"zebra"},
}


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
async def test_a_text_finds_nothing_but_what_has_its_words(library, payload):
    for fields in (["text", "title"], {"text": 2.5, "title": 1}):
        found = await library.search_text(
            payload, fields, fl="id", rows=100, x="zebra", sr_more="zebra"
        )
        literal = "".join(c if c.isalnum() else " " for c in payload.lower()).split()
        assert {document["id"] for document in found.response.docs} <= {
            name for name, words in WORDS.items() if words & set(literal)
        }
    assert len(await ids(library)) == 4


PIECES = [
    "{!", "}", "lucene", "func", "v=", "$sr_text", "$sr_fields", "${", '"', "'", "\\",
    "*", "*:*", "?", "~", "^", "(", ")", "[", "]", " TO ", "AND", "OR", "NOT", "+", "-",
    "!", "&&", "||", "/", ":", "text", "title", "id", "_query_:", "needle", "hay",
    "zebra", " ", "\t", "\n", "\0", "\u3000", "“", "”", "<", ">", "=", "#", "%", "&",
    ";", "\x1f", "\ud83d", "🎉", "\u200b",
]  # fmt: skip


async def test_a_text_of_random_pieces_finds_nothing_else_either(library):
    draw = random.Random(7)

    async def check() -> None:
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 14)))
        found = await library.search_text(text, ["text", "title"], fl="id", rows=100)
        assert {document["id"] for document in found.response.docs} <= {
            name
            for name, words in WORDS.items()
            if any(word in text.lower() for word in words)
        }, text

    await asyncio.gather(*(check() for _ in range(500)))


def test_there_are_at_least_60_payloads():
    assert len(set(PAYLOADS)) >= 60


async def test_all_words_count_and_weights_order(library):
    found = await library.search_text("hay NEEDLE unknown", ["text"], fl="id")
    assert {document["id"] for document in found.response.docs} == {"hay", "needle"}
    await library.add([{"id": "t", "title": "needle needle"}], commit=True)
    for fields, first in (({"text": 9, "title": 1}, "needle"), ({"title": 9}, "t")):
        found = await library.search_text("needle", fields, fl="id")
        assert found.response.docs[0]["id"] == first


async def test_filters_hold_for_texts_vectors_and_alone(library):
    where = {"tags_s": ["b", "zzz"]}
    found = await library.search_text("needle hay", ["text"], where=where, fl="id")
    assert found.response.docs == [{"id": "hay"}]
    found = await library.search_where(where, fl="id", fq="id:*")
    assert found.response.docs == [{"id": "hay"}]
    found = await library.search_where(where, fl="id", fq=["id:needle"])
    assert found.response.docs == []
    for value in ("*", "b OR a", "[* TO *]", "${x}", "$sr_text", "b' v='a", "b,a"):
        found = await library.search_where({"tags_s": value}, x="b", sr_text="b")
        assert found.response.docs == []


async def test_the_nearest_are_found_among_the_wanted(client):
    await client.add(
        [
            {"id": str(angle), "embedding": at(angle), "tags_s": str(angle % 2)}
            for angle in range(40)
        ],
        commit=True,
    )
    found = await client.search_vector(at(0), "embedding", rows=3, fl="id")
    assert [document["id"] for document in found.response.docs] == ["0", "1", "2"]
    found = await client.search_vector(
        np.array(at(0), np.float32), "embedding", rows=3, where={"tags_s": "1"}, fl="id"
    )
    assert [document["id"] for document in found.response.docs] == ["1", "3", "5"]


@pytest.mark.parametrize(
    "field",
    [
        "nope",
        "*",
        "text^9 title",
        "text} *:* {!x",
        "_query_",
        "_val_",
        "text:a",
        "tä",
    ],
)
async def test_a_field_that_the_schema_lacks_is_refused(library, field):
    for call in (
        library.search_text("needle", [field]),
        library.search_text("needle", ["text"], where={field: "x"}),
        library.search_vector(at(0), field),
        library.search_where({field: "x"}),
    ):
        with pytest.raises(
            ConfigurationError, match=r"has no field .* it has _root_, "
        ):
            await call


async def test_the_schema_is_read_once_and_again_where_a_field_is_missing(
    client, spanrun_capture: Captured
):
    for _ in range(3):
        await client.search_text("a", ["text", "any_s"])
    assert len(spanrun_capture.find("schema docs")) == 1
    with pytest.raises(ConfigurationError):
        await client.search_text("a", ["nope"])
    assert len(spanrun_capture.find("schema docs")) == 2
    assert (await client.schema()).unique_key == "id"


# Deleting


@pytest.mark.parametrize(
    "everything",
    [
        "*:*", " *:* ", "(*:*)", "+*:*", "(+(*:*))", "*:*^2", "id:*",
        "id:[* TO *]", "id:{* TO *}", "_root_:*", "_version_:[* TO *]", "-id:none",
        "NOT id:none", "-(-*:*)", "*:* OR id:a", "id:a OR *:*", "*:* -id:none",
        "id:/.*/", "id:?*", '_query_:"*:*"', '_query_:"{!lucene}*:*"', "{!lucene}*:*",
        "{!func}1",
        "{!lucene v='*:*'}", "{!frange l=0}1", "id:[a TO c]",
        "id:(a OR b OR c) OR id:*",
        "{!bool must_not=id:none must='*:*'}",
    ],
)  # fmt: skip
async def test_everything_is_deleted_on_purpose_only(client, everything):
    await client.add([{"id": name} for name in "abc"])  # not even committed
    with pytest.raises(ConfigurationError, match="all 3 documents: call clear_collect"):
        await client.delete_by_query(everything)
    assert await ids(client) == {"a", "b", "c"}


async def test_everything_is_refused_in_an_empty_collection_too(client):
    with pytest.raises(ConfigurationError, match="clear_collection"):
        await client.delete_by_query(" ( *:* ) ")


# In a text field a value is a word, whatever its case: each title has "doc" in it.
@pytest.mark.parametrize(
    "word",
    [
        "title:doc",
        "title:DOC",
        "title:(doc 5)",
        r"title:Doc\ number\ 5",
        "id:a title:doc",
    ],
)
async def test_a_word_that_every_document_has_deletes_nothing(client, word):
    titles = [{"id": f"{n}", "title": f"Doc number {n}"} for n in range(200)]
    await client.add(titles)
    with pytest.raises(ConfigurationError, match="all 200 documents: call clear_coll"):
        await client.delete_by_query(word)
    await client.delete_by_query("title:5", commit=True)
    assert (await client.search({"q": "*:*"})).response.num_found == 199


async def test_a_word_without_a_field_deletes_nothing(client):
    await client.add([{"id": n, "title": f"Doc {n}", "text": n} for n in "abc"])
    for query in ("doc", "title:a b", "id:a OR b", "NOT a", "title:(a) +c"):
        with pytest.raises(ConfigurationError, match="has a word without a field: wri"):
            await client.delete_by_query(query)
    with pytest.raises(ConfigurationError, match="has no field 'nope'"):
        await client.delete_by_query("a", df="nope")
    with pytest.raises(ConfigurationError, match="all 3 documents"):
        await client.delete_by_query("doc a", df="title")
    await client.delete_by_query("doc a", df="title", commit=True, **{"q.op": "AND"})
    assert await ids(client) == {"b", "c"}
    await client.delete_by_query("b", df="text", commit=True)
    assert await ids(client) == {"c"}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("id:a", {"b", "c"}),
        ("id:(a OR b) OR id:c", set()),
        ("id:[b TO *]", {"a"}),
        ("*:* -id:a", {"a"}),
        (r"id:\*", {"a", "b", "c"}),
        ("id:none*", {"a", "b", "c"}),
    ],
)
async def test_what_a_query_finds_is_deleted(client, query, left):
    await client.add([{"id": name} for name in "abc"], commit=True)
    await client.delete_by_query(query, commit=True)
    assert await ids(client) == left


# Errors and telemetry


async def test_errors_carry_the_status(client, solr_url):
    for status, call in (
        (400, client.search({"q": "((("})),
        (400, client.search({"q": "a", "df": "nope"})),
        (400, client.add([{"id": "a", "n_i": "many"}])),
        (400, client.add([{"id": "a", "nope": 1}])),
        (400, client.add([{"title": "no id"}])),
        (500, client.add([{"id": "a", "embedding": [1.0]}])),
        (400, client.delete_by_query("(((")),
        (404, client.search({"q": "a"}, handler="nope")),
    ):
        with pytest.raises(ValueError, match=f"answered {status}") as raised:
            await call
        assert isinstance(raised.value, StoreError)
        assert raised.value.status == status
        assert "attempt 1/4" in raised.value.__notes__[0]
        assert raised.value.blames_request is (status == 400)
    async with AsyncSolrClient(solr_url.replace("docs", "none")) as nowhere:
        with pytest.raises(
            StoreError, match="Can not find: /solr/none/select"
        ) as raised:
            await nowhere.search({"q": "a"})
    assert raised.value.status == 404


async def test_every_call_has_its_span_and_nobodys_words(
    library, spanrun_capture: Captured
):
    await library.search_text("needle", ["text"])
    await library.search_vector(at(0), "embedding")
    await library.add([{"id": "x", "text": "needle"}])
    await library.delete_by_id(["x"])
    await library.delete_by_query("id:needle*")
    await library.commit()
    names = [
        span.name
        for span in spanrun_capture.spans
        if "db.system.name" in span.attributes
    ]
    assert set(names) == {
        "add docs", "commit docs", "delete docs", "schema docs", "select docs",
    }  # fmt: skip
    assert "needle" not in repr([s.attributes for s in spanrun_capture.spans])
    points = spanrun_capture.points("db.client.operation.duration")
    assert sum(point.count for point in points) == len(names)
