"""What needs no server: constructing, reading answers, preparing documents."""

import asyncio
import gc
import re
import subprocess
import sys
import warnings
from typing import Any

import aiosolr
import httpx
import pytest

from spanrun.clients import _solr_query as query
from spanrun.clients.solr import AsyncSolrClient, MaybeStored, transient
from spanrun.clients.solr_responses import (
    SolrResponseHeader,
    SolrSelectResponse,
    SolrUpdateResponse,
)
from spanrun.clients.solr_schema import SolrSchema
from spanrun.errors import ConfigurationError, StoreError

URL = "http://127.0.0.1:9/solr/docs"


# Constructing


def test_it_needs_neither_a_loop_nor_a_network() -> None:
    client = AsyncSolrClient(URL, request_timeout_sec=3, headers={"X": "y"})
    assert client.base_url == URL
    assert str(client) == f"AsyncSolrClient(base_url='{URL}')"
    with pytest.raises(AttributeError):
        client.base_url = "http://127.0.0.1:9/solr/other"  # type: ignore[misc]


def test_slashes_at_the_end_are_cut() -> None:
    assert AsyncSolrClient(f"{URL}//").base_url == URL


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "http://localhost:80/solr/my-collection/",
            "http://localhost:80/solr/my-collection",
        ),
        ("https://[::1]:8983/solr/a%20b", "https://[::1]:8983/solr/a%20b"),
        ("https://localhost/api/solr/docs", "https://localhost/api/solr/docs"),
        ("http://localhost:80/docs", "http://localhost:80/solr/docs"),
        ("http://localhost:80/proxy/solr/docs", "http://localhost:80/proxy/solr/docs"),
        ("http://me:secret@localhost/solr/a b", "http://localhost/solr/a%20b"),
    ],
)
async def test_a_url_becomes_what_aiosolr_takes(url: str, told: str) -> None:
    client = AsyncSolrClient(url)
    built = await client._build_client()
    assert f"{built.base_url}/{built.collection}" == told
    await built.close()


@pytest.mark.parametrize(
    "url",
    [
        "", "  ", None, "localhost:8983/solr/docs", "ftp://localhost/solr/docs",
        "http:///solr/docs", "http://localhost", "http://localhost:8983/",
        "http://localhost:x/solr/docs", "http://localhost:99999/solr/docs",
        "http://localhost/solr/..", "http://localhost/solr/%2e%2e/docs",
        "http://localhost/solr/docs?key=hunter2", "http://localhost/solr/docs#a",
        "http://me:hunter2@[::1/solr/docs", "http://me:hunter2@localhost",
    ],
)  # fmt: skip
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url=") as raised:
        AsyncSolrClient(url)
    assert isinstance(raised.value, ValueError)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("seconds", [-1, -0.1, float("nan")])
def test_a_negative_timeout_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="request_timeout_sec"):
        AsyncSolrClient(URL, request_timeout_sec=seconds)


def test_what_aiosolr_does_not_know_is_refused_at_once() -> None:
    AsyncSolrClient(URL, ttl_dns_cache=4800, trace_configs=[])
    with pytest.raises(ConfigurationError, match=r"trace_configs=…\): aiohttp isn't"):
        AsyncSolrClient(URL, trace_configs=[object()])
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'nope'"):
        AsyncSolrClient(URL, nope=1)
    with pytest.raises(ConfigurationError, match=r"host=…\): the address"):
        AsyncSolrClient(URL, host="127.0.0.1")


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"X": "é"}])
def test_a_header_that_cannot_be_sent_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="must be printable ASCII") as raised:
        AsyncSolrClient(URL, headers=headers)
    assert "Y: b" not in str(raised.value)


async def test_the_client_of_aiosolrs_is_told_so() -> None:
    client = AsyncSolrClient(
        "http://127.0.0.1:9/solr/docs/",
        ttl_dns_cache=7,
    )
    built = await client._build_client()
    assert isinstance(built, aiosolr.Client)
    assert (built.base_url, built.collection) == ("http://127.0.0.1:9/solr", "docs")
    assert built.ttl_dns_cache == 7
    await built.close()


async def test_concurrent_first_calls_make_one_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    async def build(self: AsyncSolrClient) -> object:
        await asyncio.sleep(0)
        made.append(built := await original(self))
        return built

    original = AsyncSolrClient._build_client
    monkeypatch.setattr(AsyncSolrClient, "_build_client", build)
    client = AsyncSolrClient(URL)
    got = await asyncio.gather(*(client._get_client() for _ in range(50)))
    assert len(made) == 1
    assert set(map(id, got)) == {id(made[0])}
    await client.close()


