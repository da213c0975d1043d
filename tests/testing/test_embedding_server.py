import asyncio
import base64
import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
from array import array

import httpx
import pytest
from tests.waiting import PATIENCE, until

from spanrun.errors import ConfigurationError
from spanrun.ingest import local_model
from spanrun.testing.embedding_server import EmbeddingServer

pytestmark = pytest.mark.usefixtures("no_leaks")

QUIET = {"latency": 0, "jitter": 0, "rate_limited": 0, "unavailable": 0}
TOKEN = "t"  # noqa: S105 -- of a server that lives for a moment


def plain(texts):
    """Vectors without a model: the length of the text, and 1."""
    return [[float(len(text)), 1.0] for text in texts], sum(map(len, texts))


@contextlib.contextmanager
def serving(**options):
    with (
        EmbeddingServer(**{"embed": plain, **QUIET, **options}) as server,
        httpx.Client(
            base_url=server.url, timeout=5, trust_env=False, verify=False
        ) as client,
    ):
        yield server, client


def post(client, texts="text", **fields):
    body = {"model": "m", "input": texts} | fields
    return client.post("/v1/embeddings", json=body)


def vectors(answer):
    return [item["embedding"] for item in answer.raise_for_status().json()["data"]]


def test_it_answers_as_openai_does():
    with serving() as (_, client):
        answer = post(client, ["a", "bcd"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 1.0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


def test_the_vectors_are_the_local_models():
    with serving(embed=None) as (server, client):
        answer = post(client, ["a cat", "a dog"], model=server.model)
    assert vectors(answer) == local_model.embed(["a cat", "a dog"])
    assert answer.json()["usage"]["total_tokens"] == 4
    assert server.model == local_model.NAME


def test_one_text_may_be_sent_without_a_list():
    with serving() as (_, client):
        assert vectors(post(client, "abc")) == [[3.0, 1.0]]


def test_base64_is_sent_on_request():
    with serving() as (_, client):
        (packed,) = vectors(post(client, "abc", encoding_format="base64"))
    assert list(array("f", base64.b64decode(packed))) == [3.0, 1.0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"input": "a"}', "model"),
        (b'{"model": "", "input": "a"}', "model"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": []}', "input"),
        (b'{"model": "m", "input": ["a", " "]}', "input"),
        (b'{"model": "m", "input": [1, 2]}', "input"),
        (json.dumps({"model": "m", "input": ["a"] * 2049}).encode(), "input"),
        (b'{"model": "m", "input": "a", "encoding_format": "x"}', "encoding_format"),
    ],
)
def test_invalid_requests_are_refused_with_an_error_body(body, param):
    with serving() as (_, client):
        answer = client.post("/v1/embeddings", content=body)
        assert post(client).status_code == 200  # the connection lives on
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/v1/embeddings", 405),
        ("POST", "/v1/other", 404),
        ("GET", "/", 404),
    ],
)
def test_other_paths_have_their_status(method, path, status):
    with serving() as (server, client):
        assert client.request(method, path).status_code == status
        assert server.stats.requests == 0


def test_the_token_is_required_where_there_is_one():
    with serving(token=TOKEN) as (_, client):
        assert post(client).status_code == 401
        client.headers["authorization"] = "Bearer wrong"
        assert post(client).json()["error"]["code"] == "invalid_api_key"
        client.headers["authorization"] = f"Bearer {TOKEN}"
        assert post(client).status_code == 200


def test_a_poisoned_text_always_fails_and_others_do_not():
    with serving(poison="☠") as (_, client):
        assert [post(client, [text, "b"]).status_code for text in ("a", "x☠")] * 2 == [
            200,
            400,
        ] * 2


def drawn(count, **options):
    with serving(**options) as (server, client):
        statuses = [post(client).status_code for _ in range(count)]
        assert dict(server.stats.by_status) == {s: statuses.count(s) for s in statuses}
    return statuses


