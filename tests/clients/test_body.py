"""What an answer unpacks to is bounded, in each step, and not asked for twice."""

import asyncio
import functools
import gzip
import json
import random
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.clients.scripted import FOUND, answer, scripted

import spanrun as sr
from spanrun.clients import http
from spanrun.clients._body import (
    _GIVEN,
    _TURN,
    BadCodingError,
    Body,
    BodyTooLargeError,
    read_body,
)
from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import HttpClient
from spanrun.clients.http import transient as http_transient
from spanrun.clients.solr import AsyncSolrClient
from spanrun.clients.solr import transient as solr_transient
from spanrun.errors import EmbeddingError, ServiceError, StoreError

BOUND = 2**20
GOOD = {"data": [{"index": 0, "embedding": [1.0, 0.5]}]}


gzipped = functools.partial(gzip.compress, mtime=0)  # so are the tests' names


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def noise(size: int) -> bytes:
    return random.Random(4711).randbytes(size)


def unpacked(
    packed: bytes, codings: str, max_bytes: int = BOUND, by: int = 1000
) -> bytes:
    body = Body(codings, max_bytes)
    for at in range(0, len(packed), by):
        for _ in body.add(packed[at : at + by]):
            pass
    return body.end()


async def in_parts(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


BOMB = gzipped(b" " * (64 * BOUND), 9)
TWICE = gzipped(BOMB, 9)


@pytest.mark.parametrize("by", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("codings", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzipped),
        ("X-GZIP", gzipped),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("deflate, gzip", lambda data: gzipped(zlib.compress(data))),
        ("gzip,identity, gzip", lambda data: gzipped(gzipped(data))),
        ("gzip", lambda data: gzipped(data[:9]) + gzipped(data[9:])),
    ],
)
@pytest.mark.parametrize("data", [b"", b"x", b"a" * 200_000, noise(70_000)])
def test_what_was_packed_is_unpacked(
    codings: str, pack: Callable[[bytes], bytes], data: bytes, by: int
) -> None:
    packed = pack(data)
    if by == 1:
        data, packed = data[:500], pack(data[:500])
    assert unpacked(packed, codings, by=by) == data


@pytest.mark.parametrize("size", [BOUND - 1, BOUND, BOUND + 1])
@pytest.mark.parametrize("make", [noise, lambda size: b"a" * size])
@pytest.mark.parametrize(
    ("codings", "pack"),
    [("", bytes), ("gzip", gzipped), ("deflate", raw_deflate)],
)
def test_the_bound_is_of_what_it_unpacks_to(
    codings: str,
    pack: Callable[[bytes], bytes],
    make: Callable[[int], bytes],
    size: int,
) -> None:
    data = make(size)
    if size <= BOUND:
        assert unpacked(pack(data), codings) == data
    else:
        with pytest.raises(BodyTooLargeError):
            unpacked(pack(data), codings)


@pytest.mark.parametrize(("codings", "packed"), [("gzip", BOMB), ("gzip, gzip", TWICE)])
def test_no_step_gives_more_than_its_share_and_none_comes_behind_the_bound(
    codings: str, packed: bytes
) -> None:
    given: list[int] = []
    body = Body(codings, BOUND)
    with pytest.raises(BodyTooLargeError):
        given.extend(body.add(packed))
    assert max(given) <= _GIVEN
    assert sum(given) <= BOUND


