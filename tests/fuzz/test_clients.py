"""Whatever a service answers: our errors, within the bounds of memory, and an end."""

import asyncio
import functools
import gzip
import json
import math
import warnings
import zlib
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.scripted import Answer, answer, scripted
from tests.fuzz.examples import Shown, bodies, fuzz, memory_below, one_in, torn
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun.clients import http
from spanrun.clients._body import BadCodingError, Body, BodyTooLargeError
from spanrun.clients._parse import parsed
from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import EmbeddingError, ServiceError, StoreError

BOUND = 256 * 1024
MEMORY = 32  # MiB: what a body of BOUND may become, and what is loaded meanwhile
ONCE = sr.Retry(on=lambda _: False, attempts=1)

EMBEDDINGS: list[Any] = [
    {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": n, "embedding": [0.1, 1, -2e3]}
            for n in range(2)
        ],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    },
    {"data": [{"index": n, "embedding": "AACAPwAAAEA="} for n in range(2)]},
]
CHAT: list[Any] = [
    {
        "id": "c1",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "yes", "refusal": "no"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    {"choices": [{"message": {"content": None, "refusal": "no"}}]},
]
ERRORS: list[Any] = [
    {"error": {"message": "no", "type": "x", "code": 1}},
    {"error": {"msg": "no", "trace": "at", "code": 400}},
    {"message": "no"},
    {"detail": [{"msg": "no"}]},
]
SOLR: list[Any] = [
    {
        "responseHeader": {"status": 0, "QTime": 1, "params": {"q": "a"}, "rf": 1},
        "response": {
            "numFound": 1,
            "start": 0,
            "numFoundExact": True,
            "docs": [{"id": "a", "tags": ["b"]}],
        },
        "grouped": {"a": {"groups": []}},
        "moreLikeThis": {"a": {"docs": []}},
        "spellcheck": {"suggestions": ["a", {"suggestion": ["b"]}], "collations": []},
        "debug": {"a": 1},
    },
    {"responseHeader": {"status": 1}},
    {
        "responseHeader": {"status": 0},
        "schema": {
            "uniqueKey": "id",
            "fields": [{"name": "id", "type": "string"}],
            "dynamicFields": [{"name": "*_s", "type": "string"}],
            "fieldTypes": [{"name": "string", "class": "StrField"}],
        },
    },
]


gzipped = functools.partial(gzip.compress, mtime=0)  # the same in each run


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


PACKERS = {
    "gzip": gzipped,
    "x-gzip": gzipped,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "identity": bytes,
    "br": bytes,
    "zstd": zlib.compress,
    "": bytes,
}
GOOD_CODINGS = ["gzip", "x-gzip", "deflate", "Deflate", "identity"]
BLANKS = gzipped(b" " * (64 * 2**20))


@st.composite
def packed(draw: st.DrawFn, body: bytes) -> tuple[str, bytes]:
    """A ``Content-Encoding``, and the body packed that way or nearly so."""
    codings = draw(
        st.just([])
        | st.lists(st.sampled_from(GOOD_CODINGS), max_size=3)
        | st.lists(st.sampled_from(sorted(PACKERS)), max_size=4)
    )
    if draw(one_in(9)):
        body, codings = BLANKS, ["gzip", *codings]
        for coding in codings[1:]:
            body = PACKERS[coding](body)
        return ", ".join(codings), Shown(body)
    for coding in codings:
        body = PACKERS[coding](body)
    if codings and draw(one_in(4)):
        body = draw(torn(body))
    return ", ".join(codings), Shown(body)


STATUS = st.sampled_from(
    ["200 OK"] * 8 + ["400 Bad", "413 Large", "503 Busy", "307 Go"]
)


@st.composite
def answers(draw: st.DrawFn, good: list[Any]) -> bytes:
    """A whole answer, as it is on the wire."""
    status = draw(STATUS)
    coding, body = draw(packed(draw(bodies(*good * 5, *ERRORS))))
    more = {"Retry_After": draw(st.sampled_from(["0", "-1", "nan", "1e999", "x" * 99]))}
    if coding:
        more["Content_Encoding"] = coding
    told = answer(body, status, **more)
    if draw(one_in(8)):
        told = draw(torn(told[:400])) + told[400:]
    times = draw(st.sampled_from([1, 1, 1, 9]))
    return Shown(b"HTTP/1.1 100 Continue\r\n\r\n" * (times - 1) + told)


def ending(told: bytes) -> Answer:
    """The answer ``told``, behind which the connection ends."""

    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(told)
        writer.close()

    return end


@fuzz
@given(told=answers(EMBEDDINGS), encoding=st.sampled_from(["float", "base64"]))
def test_embeddings(told: bytes, encoding: Any) -> None:
    async def ask() -> None:
        async with (
            scripted(ending(told)) as server,
            Embeddings(
                server.url, model="m", encoding=encoding, max_bytes=BOUND, retry=ONCE
            ) as embeddings,
        ):
            found = await embeddings.embed(["a", "b"])
        assert len(found) == 2
        assert all(math.isfinite(number) for vector in found for number in vector)

    _ends_in(ask(), EmbeddingError, httpx.TransportError)


@fuzz
@given(told=answers(CHAT))
def test_chat(told: bytes) -> None:
    async def ask() -> None:
        async with (
            scripted(ending(told)) as server,
            Chat(server.url, model="m", max_bytes=BOUND, retry=ONCE) as chat,
        ):
            found = await chat.achat("hello")
        assert isinstance(found.text, str)
        assert found.input_tokens is None or found.input_tokens >= 0

    _ends_in(ask(), ServiceError, httpx.TransportError)


@fuzz
@given(told=answers(SOLR), what=st.sampled_from(["search", "schema", "commit", "add"]))
def test_solr(told: bytes, what: str) -> None:
    async def ask() -> None:
        async with (
            scripted(ending(told)) as server,
            AsyncSolrClient(server.url, retry=ONCE) as solr,
        ):
            if what == "search":
                await solr.search({"q": "a"})
            elif what == "schema":
                (await solr.schema()).type_of("a_s")
            elif what == "commit":
                await solr.commit()
            else:
                await solr.add([{"id": "a"}])

    before, http.MAX_BYTES = http.MAX_BYTES, BOUND
    try:
        _ends_in(ask(), StoreError)
    finally:
        http.MAX_BYTES = before


def _ends_in(asking: Any, *errors: type[Exception]) -> None:
    with warnings.catch_warnings(), memory_below(MEMORY):
        warnings.simplefilter("error")
        try:
            asyncio.run(asyncio.wait_for(asking, PATIENCE))
        except TimeoutError:
            raise AssertionError("it takes more than a minute") from None
        except errors as error:
            said = str(error)
        else:
            return
    assert said


@fuzz
@given(
    body=st.binary(max_size=2000) | st.just(b"x" * 100_000),
    by=st.sampled_from([1, 100, 10**9]),
    data=st.data(),
)
def test_codings(body: bytes, by: int, data: st.DataObject) -> None:
    """What was packed well comes out as it was; else there is one of two errors."""
    coding, sent = data.draw(packed(body))
    by = max(by, len(sent) // 1000)
    with memory_below(4):
        try:
            found = Body(coding, BOUND)
            for at in range(0, len(sent), by):
                for given_ in found.add(sent[at : at + by]):
                    assert given_ <= max(64 * 1024, by)
            assert len(found.end()) <= BOUND
        except (BadCodingError, BodyTooLargeError):
            pass


@fuzz
@given(text=bodies(*EMBEDDINGS, *CHAT, *SOLR), space=st.sampled_from([0, 100_000]))
def test_json(text: bytes, space: int) -> None:
    """`parsed` gives what `json.loads` does, whatever the size."""
    text += b" " * space

    async def steps() -> Any:
        return await parsed(text, 2**30)

    found, failed = _outcome(lambda: asyncio.run(steps()))
    wanted, fails = _outcome(lambda: json.loads(text))
    assert (failed is None) == (fails is None)
    assert repr(found) == repr(wanted)


def _outcome(make: Any) -> tuple[Any, Exception | None]:
    try:
        return make(), None
    except (ValueError, RecursionError) as error:
        return None, error
