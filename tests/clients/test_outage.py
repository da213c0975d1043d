"""A short outage of its service doesn't lose a long run, nor what was paid for."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import spanrun as sr
from spanrun.clients.chat import Chat
from spanrun.clients.embeddings import Embeddings
from spanrun.clients.http import transient
from spanrun.errors import (
    ConfigurationError,
    DeadlineExceeded,
    EmbeddingError,
    ServiceError,
)
from spanrun.ingest.chat_extract import ChatTitle
from spanrun.ingest.documents import Document, content_hash
from spanrun.testing import FakeClock, no_leaks

TEXTS = [f"text {n}" for n in range(2_000)]


class Service(httpx.AsyncBaseTransport):
    """Both models' service in virtual time, gone between two moments."""

    def __init__(self, clock: FakeClock, begins: float, ends: float) -> None:
        self.clock = clock
        self.begins, self.ends = begins, ends
        self.requests = self.in_vain = 0
        self.refused: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.begins <= self.clock.now() < self.ends:
            self.in_vain += 1
            raise httpx.ConnectError("refused")
        await asyncio.sleep(0.1)
        asked = json.loads(await request.aread())
        if "input" not in asked:
            said = {"choices": [{"message": {"content": "A title"}}]}
            return httpx.Response(200, json=said)
        if self.refused & set(asked["input"]):
            return httpx.Response(400, json={"error": "not this one"})
        rows = [{"embedding": [float(text[5:]), 1.0]} for text in asked["input"]]
        return httpx.Response(200, json={"data": rows})


def vector(text: str) -> list[float]:
    return [float(text[5:]), 1.0]


def embedding(service: Service, **options: Any) -> Embeddings:
    given = {"batch": 4, "clock": service.clock, "transport": service, **options}
    return Embeddings("http://host/v1", model="m", **given)


async def test_a_batch_outlasts_a_minute(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 1, 61)
    async with embedding(service) as embeddings:
        found = await embeddings.aget_text_embedding_batch(TEXTS)
    assert found == [vector(text) for text in TEXTS]
    assert service.requests <= 500 + 8 + 4 + 24
    assert fake_clock.now() < 61 + 5 + 7


async def test_jobs_of_its_runner_do(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 1, 61)
    async with embedding(service) as embeddings:
        ends = await embeddings.runner.map_batches(
            embeddings.embed, TEXTS, size=4, errors="collect"
        )
    assert all(isinstance(end, sr.Ok) for end in ends)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.aget_text_embedding("text 1"),
        lambda client: client.aget_query_embedding("text 1"),
    ],
    ids=["text", "query"],
)
async def test_a_single_request_keeps_its_limits(
    fake_clock: FakeClock, ask: Callable[[Any], Any]
) -> None:
    service = Service(fake_clock, 0, 60)
    async with embedding(service) as embeddings:
        with pytest.raises(EmbeddingError, match="can't be reached"):
            await ask(embeddings)
    assert service.requests == 5
    assert fake_clock.now() < 5


async def test_a_single_request_does_not_wait_behind_a_batch(
    fake_clock: FakeClock,
) -> None:
    service = Service(fake_clock, 0, 60)
    async with embedding(service) as embeddings:
        batch = asyncio.create_task(embeddings.aget_text_embedding_batch(TEXTS))
        await asyncio.sleep(20)
        with pytest.raises(EmbeddingError):
            await embeddings.aget_query_embedding("text 1")
        assert fake_clock.now() < 25
        await batch


async def test_a_single_answer_lets_the_batch_go_on(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 0, 30)
    async with embedding(service) as embeddings:
        batch = asyncio.create_task(embeddings.aget_text_embedding_batch(TEXTS[:32]))
        await asyncio.sleep(30.001)
        await embeddings.aget_query_embedding("text 1")
        await batch
        assert fake_clock.now() == pytest.approx(30.2, abs=0.05)


async def test_the_models_extractors_outlast_it(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 0, 60)
    document = Document("id", "Bees make honey.", "a.md", content_hash("x"))
    async with Chat(
        "http://host/v1", model="m", clock=fake_clock, transport=service
    ) as chat:
        with pytest.raises(ServiceError):
            await chat.achat("a question")
        titles = [asyncio.create_task(ChatTitle(chat)(document)) for _ in range(20)]
        assert await asyncio.gather(*titles) == [{"title": "A title"}] * 20
    assert service.in_vain < 40


async def test_a_plain_retry_has_its_limits_alone(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 1, 61)
    retry = sr.Retry(on=transient, attempts=5, cap=5)
    async with embedding(service, retry=retry) as embeddings:
        with pytest.raises(EmbeddingError):
            await embeddings.aget_text_embedding_batch(TEXTS)
    assert fake_clock.now() < 10


async def test_an_error_has_what_was_paid_for(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 1.05, 1_000)
    async with embedding(service) as embeddings:
        with pytest.raises(EmbeddingError, match="can't be reached") as raised:
            await embeddings.aget_text_embedding_batch(TEXTS)
    found = raised.value.partial
    assert found is not None
    there = [place for place, each in enumerate(found) if each is not None]
    assert len(there) == 4 * 8 * 11
    assert len(found) == len(TEXTS)
    assert all(found[place] == vector(TEXTS[place]) for place in there)


async def test_any_error_of_a_batch_has_it(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, 1.05, 1_000)
    async with embedding(service, timeout=10.0) as embeddings:
        with pytest.raises(DeadlineExceeded) as raised:
            await embeddings.aget_text_embedding_batch(TEXTS)
    found = vars(raised.value)["partial"]
    assert len(found) - found.count(None) == 4 * 8 * 11