def test_what_unpacks_to_nothing_without_end_is_bounded_too() -> None:
    empty = b"\x00\x00\x00\xff\xff" * (2 * BOUND // 5)  # empty blocks
    with pytest.raises(BodyTooLargeError):
        unpacked(b"\x78\x9c" + empty, "deflate", by=100_000)
    with pytest.raises(BodyTooLargeError):
        unpacked(gzipped(b"") * (2 * BOUND // 20), "gzip", by=100_000)


@pytest.mark.parametrize(
    "pack", [gzipped, zlib.compress, raw_deflate], ids=["gzip", "zlib", "raw"]
)
@pytest.mark.parametrize("missing", [1, 4, 9])
def test_what_breaks_off_is_no_short_text(
    pack: Callable[[bytes], bytes], missing: int
) -> None:
    coding = "gzip" if pack is gzipped else "deflate"
    packed = pack(b'{"data": []}' + noise(100))
    with pytest.raises(BadCodingError, match="breaks off"):
        unpacked(packed[:-missing], coding)
    with pytest.raises(BadCodingError, match="breaks off"):
        unpacked(gzipped(packed[:-missing]), f"{coding}, gzip")


@pytest.mark.parametrize(
    ("codings", "packed", "why"),
    [
        ("gzip", b"no gzip", "incorrect header"),
        ("gzip", gzipped(b"x") + b"more", "incorrect header"),
        ("gzip", gzipped(b"x" * 99)[:-8] + b"\0" * 8, "incorrect data check"),
        ("deflate", zlib.compress(b"x") + b"x", "more behind its end"),
        ("br", b"x", "packed as 'br', not as gzip, deflate"),
        ("zstd", b"x", "packed as 'zstd'"),
        ("gzip, exi", b"x", "packed as 'exi'"),
        ("gzip, gzip, gzip, gzip", b"x", "packed 4 times"),
        ("gzip," * 10_000, b"x", "packed 10000 times"),
    ],
)
def test_what_cannot_be_unpacked_says_why(
    codings: str, packed: bytes, why: str
) -> None:
    with pytest.raises(BadCodingError, match=why):
        unpacked(packed, codings)


@pytest.mark.parametrize(
    ("codings", "packed"),
    [
        ("gzip", gzipped(b" " * (8 * BOUND))),
        ("", b" " * (8 * BOUND)),
        ("deflate", b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * BOUND),
    ],
    ids=["bomb", "plain", "empty blocks"],
)
async def test_the_loop_has_its_turn_all_the_while(codings: str, packed: bytes) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    try:
        await read_body(in_parts(packed), codings, 8 * BOUND)
    except BadCodingError:
        pass  # the blocks never end
    finally:
        task.cancel()
    assert turns >= 8 * BOUND // _TURN // 2


async def test_tiny_parts_do_not_hold_the_loop() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert len(await read_body(in_parts(b"x" * 1000, 1), "", BOUND)) == 1000
    task.cancel()
    assert turns > 100


# The clients


STATUSES = ["200 OK", "400 Bad Request", "413 Too Large", "503 Service Unavailable"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("coding", "packed"), [("gzip", BOMB), ("gzip, gzip", TWICE)])
async def test_a_bomb_is_asked_for_once_and_never_halved(
    status: str, coding: str, packed: bytes
) -> None:
    bomb = answer(packed, status, Content_Encoding=coding)
    retry = sr.Retry(on=Exception, attempts=3, base=0, cap=0)
    async with scripted(bomb) as server:
        url = server.url
        async with Embeddings(url, model="m", max_bytes=BOUND) as embeddings:
            with pytest.raises(EmbeddingError, match="larger than 1048576") as raised:
                await embeddings.aget_text_embedding_batch(["a"] * 64)
        assert raised.value.final
        assert not raised.value.blames_request
        assert not http_transient(raised.value)
        assert len(server.requests) == 1
        async with Chat(url, model="m", max_bytes=BOUND, retry=retry) as chat:
            with pytest.raises(ServiceError, match="larger than 1048576"):
                await chat.achat("hello")
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", STATUSES)
async def test_a_bomb_of_solrs_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", BOUND)
    bomb = answer(TWICE, status, Content_Encoding="gzip, gzip")
    async with scripted(bomb) as server, AsyncSolrClient(server.url) as solr:
        with pytest.raises(StoreError, match="larger than 1048576 bytes") as raised:
            await solr.search({"q": "a"})
        assert len(server.requests) == 1
    assert raised.value.final
    assert not solr_transient(raised.value)


async def test_no_client_asks_for_a_coding_that_has_no_bound() -> None:
    good = answer(json.dumps(GOOD))
    async with scripted(good, FOUND) as server:
        calls = HttpClient(server.url)
        await calls.post("/x", {})
        await calls.aclose()
        async with AsyncSolrClient(server.url) as solr:
            await solr.search({"q": "a"})
        asked = [request.headers["accept-encoding"] for request in server.requests]
    assert asked == ["gzip, deflate"] * 2


@pytest.mark.parametrize("cut", [0, 5])
async def test_packed_answers_of_solrs_are_read_whole_or_refused(cut: int) -> None:
    body = FOUND.partition(b"\r\n\r\n")[2]
    packed = gzipped(zlib.compress(body))
    told = answer(packed[: len(packed) - cut], Content_Encoding="deflate, gzip")
    async with scripted(told) as server, AsyncSolrClient(server.url) as solr:
        if not cut:
            assert (await solr.search({"q": "a"})).response.num_found == 1
        else:
            with pytest.raises(StoreError, match="breaks off"):
                await solr.search({"q": "a"})


async def test_a_truncated_answer_is_an_error() -> None:
    packed = gzipped(json.dumps(GOOD).encode())
    told = answer(packed[:-1], Content_Encoding="gzip")
    async with scripted(told) as server:
        async with Embeddings(server.url, model="m") as embeddings:
            with pytest.raises(
                EmbeddingError, match="can't be decompressed: it breaks"
            ):
                await embeddings.aget_text_embedding("a")
        assert len(server.requests) == 1


async def test_solr_may_name_any_character_set() -> None:
    """Decoded as punycode, this would take an hour."""
    body: Any = '{"responseHeader":{"status":0},"x":"' + "a" * 200_000 + '-é"}'
    told = answer(body, Content_Type="application/json; charset=punycode")
    async with scripted(told) as server, AsyncSolrClient(server.url) as solr:
        assert (await solr.commit()).response_header.status == 200


async def test_many_suggestions_of_solrs_are_no_work() -> None:
    told = json.loads(FOUND.partition(b"\r\n\r\n")[2])
    many = [str(number) for number in range(60_000)]
    told["spellcheck"] = {"suggestions": [{"suggestion": many}]}
    body = answer(json.dumps(told))
    async with scripted(body) as server, AsyncSolrClient(server.url) as solr:
        found = await solr.search({"q": "a"})
    assert (found.model_extra or {})["spellcheck"] == told["spellcheck"]