async def test_closing_again_and_together_is_fine() -> None:
    client = AsyncSolrClient(URL)
    await client.close()
    await client._get_client()
    await asyncio.gather(client.close(), client.close())
    await client.close()


def test_it_may_be_used_in_one_loop_after_another() -> None:
    async def use() -> None:
        async with client:
            await asyncio.gather(*(client._get_client() for _ in range(3)))

    client = AsyncSolrClient(URL)
    asyncio.run(use())
    asyncio.run(use())


def test_another_loop_is_refused_while_its_own_runs() -> None:
    async def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="open on another event loop"):
            await client.search({"q": "*:*"})
        with pytest.raises(ConfigurationError, match="open on another event loop"):
            await client.close()

    async def here() -> None:
        async with client:
            await asyncio.to_thread(asyncio.run, elsewhere())

    client = AsyncSolrClient(URL)
    asyncio.run(here())


def test_who_forgets_to_close_is_told_where_it_was_made() -> None:
    async def forget() -> None:
        client = AsyncSolrClient(URL)
        await client._get_client()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(forget())
        gc.collect()
    (ours,) = told
    assert ours.category is ResourceWarning
    line = forget.__code__.co_firstlineno + 1
    assert f"made at {__file__}:{line}, was never closed" in str(ours.message)


def test_who_never_used_it_need_not_close_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AsyncSolrClient(URL)
        gc.collect()


