"""`Embeddings` against answers good and bad, over the wire and in virtual time."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.clients.test_http import KEY, http_date, served
from tests.waiting import becomes

import spanrun as sr
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import transient
from spanrun.errors import (
    CheckpointError,
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
        with pytest.raises(ConfigurationError, match=r"texts='abc'\): must be a"):
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


@pytest.mark.parametrize(
    "options",
    [{"encoding": "hex"}, {"max_bytes": 0}, {"limit": 0}, {"timeout": 0}],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Embeddings(URL, model="m", **options)


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"Embeddings\(\) has no argument 'tiemout'"):
        Embeddings(URL, model="m", tiemout=3)  # type: ignore[call-arg]


async def test_a_text_that_is_none_is_named(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    wrong: Any = ["a", None]
    async with open_at() as embeddings:
        with pytest.raises(
            ConfigurationError, match=r"texts\[1\]=None: must be a text"
        ):
            await embeddings.aget_text_embedding_batch(wrong)
        with pytest.raises(ConfigurationError, match="query=7: must be a text"):
            await embeddings.aget_query_embedding(wrong[:0] or 7)  # type: ignore[arg-type]
    assert server.stats.requests == 0


async def test_vectors_may_travel_in_base64(
    open_at: Callable[..., Embeddings], spanrun_capture: Captured
) -> None:
    async with open_at(encoding="base64", batch=2) as embeddings:
        vectors = await embeddings.aget_text_embedding_batch(["a", "bb", "ccc"])
    assert vectors == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]
    span = spanrun_capture.find("embeddings m")[0]
    assert span.attributes["gen_ai.request.encoding_formats"] == ("base64",)


@pytest.mark.parametrize(
    ("packed", "what"),
    [
        ("AAA", "no base64"),
        ("!!!!", "no base64"),
        ("AAAA", "no base64 of numbers with 4 bytes"),
        ("", "no list of numbers"),
        ("AAAAAA==", "all zeros"),
        ("AACAfw==", "finite"),  # infinity
        ([1.0], None),  # who was asked for base64 may not know it
    ],
)
async def test_base64_is_checked(packed: Any, what: str | None) -> None:
    transport, _ = scripted({"data": rows(packed)})
    client = Embeddings(URL, model="m", encoding="base64", transport=transport)
    async with client as embeddings:
        if what is None:
            assert await embeddings.aget_text_embedding("a") == [1.0]
            return
        with pytest.raises(EmbeddingError, match=what):
            await embeddings.aget_text_embedding("a")


# Heroku


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {
        "EMBEDDING_URL": "http://host",
        "EMBEDDING_KEY": KEY,
        "EMBEDDING_MODEL_ID": "cohere",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.mark.parametrize("base", ["http://host", "http://host/", "http://host/v1/"])
async def test_heroku_has_what_it_needs_from_the_environment(
    config: dict[str, str], spanrun_capture: Captured, base: str
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"data": rows([1, 2])})

    transport = httpx.MockTransport(answer)
    async with Embeddings.heroku(base_url=base, transport=transport) as embeddings:
        assert embeddings.batch == 96
        await embeddings.aget_text_embedding("a")
        await embeddings.aget_query_embedding("b")
    text, query = asked
    assert str(text.url) == "http://host/v1/embeddings"
    assert text.headers["Authorization"] == f"Bearer {KEY}"
    assert json.loads(text.content) == {"model": "cohere", "input": ["a"]}
    assert json.loads(query.content) == {
        "model": "cohere",
        "input": ["b"],
        "input_type": "search_query",
    }
    (span, _) = spanrun_capture.find("embeddings cohere")
    assert span.attributes["gen_ai.provider.name"] == "heroku"


@pytest.mark.usefixtures("config")
async def test_heroku_takes_and_shows_what_llama_indexs_class_does(
    spanrun_capture: Captured,
) -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        sizes.append(len(texts))
        return httpx.Response(200, json={"data": rows(*[[1, 2]] * len(texts))})

    async with Embeddings.heroku(
        model_name="mine",
        api_key=KEY,
        base_url="http://other/",
        timeout=7.0,
        embed_batch_size=10,
        transport=httpx.MockTransport(answer),
    ) as embeddings:
        await embeddings.aget_text_embedding_batch(["a"] * 25)

    assert sorted(sizes) == [5, 10, 10]
    assert embeddings.embed_batch_size == embeddings.batch == 10
    assert embeddings.model_name == embeddings.model == "mine"
    assert embeddings.base_url == "http://other/v1"
    assert embeddings.timeout == 7.0
    assert embeddings.api_key == KEY
    assert KEY not in repr(embeddings)
    assert KEY not in repr(spanrun_capture.spans)


def test_two_names_of_a_model_must_not_differ(config: dict[str, str]) -> None:
    assert Embeddings.heroku("a", model_name="a").model == "a"
    assert Embeddings.heroku().model_name == config["EMBEDDING_MODEL_ID"]
    with pytest.raises(
        ConfigurationError, match=r"model_name='b'\): must be model='a'"
    ):
        Embeddings.heroku("a", model_name="b")


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize(
    ("variable", "argument"),
    [
        ("EMBEDDING_URL", "base_url"),
        ("EMBEDDING_KEY", "api_key"),
        ("EMBEDDING_MODEL_ID", "model"),
    ],
)
def test_what_heroku_lacks_is_named(
    config: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    variable: str,
    argument: str,
) -> None:
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"pass {argument}=… or set {variable}") as why:
        Embeddings.heroku()
    assert isinstance(why.value, ConfigurationError)
    given = Embeddings.heroku(**{argument: config[variable]})
    assert given.model == "cohere"


# Twins


def test_the_twins_work_without_a_loop(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    embeddings = open_at(batch=2)
    assert embeddings.get_text_embedding("abc") == [3.0, 1.0]
    assert embeddings.dimension == 2  # what a twin has learnt
    assert embeddings.get_query_embedding("ab") == [2.0, 1.0]
    vectors = embeddings.get_text_embedding_batch(["a", "bb", "ccc"])
    assert vectors == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]
    assert embeddings.get_text_embedding_batch([]) == []


async def test_the_twins_work_inside_a_running_loop(spanrun_capture: Captured) -> None:
    async with no_leaks():
        with served(embed=embed) as server:
            embeddings = Embeddings(f"{server.url}/v1", model="m")
            ours = await embeddings.aget_text_embedding("abc")
            assert embeddings.get_text_embedding("abc") == ours
            assert await embeddings.aget_text_embedding("abc") == ours
            await embeddings.aclose()
    assert len(spanrun_capture.find("embeddings m")) == 3


def test_a_twins_error_is_its_own(
    server: EmbeddingServer, open_at: Callable[..., Embeddings]
) -> None:
    server.fail_next(400)
    with pytest.raises(EmbeddingError, match="answered 400"):
        open_at().get_text_embedding("a")


async def test_another_loop_is_refused_while_its_own_runs(
    open_at: Callable[..., Embeddings],
) -> None:
    embeddings = open_at()
    await embeddings.aget_text_embedding("a")
    for ask in (embeddings.aget_text_embedding("a"), embeddings.aclose()):
        with pytest.raises(ConfigurationError, match="open on another event loop"):
            sr.run(ask)
    assert embeddings.get_text_embedding("a") == [1.0, 1.0]
    await embeddings.aclose()


async def test_it_opens_with_its_first_use_and_stays_closed() -> None:
    async with no_leaks():
        with served(embed=embed) as server:
            embeddings = Embeddings(f"{server.url}/v1", model="m")
            assert repr(embeddings).endswith(", new>")
            await embeddings.aget_text_embedding("a")
            async with embeddings:  # it is open: this only closes it
                await embeddings.aget_text_embedding("a")
            with pytest.raises(ShuttingDown, match="open it again with `async with`"):
                await embeddings.aget_text_embedding("a")
            async with embeddings:
                await embeddings.aget_text_embedding("a")


async def test_two_at_once_are_one_too_many(open_at: Callable[..., Embeddings]) -> None:
    async with open_at() as embeddings:
        with pytest.raises(ConfigurationError, match="is open already"):
            await embeddings.__aenter__()
        await embeddings.aget_text_embedding("a")


# Progress


async def test_progress_is_shown_to_who_asked(
    open_at: Callable[..., Embeddings], capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_at(batch=2) as embeddings:
        quiet, _ = await asyncio.gather(
            embeddings.aget_text_embedding_batch(["a"] * 3),
            embeddings.aget_text_embedding_batch(["a"] * 8, show_progress=True),
        )
    assert len(quiet) == 3
    shown = capsys.readouterr().err
    assert "embed: 8/8" in shown
    assert "3/3" not in shown


def test_progress_of_a_twin(
    open_at: Callable[..., Embeddings], capsys: pytest.CaptureFixture[str]
) -> None:
    open_at(batch=2).get_text_embedding_batch(["a"] * 6, show_progress=True)
    assert "embed: 6/6" in capsys.readouterr().err


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


async def test_poisoned_texts_are_found_beside_many_good_ones() -> None:
    with served(poison="bad", embed=embed) as server:
        texts = ["bad" if n % 250 == 77 else f"text {n}" for n in range(1_000)]
        async with Embeddings(f"{server.url}/v1", model="m", batch=50) as embeddings:
            outcomes = await embeddings.runner.map_batches(
                embeddings.embed, texts, size=50, errors="collect"
            )
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, sr.Err)]
    assert failed == [77, 327, 577, 827]
    assert server.stats.requests <= 20 + 4 * 2 * 6


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
    timeout = sr.Timeout(attempt=0.4)
    async with no_leaks():
        with served() as server:
            server.spoil_next(fault, times=9)
            async with Embeddings(
                f"{server.url}/v1", model="m", timeout=timeout, retry=retry
            ) as embeddings:
                with pytest.raises(DeadlineExceeded) as raised:
                    await embeddings.aget_query_embedding("a")
            assert server.stats.requests == 2
    assert raised.value.scope == "attempt"


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
                    await becomes(lambda: server.stats.requests >= 3)
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


@pytest.mark.parametrize("partial", [False, True])
async def test_vectors_that_are_kept_are_not_asked_for_again(
    server: EmbeddingServer,
    open_at: Callable[..., Embeddings],
    tmp_path: Path,
    partial: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    texts = [f"text {n}" for n in range(50)]
    kept = sr.Checkpoint(tmp_path / "kept")

    async def vectors(texts: list[str]) -> Any:
        async with open_at(batch=10, limit=1) as client:
            return await client.aget_text_embedding_batch(
                texts, partial=partial, checkpoint=kept
            )

    first = await vectors(texts[:30])
    assert len(first) == 30
    asked = server.stats.texts
    assert await vectors(texts) == embed(texts)[0]
    assert server.stats.texts == asked + 20
    async with open_at(batch=10) as client:
        client.model_name = "other"
        with pytest.raises(CheckpointError, match=r"is of .*Embeddings\[m\]"):
            await client.aget_text_embedding_batch(texts, checkpoint=kept)
