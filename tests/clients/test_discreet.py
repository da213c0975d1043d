"""What is sent in confidence is in no log of a library, and what comes is inert."""

import logging
from typing import Any

import httpx
import pytest
from opentelemetry import baggage, context
from tests.clients.h2_server import h2_serving
from tests.clients.scripted import DONE, FOUND, answer, scripted
from tests.test_text import ACTIVE, HOSTILE

from spanrun.clients.http import HttpClient
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import ServiceError, StoreError

SECRET = "a-key-of-ours"  # noqa: S105 -- made up
SAYS = f"{HOSTILE} <password>hunter2</password> -u admin:hunter2 {SECRET}"


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged, with the root logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    return caplog


async def test_aiosolr_logs_no_parameter_no_header_and_no_baggage(
    everything: pytest.LogCaptureFixture,
) -> None:
    token = context.attach(baggage.set_baggage("customer", "a-customer"))
    try:
        async with (
            scripted(FOUND, FOUND, DONE) as server,
            AsyncSolrClient(server.url, headers={"X-Custom": SECRET}) as client,
        ):
            await client.search({"q": "a-question", "fq": "id:a-filter"})
            await client.search({"q": "a-question", "handler": "other"})
            await client.add([{"id": "a-document"}])
            await client.delete_by_id(["a-deletion"])
    finally:
        context.detach(token)
    select, other = server.requests[:2]
    assert (select.method, b"a-question" in select.body) == ("POST", True)
    assert (other.method, "a-question" in other.path) == ("GET", True)
    assert "a-customer" in other.headers["baggage"]
    assert other.headers["x-custom"] == SECRET
    assert any(record.name == "aiosolr" for record in everything.records)
    private = (SECRET, "a-question", "a-filter", "a-document", "a-deletion")
    assert not [each for each in (*private, "a-customer") if each in everything.text]


async def test_hpack_logs_no_header_of_ours(
    everything: pytest.LogCaptureFixture,
) -> None:
    async with h2_serving(b"{}") as (_, port):
        url = f"http://127.0.0.1:{port}"
        client = HttpClient(url, headers={"x-custom": SECRET}, http2=True)
        await client.post("/x", {})
        await client.aclose()
    said = [r.getMessage() for r in everything.records if r.name.startswith("hpack")]
    # The server in this process logs as before: its records aren't made in our calls.
    assert any("Decoded" in text and SECRET in text for text in said)
    assert any("Adding b':status'" in text for text in said)
    assert not [text for text in said if "Adding" in text and SECRET in text]


async def test_httpcore_logs_answers_without_secrets(
    everything: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used for proxies."""
    cookie = {"Set_Cookie": "id=0123456789abcdef", "X_Echo": SECRET}
    async with scripted(answer("{}", **cookie)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        client = HttpClient("http://service.example", headers={"x-custom": SECRET})
        await client.post("/x", {})
        await client.aclose()
    said = "".join(
        r.getMessage() for r in everything.records if r.name.startswith("httpcore")
    )
    assert "receive_response_headers.complete" in said
    assert SECRET not in said
    assert "0123456789abcdef" not in said


async def test_httpx_logs_the_applications_own_requests_alone(
    everything: pytest.LogCaptureFixture,
) -> None:
    """Its line has the URL, with what stands in the query."""
    async with scripted(answer("{}")) as server:
        client = HttpClient(f"{server.url}?code={SECRET}")
        await client.post("/x", {})
        await client.aclose()
        async with httpx.AsyncClient() as own:
            await own.get(f"{server.url}/own")
    said = [each.getMessage() for each in everything.records if each.name == "httpx"]
    assert len(said) == 1
    assert "/own" in said[0]
    assert SECRET not in everything.text


def is_clean(told: str) -> None:
    assert not set(told) & {*ACTIVE, "\n", "\t"}
    assert SECRET not in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "told",
    [
        answer(SAYS.encode("utf-8", "replace"), "400 Bad Request"),
        answer(SAYS.encode("utf-8", "replace")),
        answer("", f"503 \x85\x9b31m password=hunter2 {SECRET}"),
        answer("", "302 Found", Location="http://a:hunter2@b/\x9b31m"),
    ],
    ids=["body", "no json", "reason", "location"],
)
@pytest.mark.parametrize("kind", ["http", "solr"])
async def test_what_a_server_says_is_inert_in_our_errors(kind: str, told: Any) -> None:
    headers = {"x-custom": SECRET}
    async with scripted(told) as server:
        if kind == "http":
            client = HttpClient(server.url, headers=headers)
            with pytest.raises(ServiceError) as caught:
                await client.post("/x", {})
            await client.aclose()
        else:
            async with AsyncSolrClient(server.url, headers=headers) as solr:
                with pytest.raises(StoreError) as caught:
                    await solr.search({"q": "a"})
    is_clean(str(caught.value))
    is_clean(caught.value.body)
    cause = caught.value.__cause__
    while cause is not None:  # a traceback shows them as well
        is_clean(str(cause))
        cause = cause.__cause__ or cause.__context__