def test_a_seeded_share_of_requests_fails():
    shares = {"rate_limited": 0.2, "unavailable": 0.1}
    statuses = drawn(300, seed=1, **shares)
    assert 40 <= statuses.count(429) <= 80
    assert 15 <= statuses.count(503) <= 45
    assert statuses == drawn(300, seed=1, **shares)
    assert statuses != drawn(300, seed=2, **shares)


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "0.2"), (3, "3")])
def test_429_says_when_to_come_again(seconds, header):
    with serving(rate_limited=1, retry_after=seconds) as (_, client):
        answer = post(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, header)
    assert answer.json()["error"]["type"] == "rate_limit_exceeded"


def test_failures_can_be_asked_for_in_order():
    with serving() as (server, client):
        server.fail_next(503, 2)
        server.fail_next(500)
        server.spoil_next("html")
        answers = [post(client) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [503, 503, 500, 200, 200]
    assert answers[3].headers["content-type"] == "text/html"
    assert answers[2].json()["error"]["type"] == "server_error"


def test_latency_is_kept_and_grows_with_the_texts():
    with serving(latency=0.05) as (_, client):
        post(client)
        for texts, least in ((["a"], 0.05), (["a"] * 500, 0.15)):
            since = time.perf_counter()
            post(client, texts)
            assert time.perf_counter() - since >= least


def test_jitter_has_the_mean_that_was_asked_for():
    server = EmbeddingServer(embed=plain, jitter=0.01)
    drawn = [server._jitters.lognormvariate(-0.5, 1) for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(1, abs=0.05)


def test_a_connection_is_kept():
    with serving() as (server, client):
        for _ in range(25):
            post(client)
        assert server.stats.connections == 1


def test_what_was_served_is_counted():
    with serving() as (server, client):
        post(client, ["a", "b"])
        post(client, [])
        server.fail_next(429)
        post(client)
        stats = server.stats
        stats.by_status.clear()  # a copy
        assert dict(server.stats.by_status) == {200: 1, 400: 1, 429: 1}
        assert (stats.requests, stats.texts) == (3, 2)
        assert (stats.in_flight, stats.most_in_flight) == (0, 1)


async def test_requests_are_served_concurrently():
    with EmbeddingServer(embed=plain, **(QUIET | {"latency": 0.1})) as server:
        async with httpx.AsyncClient(
            base_url=server.url, trust_env=False, verify=False
        ) as client:
            body = {"model": "m", "input": "a"}
            requests = (client.post("/v1/embeddings", json=body) for _ in range(30))
            answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {200}
    assert server.stats.most_in_flight > 10


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("count", [[2.0, 1.0]]),
        ("dimension", [[1.0], [2.0]]),
        ("order", [[2.0, 1.0], [1.0, 1.0]]),
        ("zero", [[0.0, 0.0], [2.0, 1.0]]),
    ],
)
def test_a_wrong_answer_can_be_asked_for(fault, expected):
    with serving() as (server, client):
        server.spoil_next(fault)
        spoilt = post(client, ["a", "bb"])
        assert vectors(spoilt) == expected
        assert vectors(post(client, ["a", "bb"])) == [[1.0, 1.0], [2.0, 1.0]]
    if fault == "order":
        assert [item["index"] for item in spoilt.json()["data"]] == [1, 0]


def test_nan_can_be_asked_for():
    with serving() as (server, client):
        server.spoil_next("nan")
        assert math.isnan(vectors(post(client))[0][0])


def test_a_body_that_is_no_json_can_be_asked_for():
    with serving() as (server, client):
        for fault in ("json", "html"):
            server.spoil_next(fault)
            with pytest.raises(ValueError, match=r"Expecting|delimiter|Unterminated"):
                post(client).json()


def test_a_huge_body_can_be_asked_for():
    with serving() as (server, client):
        server.spoil_next("huge")
        assert len(post(client).content) == 64 * 2**20


