"""`Embeddings` against answers good and bad, over the wire and in virtual time."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from tests.clients.test_http import KEY, http_date, served

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import transient
from spanrun.errors import (
    ConfigurationError,
    DeadlineExceeded,
    EmbeddingError,
    ShuttingDown,
)
from spanrun.testing import Captured, EmbeddingServer, FakeClock, no_leaks

URL = "http://host/v1"


def embed(texts: Sequence[str]) -> tuple[list[list[float]], int]:
    return [[float(len(text)), 1.0] for text in texts], 3 * len(texts)


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with served(token=KEY, embed=embed) as running:
        yield running


@pytest.fixture
def open_at(server: EmbeddingServer) -> Callable[..., Embeddings]:
    def opened(**options: Any) -> Embeddings:
        return Embeddings(f"{server.url}/v1", model="m", api_key=KEY, **options)

    return opened


def rows(*vectors: Any) -> list[dict[str, Any]]:
    return [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]


def scripted(*answers: httpx.Response | Any) -> tuple[httpx.MockTransport, list[float]]:
    """Gives the answers in turn, the last one for ever; and the times of asking."""
    times: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        times.append(asyncio.get_running_loop().time())
        answer = answers[min(len(times), len(answers)) - 1]
        if not isinstance(answer, httpx.Response):
            return httpx.Response(200, content=json.dumps(answer))
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.content
        )

    return httpx.MockTransport(handler), times


# What is given back


async def test_vectors_come_in_the_order_of_the_texts(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    server.spoil_next("order", times=9)
    texts = ["a" * n for n in range(1, 8)]
    async with open_at(batch=3) as embeddings:
        vectors = await embeddings.aget_text_embedding_batch(texts)
        assert embeddings.dimension == 2
    assert vectors == [[float(n), 1.0] for n in range(1, 8)]
    assert server.stats.requests == 3


async def test_no_texts_are_no_request(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    async with open_at() as embeddings:
        assert await embeddings.aget_text_embedding_batch([]) == []
        assert embeddings.dimension is None
    assert server.stats.requests == 0


async def test_one_text_is_no_list_of_texts(open_at: Callable[..., Embeddings]) -> None:
    async with open_at() as embeddings:
        with pytest.raises(ConfigurationError, match="texts='abc': must be a list"):
            await embeddings.aget_text_embedding_batch("abc")


BAD: list[tuple[Any, str]] = [
    ([], "no list named 'data'"),
    ("text", "no list named 'data'"),
    ({"data": None}, "no list named 'data'"),
    ({"data": rows([1.0])}, "1 vectors for 2 texts"),
    ({"data": rows([1.0], [1.0], [1.0])}, "3 vectors for 2 texts"),
    ({"data": ["x", "y"]}, r"data\[0\].embedding is no list of numbers"),
    ({"data": rows([1.0], [])}, r"data\[1\].embedding is no list of numbers"),
    ({"data": rows([1.0], "AAAA")}, r"data\[1\].embedding is no list of numbers"),
    ({"data": rows([1.0], [None])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], ["1"])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], [True])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], [float("nan")])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], [float("inf")])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], [10**400])}, r"data\[1\].embedding: must be finite"),
    ({"data": rows([1.0], [0, 0.0])}, r"data\[1\].embedding: must not be all zeros"),
    ({"data": rows([1.0], [1.0, 2.0])}, "differ in length"),
    ({"data": [{"index": 0, "embedding": [1]}] * 2}, "index 0: must be 0 to 1, each"),
    ({"data": [{"index": 2, "embedding": [1]}] * 2}, "index 2: must be 0 to 1"),
    ({"data": [{"index": -1, "embedding": [1]}] * 2}, "index -1: must be"),
    ({"data": [{"index": "0", "embedding": [1]}] * 2}, "index '0': must be"),
    ({"data": [{"index": False, "embedding": [1]}] * 2}, "index False: must be"),
]


@pytest.mark.parametrize(("answer", "what"), BAD)
async def test_unusable_vectors_are_refused(answer: Any, what: str) -> None:
    transport, _ = scripted(answer)
    async with Embeddings(URL, model="m", transport=transport) as embeddings:
        with pytest.raises(EmbeddingError, match=what) as raised:
            await embeddings.runner.call(embeddings.embed, ["a", "b"])
    assert not transient(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    "usage",
    [None, [], {}, {"prompt_tokens": "x"}, {"prompt_tokens": -1}, {"prompt_tokens": 5}],
)
async def test_what_else_is_in_an_answer_does_no_harm(
    usage: Any, spanrun_capture: Captured
) -> None:
    answer = {"data": [{"embedding": [1, 2]}], "usage": usage, "model": 7, "x": {}}
    transport, _ = scripted(answer)
    async with Embeddings(URL, model="m", transport=transport) as embeddings:
        assert await embeddings.aget_query_embedding("a") == [1.0, 2.0]
    tokens = spanrun_capture.value("gen_ai.client.token.usage")
    assert tokens == (5 if usage == {"prompt_tokens": 5} else 0)


async def test_another_dimension_than_before_is_refused() -> None:
    transport, _ = scripted({"data": rows([1, 2])}, {"data": rows([1, 2, 3])})
    async with Embeddings(URL, model="m", transport=transport) as embeddings:
        await embeddings.aget_query_embedding("a")
        with pytest.raises(EmbeddingError, match="'m' have 3 numbers, not 2 as those"):
            await embeddings.aget_query_embedding("a")


async def test_the_dimension_can_be_told() -> None:
    transport, _ = scripted({"data": rows([1, 2])})
    client = Embeddings(URL, model="m", dimension=3, transport=transport)
    async with client as embeddings:
        assert embeddings.dimension == 3
        with pytest.raises(EmbeddingError, match="2 numbers, not 3"):
            await embeddings.aget_query_embedding("a")


@pytest.mark.parametrize(
    "options",
    [{"model": ""}, {"batch": 0}, {"batch": 1.5}, {"dimension": 0}],
)
def test_values_that_cannot_work(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        Embeddings(URL, **{"model": "m", **options})


# Attempts


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": http_date(3600)}, 60.0),  # the cap
        ({"Retry-After": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_says_when_to_come_again(
    fake_clock: FakeClock, status: int, headers: dict[str, str], waits: float
) -> None:
    refusal = httpx.Response(status, headers=headers)
    transport, times = scripted(refusal, {"data": rows([1.0])})
    client = Embeddings(URL, model="m", transport=transport, clock=fake_clock)
    async with client as embeddings:
        assert await embeddings.aget_query_embedding("a") == [1.0]
    first, second = times
    assert waits <= second - first <= waits + 0.1


async def test_a_pause_is_everybodys(fake_clock: FakeClock) -> None:
    refusal = httpx.Response(429, headers={"Retry-After": "5"})
    transport, times = scripted(refusal, {"data": rows([1.0])})
    client = Embeddings(URL, model="m", limit=1, transport=transport, clock=fake_clock)
    async with client as embeddings:
        texts = (embeddings.aget_query_embedding(text) for text in "abc")
        await asyncio.gather(*texts)
    assert len(times) == 4
    assert all(later - times[0] >= 5 for later in times[1:])


async def test_each_attempt_is_a_span_that_knows_its_number(
    server: EmbeddingServer,
    open_at: Callable[..., Embeddings],
    spanrun_capture: Captured,
) -> None:
    server.fail_next(503, times=2)
    retry = sr.Retry(on=transient, attempts=3, base=0)
    async with open_at(retry=retry) as embeddings:
        await embeddings.aget_query_embedding("a")
    posts = spanrun_capture.find("POST")
    assert [post.attributes["http.response.status_code"] for post in posts] == [
        503,
        503,
        200,
    ]
    assert [post.attributes.get("http.request.resend_count") for post in posts] == [
        None,
        1,
        2,
    ]
    above: list[str] = []
    span = posts[-1]
    while (parent := spanrun_capture.parent(span)) is not None:
        above.append(parent.name)
        span = parent
    assert above == ["embeddings m", "attempt embed", "job embed"]
    clients = [span for span in spanrun_capture.spans if span.kind == "CLIENT"]
    assert len(clients) == 6  # for each send one of HTTP, and one of the operation
    assert server.stats.requests == 3


async def test_the_operation_is_described(
    open_at: Callable[..., Embeddings], spanrun_capture: Captured
) -> None:
    async with open_at() as embeddings:
        await embeddings.aget_text_embedding_batch(["a", "b"])
    attributes = spanrun_capture.span("embeddings m").attributes
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.response.model"] == "m"
    assert attributes["gen_ai.usage.input_tokens"] == 6
    assert spanrun_capture.value("gen_ai.client.token.usage") == 6
    assert spanrun_capture.count("gen_ai.client.operation.duration") == 1


async def test_an_error_stands_after_the_last_attempt(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    server.fail_next(500, times=9)
    retry = sr.Retry(on=transient, attempts=3, base=0)
    async with open_at(retry=retry) as embeddings:
        with pytest.raises(EmbeddingError, match="answered 500") as raised:
            await embeddings.aget_query_embedding("a")
    assert raised.value.status == 500
    assert server.stats.requests == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_tried_again(
    server: EmbeddingServer, open_at: Callable[..., Embeddings], status: int
) -> None:
    server.fail_next(status, times=9)
    async with open_at() as embeddings:
        with pytest.raises(EmbeddingError, match=f"answered {status}"):
            await embeddings.aget_query_embedding("a")
    assert server.stats.requests == 1


async def test_a_poisoned_text_costs_itself_alone() -> None:
    with served(poison="bad") as server:
        async with Embeddings(f"{server.url}/v1", model="m") as embeddings:
            texts = [f"text {n}" if n != 5 else "bad" for n in range(16)]
            outcomes = await embeddings.runner.map_batches(
                embeddings.embed, texts, size=16, errors="collect"
            )
    failed = [outcome for outcome in outcomes if isinstance(outcome, sr.Err)]
    assert [outcome.index for outcome in failed] == [5]
    assert isinstance(failed[0].error, EmbeddingError)
    assert server.stats.requests == 1 + 2 * 4


@pytest.mark.parametrize("status", [401, 403, 404, 307])
async def test_what_is_not_the_texts_fault_is_not_halved(status: int) -> None:
    transport, times = scripted(httpx.Response(status))
    async with Embeddings(URL, model="m", transport=transport) as embeddings:
        with pytest.raises(EmbeddingError):
            await embeddings.aget_text_embedding_batch(["a"] * 64)
    assert len(times) == 1


async def test_a_page_in_place_of_json_is_not_halved(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    server.spoil_next("html", times=200)
    async with open_at() as embeddings:
        with pytest.raises(EmbeddingError, match="is no JSON"):
            await embeddings.aget_text_embedding_batch(["a"] * 64)
    assert server.stats.requests == 1


# Time


@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_an_attempt_is_bounded_however_the_answer_comes(fault: Any) -> None:
    retry = sr.Retry(on=transient, attempts=2, base=0)
    timeout = sr.Timeout(attempt=0.05, total=5)
    async with no_leaks():
        with served() as server:
            server.spoil_next(fault, times=9)
            began = time.monotonic()
            async with Embeddings(
                f"{server.url}/v1", model="m", timeout=timeout, retry=retry
            ) as embeddings:
                with pytest.raises(DeadlineExceeded) as raised:
                    await embeddings.aget_query_embedding("a")
            took = time.monotonic() - began
            assert server.stats.requests == 2
    assert raised.value.scope == "attempt"
    assert 0.1 <= took < 1.5


async def test_a_total_bounds_all_attempts(fake_clock: FakeClock) -> None:
    transport, times = scripted(httpx.Response(503, headers={"Retry-After": "4"}))
    client = Embeddings(
        URL,
        model="m",
        timeout=sr.Timeout(total=10),
        transport=transport,
        clock=fake_clock,
    )
    async with client as embeddings:
        with pytest.raises(DeadlineExceeded) as raised:
            await embeddings.aget_query_embedding("a")
    assert raised.value.scope == "total"
    assert len(times) == 3


# Leaving


async def test_leaving_in_the_middle_leaves_nothing() -> None:
    async with no_leaks():
        with served() as server:
            server.spoil_next("hang", times=9)
            calls: list[asyncio.Task[Any]] = []
            with contextlib.suppress(KeyError):
                async with Embeddings(f"{server.url}/v1", model="m") as embeddings:
                    for _ in range(3):
                        call = embeddings.aget_query_embedding("a")
                        calls.append(asyncio.create_task(call))
                    while server.stats.requests < 3:  # noqa: ASYNC110 -- a thread's
                        await asyncio.sleep(0.001)
                    raise KeyError
            ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, sr.SpanrunError) for end in ends)


async def test_it_can_be_opened_again() -> None:
    async with no_leaks():
        with served() as server:
            embeddings = Embeddings(f"{server.url}/v1", model="m")
            for _ in range(2):
                async with embeddings:
                    await embeddings.aget_query_embedding("a")
    with pytest.raises(ShuttingDown):
        await embeddings.aget_query_embedding("a")


async def test_the_key_is_sent_and_nowhere_else(
    server: EmbeddingServer,
    open_at: Callable[..., Embeddings],
    spanrun_capture: Captured,
) -> None:
    async with open_at() as embeddings:
        await embeddings.aget_query_embedding("a")
        server.fail_next(401)
        with pytest.raises(EmbeddingError) as raised:
            await embeddings.aget_query_embedding("a")
    assert server.stats.by_status[200] == 1
    assert KEY not in repr(spanrun_capture.spans) + repr(raised.value)
    assert KEY not in repr(embeddings) + repr(embeddings.runner)
