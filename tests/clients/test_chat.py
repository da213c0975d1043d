"""`Chat`: what is asked, what is answered, and what of it is in telemetry."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from spanrun.clients.chat import Chat, ChatAnswer, Message
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.testing import Captured, no_leaks
from spanrun.testing.chat_server import ChatServer

URL = "http://host/v1"
QUIET: dict[str, Any] = {
    "latency": 0,
    "jitter": 0,
    "rate_limited": 0,
    "unavailable": 0,
}
TALK: list[Message] = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello there, my secret is 42."},
]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(reply=lambda _: "Good day to you", **QUIET) as running:
        yield running


def answering(answer: Any) -> tuple[httpx.MockTransport, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json=answer)

    return httpx.MockTransport(handler), asked


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}}]}


async def test_an_answer_and_what_is_known_of_it(server: ChatServer) -> None:
    async with Chat(f"{server.url}/v1", model="m") as chat:
        answer = await chat.achat(TALK)
    assert str(answer) == answer.text == "Good day to you"
    assert answer == ChatAnswer("Good day to you", "stop", "m", 8, 4)


async def test_an_answer_that_was_cut_off_says_so(server: ChatServer) -> None:
    async with Chat(f"{server.url}/v1", model="m", max_tokens=2) as chat:
        answer = await chat.achat("Hello")
    assert (answer.text, answer.finish_reason) == ("Good day", "length")


async def test_what_is_sent() -> None:
    transport, asked = answering(said("Hi"))
    chat = Chat(URL, model="m", temperature=0, transport=transport, fields={"seed": 1})
    async with chat:
        await chat.achat(TALK)
        await chat.achat("Hello")
    assert asked == [
        {"model": "m", "seed": 1, "temperature": 0, "messages": TALK},
        {
            "model": "m",
            "seed": 1,
            "temperature": 0,
            "messages": [{"role": "user", "content": "Hello"}],
        },
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "no list named 'choices'"),
        ({"choices": None}, "no list named 'choices'"),
        ({"choices": []}, "no list named 'choices'"),
        ({"choices": ["x"]}, r"choices\[0\] of the answer has no text"),
        ({"choices": [{"message": None}]}, "no text"),
        (said(None), "no text"),
        (said(["x"]), "no text"),
        (said(None, refusal="I won't"), "refused: I won't"),
        (
            {"choices": [{"message": {}, "finish_reason": "content_filter"}]},
            "finish_reason: content_filter",
        ),
    ],
)
async def test_an_answer_without_a_text_is_an_error(answer: Any, why: str) -> None:
    transport, asked = answering(answer)
    async with Chat(URL, model="m", transport=transport) as chat:
        with pytest.raises(ServiceError, match=why):
            await chat.achat("Hello")
    assert len(asked) == 1


async def test_what_else_is_in_an_answer_does_no_harm() -> None:
    answer = {**said(""), "usage": {"prompt_tokens": True}, "model": 7, "id": []}
    transport, _ = answering(answer)
    async with Chat(URL, model="m", transport=transport) as chat:
        assert await chat.achat("Hello") == ChatAnswer("")


@pytest.mark.parametrize(
    "options",
    [
        {"model": ""},
        {"temperature": -1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
    ],
)
def test_values_that_cannot_work(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        Chat(URL, **{"model": "m", **options})


@pytest.mark.parametrize(
    "messages",
    [[], ["x"], [{}], [{"role": "user"}], [{"role": "king", "content": "x"}], [None]],
)
async def test_messages_that_are_none(messages: Any) -> None:
    transport, asked = answering(said("Hi"))
    async with Chat(URL, model="m", transport=transport) as chat:
        with pytest.raises(ConfigurationError, match="messages"):
            await chat.achat(messages)
    assert not asked


async def test_the_span_has_everything_but_the_words(
    server: ChatServer, spanrun_capture: Captured
) -> None:
    options: dict[str, Any] = {"temperature": 0.5, "max_tokens": 9}
    async with Chat(f"{server.url}/v1", model="m", **options) as chat:
        await chat.achat(TALK)
    span = spanrun_capture.span("chat m")
    assert span.kind == "CLIENT"
    port = int(server.url.rpartition(":")[2])
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.model": "m",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 8,
        "gen_ai.usage.output_tokens": 4,
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    tokens = "gen_ai.client.token.usage"
    assert spanrun_capture.value(tokens, {"gen_ai.token.type": "input"}) == 8
    assert spanrun_capture.value(tokens, {"gen_ai.token.type": "output"}) == 4
    assert spanrun_capture.count("gen_ai.client.operation.duration") == 1
    told = repr([(each, each.attributes) for each in spanrun_capture.spans])
    assert "secret is 42" not in told
    assert "Good day" not in told
    above: list[str] = []
    inner = spanrun_capture.span("POST")
    while (parent := spanrun_capture.parent(inner)) is not None:
        above.append(parent.name)
        inner = parent
    assert above == ["chat m", "attempt chat", "job chat"]


def test_the_twin_works_without_a_loop(server: ChatServer) -> None:
    chat = Chat(f"{server.url}/v1", model="m")
    assert str(chat.chat("Hello")) == "Good day to you"


async def test_the_twin_works_inside_a_running_loop() -> None:
    async with no_leaks():
        with ChatServer(reply=lambda _: "Hi", **QUIET) as server:
            assert str(Chat(f"{server.url}/v1", model="m").chat("Hello")) == "Hi"