def test_a_redirect_can_be_asked_for():
    with serving() as (server, client):
        server.spoil_next("redirect")
        answer = post(client)
    assert answer.status_code == 307
    assert not answer.headers["location"].startswith(server.url)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("reset", httpx.ReadError), ("truncate", httpx.RemoteProtocolError)],
)
def test_a_connection_that_breaks_can_be_asked_for(fault, error):
    with serving() as (server, client):
        server.spoil_next(fault, 2)
        for _ in range(2):
            with pytest.raises(error):
                post(client, ["a"] * 1000)
        assert post(client).status_code == 200


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_an_answer_that_does_not_come_can_be_asked_for(fault):
    with serving() as (server, client):
        server.spoil_next(fault)
        request = client.build_request(
            "POST", "/v1/embeddings", json={"model": "m", "input": "a"}, timeout=0.2
        )
        since = time.perf_counter()
        with contextlib.suppress(httpx.ReadTimeout):
            with contextlib.closing(client.send(request, stream=True)) as answer:
                for _ in answer.iter_raw():
                    if time.perf_counter() - since > 0.2:
                        break
            assert fault == "drip"
        assert post(client).status_code == 200


def raw(server, data, *, half=False):
    with socket.create_connection(("127.0.0.1", server._server.port), 5) as connection:
        connection.sendall(data)
        if half:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/embeddings HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc", 400),
        (b"GET / HT", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\ncontent-length: 999999999\r\n\r\n" + b"x" * 9**6, 413),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused_and_harms_nobody_else(data, status):
    with serving() as (server, client):
        answer = raw(server, data, half=True)
        assert post(client).status_code == 200
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.endswith(b"}")


def test_a_connection_is_closed_where_that_was_asked_for():
    with serving() as (server, _):
        for head in (b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"):
            answer = raw(server, b"GET /healthz " + head + b"\r\n\r\n")
            assert b"connection: close" in answer
            assert answer.endswith(b'{"status": "ok"}')


def test_a_large_answer_arrives_whole_before_the_connection_closes():
    with serving() as (server, client):
        server.spoil_next("huge")
        client.headers["connection"] = "close"
        assert len(post(client).content) == 64 * 2**20


def test_requests_in_one_packet_are_answered_in_order():
    with serving() as (server, _):
        one = b"GET /healthz HTTP/1.1\r\n\r\n"
        two = b"GET /no HTTP/1.1\r\nconnection: close\r\n\r\n"
        answer = raw(server, one + two)
    assert answer.index(b"200 OK") < answer.index(b"404 Not Found")


def test_a_client_that_leaves_early_harms_nobody_else():
    with serving(latency=0.05) as (server, client):
        for _ in range(5):
            body = b'{"model": "m", "input": "a"}'
            head = b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
            with socket.create_connection(("127.0.0.1", server._server.port)) as gone:
                gone.sendall(head % len(body) + body)
        assert post(client).status_code == 200


@pytest.mark.parametrize("fault", ["hang", "drip", None])
def test_it_stops_at_once_whatever_its_clients_do(fault):
    def ask(url):
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{url}/v1/embeddings", json={"model": "m", "input": "a"})

    before = set(threading.enumerate())
    with EmbeddingServer(embed=plain, **(QUIET | {"latency": 3600})) as server:
        if fault is not None:
            server.spoil_next(fault, 8)
            server._latency = 0
        clients = [threading.Thread(target=ask, args=(server.url,)) for _ in range(8)]
        for client in clients:
            client.start()
        until(lambda: server.stats.requests >= 8)
    for client in clients:
        client.join(PATIENCE)
    assert set(threading.enumerate()) == before
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server._server.port), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_descriptor_is_left():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count

    with serving() as (_, client):
        post(client)
    before = descriptors()
    for _ in range(3):
        with serving() as (server, client):
            server.spoil_next("reset")
            with contextlib.suppress(httpx.HTTPError):
                post(client)
            post(client)
    assert descriptors() == before


def test_it_can_be_started_again():
    server = EmbeddingServer(embed=plain, **QUIET)
    for _ in range(2):
        with server:
            assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": -1}, r"latency=-1\): must be ≥ 0"),
        ({"jitter": math.nan}, r"jitter=nan\): must be a finite number ≥ 0"),
        ({"retry_after": math.inf}, r"retry_after=inf"),
        ({"rate_limited": 0.9, "unavailable": 0.2}, "together ≤ 1"),
        ({"unavailable": -0.1}, "unavailable=-0.1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        EmbeddingServer(**options)
