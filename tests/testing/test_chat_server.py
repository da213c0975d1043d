"""`ChatServer`: OpenAI's chat API on loopback; what it shares is tested beside it."""

import contextlib

import httpx
import pytest

from spanrun.errors import ConfigurationError
from spanrun.testing.chat_server import ChatServer

pytestmark = pytest.mark.usefixtures("no_leaks")

QUIET = {"latency": 0, "jitter": 0, "rate_limited": 0, "unavailable": 0}
HELLO = [{"role": "user", "content": "Cats hunt mice at night in the garden. Yes."}]


@contextlib.contextmanager
def serving(**options):
    with (
        ChatServer(**{**QUIET, **options}) as server,
        httpx.Client(
            base_url=server.url, timeout=5, trust_env=False, verify=False
        ) as client,
    ):
        yield server, client


def post(client, messages=HELLO, **fields):
    body = {"model": "m", "messages": messages} | fields
    return client.post("/v1/chat/completions", json=body)


def test_it_answers_as_openai_does():
    with serving() as (server, client):
        answer = post(client)
    assert answer.json() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Cats hunt mice at night in the garden.",
                    "refusal": None,
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17},
    }
    assert server.stats.texts == 1


def test_the_reply_can_be_given():
    with serving(reply=lambda messages: f"{len(messages)} said") as (_, client):
        answer = post(client, HELLO * 3)
    assert answer.json()["choices"][0]["message"]["content"] == "3 said"


def test_a_long_answer_is_cut_off():
    with serving() as (_, client):
        answer = post(client, max_tokens=2).json()
    assert answer["choices"][0]["message"]["content"] == "Cats hunt"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_invalid_requests_are_refused_with_an_error_body(fields, param):
    with serving() as (_, client):
        answer = post(client, **{"messages": HELLO, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_faults_tokens_and_poison():
    with serving(token="t", poison="mice") as (server, client):  # noqa: S106 -- for a moment
        assert post(client).status_code == 401
        client.headers["authorization"] = "Bearer t"
        assert post(client).status_code == 400
        hello = [{"role": "user", "content": "Hello."}]
        server.fail_next(429)
        server.spoil_next("empty")
        server.spoil_next("count")
        server.spoil_next("html")
        assert post(client, hello).headers["retry-after"] == "0.2"
        message = post(client, hello).json()["choices"][0]["message"]
        assert message["content"] is None
        assert post(client, hello).json()["choices"] == []
        assert post(client, hello).headers["content-type"] == "text/html"
        assert dict(server.stats.by_status) == {401: 1, 400: 1, 429: 1, 200: 3}


def test_other_paths_have_their_status():
    with serving() as (_, client):
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/chat/completions").status_code == 405
        assert client.post("/v1/embeddings").status_code == 404


@pytest.mark.parametrize("options", [{"latency": -1}, {"rate_limited": 2}])
def test_values_that_cannot_work(options):
    with pytest.raises(ConfigurationError, match=r"ChatServer\("):
        ChatServer(**options)


def test_an_option_that_there_is_not():
    with pytest.raises(TypeError, match=r"ChatServer\(\) has no argument 'x'"):
        ChatServer(x=1)