async def test_another_error_than_of_a_batch_has_none() -> None:
    assert EmbeddingError("x").partial is None


async def test_partial_results_in_order(fake_clock: FakeClock) -> None:
    service = Service(fake_clock, -1, -1)
    service.refused = {"text 3", "text 1000"}
    async with embedding(service) as embeddings:
        found = await embeddings.aget_text_embedding_batch(TEXTS, partial=True)
        with pytest.raises(EmbeddingError, match="not this one"):
            await embeddings.aget_text_embedding_batch(TEXTS)
        with pytest.raises(ConfigurationError, match="partial="):
            await embeddings.aget_text_embedding_batch(TEXTS, partial="yes")  # type: ignore[call-overload]
    assert found == [
        None if text in service.refused else vector(text) for text in TEXTS
    ]


async def test_partial_results_of_a_service_that_stays_away(
    fake_clock: FakeClock,
) -> None:
    service = Service(fake_clock, 1.05, 10_000)
    async with embedding(service) as embeddings:
        found = await embeddings.aget_text_embedding_batch(TEXTS, partial=True)
    assert len(found) - found.count(None) == 4 * 8 * 11
    assert service.requests <= 1.25 * 500


class Gone(logging.Handler):
    """Set when the log says that the service is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "is gone" in record.getMessage():
            self.said.set()


class Real:
    """A real server on a port of its own, which ends after so many requests."""

    def __init__(self) -> None:
        self.port = 0
        self.answered = 0
        self.ends_after = 20
        self.ended = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()

    async def start(self) -> None:
        made = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server, self.port = made, made.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.ended.set()

    async def over(self) -> None:
        """Until no connection is left."""
        await asyncio.gather(*filter(None, self._tasks))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = int(head.partition("content-length: ")[2].partition("\r")[0])
                texts = json.loads(await reader.readexactly(size))["input"]
                self.answered += 1
                if self.answered == self.ends_after:
                    self.stop()
                    break
                rows = [{"embedding": vector(text)} for text in texts]
                body = json.dumps({"data": rows}).encode()
                length = f"content-length: {len(body)}"
                writer.write(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode() + body)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@asynccontextmanager
async def real() -> AsyncIterator[Real]:
    server = Real()
    await server.start()
    try:
        yield server
    finally:
        server.stop()
        await server.over()


async def test_a_real_server_that_goes_and_comes_back() -> None:
    gone = Gone()
    logging.getLogger("spanrun").addHandler(gone)
    try:
        async with no_leaks(), real() as server:
            base = f"http://127.0.0.1:{server.port}/v1"
            async with Embeddings(base, model="m", batch=4) as embeddings:
                batch = asyncio.create_task(embeddings.aget_text_embedding_batch(TEXTS))
                await server.ended.wait()
                await gone.said.wait()
                await server.start()
                assert await batch == [vector(text) for text in TEXTS]
    finally:
        logging.getLogger("spanrun").removeHandler(gone)


def test_from_code_that_is_not_async_an_error_has_it_too() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        if "text 9" in texts:
            return httpx.Response(400, json={"error": "not this one"})
        rows = [{"embedding": vector(text)} for text in texts]
        return httpx.Response(200, json={"data": rows})

    embeddings = Embeddings(
        "http://host/v1",
        model="m",
        batch=2,
        limit=1,
        transport=httpx.MockTransport(refuse),
    )
    with pytest.raises(EmbeddingError, match="not this one") as raised:
        embeddings.get_text_embedding_batch(TEXTS[:20])
    found = raised.value.partial
    assert found is not None
    assert found[:8] == [vector(text) for text in TEXTS[:8]]
    assert found[10:] == [None] * 10
    told = embeddings.get_text_embedding_batch(TEXTS[:20], partial=True)
    assert [place for place, each in enumerate(told) if each is None] == [9]


class Silent(httpx.AsyncBaseTransport):
    """Never answers and, if it is ``stubborn``, doesn't end when it is cancelled."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.gone = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        while True:
            try:
                await self.gone.wait()
                raise httpx.ReadError("gone")
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise


async def test_an_endpoint_that_never_answers_is_named_before_a_batch_fails(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    options: Any = {"clock": fake_clock, "transport": Silent()}
    async with Embeddings("http://host/v1", model="m", **options) as embeddings:
        batch = asyncio.create_task(embeddings.aget_text_embedding_batch(TEXTS))
        await asyncio.sleep(31)
        assert not batch.done()
        assert "the service of 'embed' is gone (DeadlineExceeded: 30 s" in caplog.text
        with pytest.raises(DeadlineExceeded):
            await batch


@pytest.mark.parametrize("kind", [Embeddings, Chat])
async def test_a_request_that_swallows_its_cancellation_is_given_up(
    fake_clock: FakeClock, kind: Any
) -> None:
    silent = Silent(stubborn=True)
    client = kind(
        "http://host/v1",
        model="m",
        clock=fake_clock,
        transport=silent,
        timeout=5,
        abandon_after=3,
    )
    ask: Any = client.achat if kind is Chat else client.aget_text_embedding
    asked: Any = [{"role": "user", "content": "x"}] if kind is Chat else "x"
    async with client:
        try:
            with pytest.raises(sr.JobCancelled, match="by a timeout, and abandoned"):
                await ask(asked)
        finally:
            silent.gone.set()