def test_importing_spanrun_imports_neither_aiosolr_nor_pydantic() -> None:
    code = (
        "import sys, spanrun, spanrun.clients.solr, spanrun.stores.solr\n"
        "assert not {'aiosolr', 'aiohttp', 'pydantic'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("missing", ["aiosolr", "pydantic"])
def test_without_the_extra_the_error_says_what_to_install(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
from spanrun.clients.solr import AsyncSolrClient
try:
    AsyncSolrClient("http://127.0.0.1:9/solr/docs")
except ValueError as error:
    print(type(error).__name__, error)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert told == (
        f"ConfigurationError AsyncSolrClient needs {missing}: "
        "pip install 'spanrun[solr]'\n"
    )


# Arguments of calls


async def test_what_cannot_be_asked_is_refused_before_anything_is_sent() -> None:
    client = AsyncSolrClient(URL)
    for call in (
        client.delete_by_id([]),
        client.delete_by_id("abc"),
        client.delete_by_query(" "),
        client.add("abc"),  # type: ignore[arg-type]
        client.add({"id": "a"}),  # type: ignore[arg-type]
        client.add(["abc"]),  # type: ignore[list-item]
        client.add([{"id": b"\xff"}]),
        client.search({"q": "a", "handler": "../admin"}),
        client.search({"q": "a"}, handler="a//b"),
        client.search_text("a", []),
        client.search_text("a", "text"),
        client.search_text("a", {"text": -1}),
        client.search_text("a", ["text"], rows=-1),
        client.search_vector([], "embedding", rows=0),
    ):
        with pytest.raises(ConfigurationError):
            await call
    assert client._client is None


# Answers


def test_both_spellings_are_accepted_and_unknown_fields_kept() -> None:
    solrs = {
        "responseHeader": {"status": 0, "QTime": 3, "zkConnected": True, "rf": 2},
        "response": {"docs": [{"id": "a"}], "numFound": 9, "numFoundExact": False},
        "nextCursorMark": "x",
    }
    ours = {
        "response_header": {"status": 0, "q_time": 3, "zk_connected": True, "rf": 2},
        "response": {"docs": [{"id": "a"}], "num_found": 9, "num_found_exact": False},
        "nextCursorMark": "x",
    }
    read = SolrSelectResponse.model_validate(solrs)
    assert read == SolrSelectResponse.model_validate(ours)
    assert (read.response.num_found, read.response.start) == (9, 0)
    assert not read.response.num_found_exact
    assert read.response_header.q_time == 3
    assert read.response_header.zk_connected is True
    assert read.model_extra == {"nextCursorMark": "x"}
    assert read.model_dump(by_alias=True)["responseHeader"]["QTime"] == 3
    update = SolrUpdateResponse(response_header=SolrResponseHeader(status=200))
    assert update.debug is None


def test_a_broken_answers_content_is_not_in_the_error() -> None:
    with pytest.raises(ValueError, match="numFound") as raised:
        SolrSelectResponse.model_validate(
            {"response": {"docs": [], "numFound": "secret"}}
        )
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", [None, [], {}, {"schema": 7}, {"schema": {}}])
def test_what_is_no_schema_is_an_error(answer: object) -> None:
    with pytest.raises(StoreError, match="no schema"):
        SolrSchema.read(answer)


def test_the_longest_pattern_gives_a_dynamic_field_its_type() -> None:
    schema = SolrSchema("id", {"id": "s"}, {"*_s": "s", "a_*": "t"}, {"s": {"x": 1}})
    assert schema.type_of("id") == schema.type_of("b_s") == {"x": 1}
    assert schema.type_of("a_x") == {}
    for name in ("b", "", "b c_s", "b}_s", "b:_s", "_s\n", "ä_s", "$b_s"):
        assert schema.type_of(name) is None


# Queries


def test_words_are_quoted_each_once_and_64_at_most() -> None:
    assert query.words('a "b" a\\ *:* {!x} c_d ä\u3000🎉') == (
        '"a" "b" "x" "c_d" "ä" "🎉"'
    )
    assert query.words(" *:* \\ ") == ""
    assert query.words("".join(f"w{n} " for n in range(99))).count(" ") == 63


@pytest.mark.parametrize(
    "plain",
    [
        "id:a", 'id:"a b"', r'id:"a\"b"', r"id:a\-b", r"id:\*", "a_s:x-y", "a.b:x@y",
        "id:a OR id:b", "id:a id:b", 'id:a AND t:("b" OR c d)', "id:(a)", "n:1.5",
        "id:ä",
    ],
)  # fmt: skip
def test_fields_with_values_are_plain(plain: str) -> None:
    assert query.plain_fields(plain)


@pytest.mark.parametrize(
    "other",
    [
        "*:*", "id:*", "id:a*", "id:?", "id:[* TO *]", "-id:a", "NOT id:a", "+id:a",
        "id:a NOT id:b", "id:(a OR NOT b)", "id:(NOT b)", "id:a OR *:*", "id:(a *)",
        '_query_:"{!lucene}*:*"', '_val_:"1"', "{!lucene}*:*", "{!func}1", "a",
        "(id:a)",
        'id:"a" *:*', 'id:"a\\"', "id:a~", "id:/.*/", "id:a^2", "id:-a", "id:a -b",
        "id:(a -b)", "id:!a", "id:{!func}1", "id:", "", "id:NOT", "id:(a OR -b)",
    ],
)  # fmt: skip
def test_patterns_and_negations_are_not(other: str) -> None:
    assert not query.plain_fields(other)


def test_the_fields_of_a_plain_query_are_told() -> None:
    assert query.plain_fields(r'id:a OR t:("x:y" OR b\:c d) n.m:1') == {
        "id",
        "t",
        "n.m",
    }


# How a search is ordered


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("id asc", "id asc"),
        (["id asc", "n_i desc"], "id asc,n_i desc"),
        (("id asc",), "id asc"),
        ("random_123 DESC , score asc,", "random_123 DESC , score asc,"),
        ("", ""),
        ("${order}", "${order}"),
        ("sum(n_i,1)asc", "sum(n_i,1)asc"),
        ("{!func}n_i asc", "{!func}n_i asc"),
        ("termfreq(text,'a, b') desc", "termfreq(text,'a, b') desc"),
        ("1asc", "1asc"),
        ("ä_i asc", "ä_i asc"),
    ],
)
def test_what_solr_may_take_as_a_sort_is_sent(given: Any, sent: str) -> None:
    assert query.sort_of("search", given) == sent


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("n_i", "each with asc or desc: 'n_i' has none"),
        ("n_i up", "'n_i up' has none"),
        ("id asc, n_i", "'n_i' has none"),
        ("n_i,id asc", "'n_i' has none"),
        ("id asc; n_i desc x", "there is none at its end"),
        ("sum(n_i,1)", "there is none at its end"),
        (" ", "there is none at its end"),
        ("asc", "'asc' has none"),
        (["id"], "'id' has none"),
        ([3], "sort"),
        (7, "sort"),
    ],
)
async def test_a_sort_without_a_direction_is_refused_before_it_is_sent(
    given: Any, why: str
) -> None:
    async with AsyncSolrClient("http://127.0.0.1:9/solr/docs") as client:
        for handler in ("select", "query"):
            with pytest.raises(ConfigurationError, match=re.escape(why)):
                await client.search({"q": "a", "sort": given}, handler=handler)


# Which errors are worth another attempt


def test_what_may_help_next_time_is_transient() -> None:
    refused = StoreError("x")
    refused.__cause__ = httpx.ConnectError("refused")
    for error in (refused, StoreError("x", status=503), StoreError("x", status=429)):
        assert transient(error)
    unsure = MaybeStored("x", status=503)
    unsure.__cause__ = httpx.ReadError("reset")
    final = [StoreError("x", status=status) for status in (400, 500)]
    for other in (unsure, *final, TimeoutError(), OSError()):
        assert not transient(other)
