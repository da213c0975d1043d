"""The Solr client and store through toxiproxy: a real Solr behind a bad network."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from instrumentation.backends import servers
from tests import solr
from tests.backends.conftest import needs
from tests.stores.test_conformance import at, put

from spanrun.clients.solr import AsyncSolrClient, MaybeStored, transient
from spanrun.errors import DeadlineExceeded, StoreError
from spanrun.policies.retry import Retry
from spanrun.stores.solr import SolrStore
from spanrun.testing import Captured, no_leaks

solr_server, solr_url = solr.solr_server, solr.solr_url

AT_ONCE = Retry(on=transient, attempts=3, base=0.01, cap=0.01, budget=None)
FAULTS = {
    "reset": ("reset_peer", {"timeout": 0}),
    "answer cut": ("limit_data", {"bytes": 150}),
    "nothing answered": ("limit_data", {"bytes": 0}),
}


class Proxy:
    """A proxy before a server, whose faults can be changed while it is used."""

    def __init__(self, api: str, target: str, name: str = "solr") -> None:
        self._name = name
        self._api = httpx.Client(base_url=api, trust_env=False, verify=False)
        address, _, path = target.removeprefix("http://").partition("/")
        told = self._ask(
            "POST", "/proxies", name=name, listen="127.0.0.1:0", upstream=address
        )
        self.url = f"http://{told['listen']}/{path}"

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._api.request(method, path, json=body or None)
        answer.raise_for_status()
        return json.loads(answer.text or "null")

    @contextmanager
    def fault(
        self, kind: str, stream: str = "downstream", **how: int
    ) -> Iterator[None]:
        self._ask(
            "POST",
            f"/proxies/{self._name}/toxics",
            name=kind,
            type=kind,
            stream=stream,
            attributes=how,
        )
        try:
            yield
        finally:
            self._ask("DELETE", f"/proxies/{self._name}/toxics/{kind}")

    @contextmanager
    def down(self) -> Iterator[None]:
        self.set(up=False)
        try:
            yield
        finally:
            self.set(up=True)

    def set(self, *, up: bool) -> None:
        """Have it down, with all of its connections ended, or up again."""
        self._ask("POST", f"/proxies/{self._name}", enabled=up)

    def remove(self) -> None:
        self._ask("DELETE", f"/proxies/{self._name}")
        self._api.close()


@pytest.fixture(scope="module")
def toxiproxy() -> Iterator[Any]:
    needs("toxiproxy")
    with servers.toxiproxy() as server:
        yield server


@pytest.fixture
def proxy(toxiproxy: Any, solr_url: str) -> Iterator[Proxy]:
    made = Proxy(toxiproxy.url, solr_url)
    yield made
    made.remove()


async def all_methods(client: AsyncSolrClient) -> None:
    """Each method once, with what it must come to."""
    await client.clear_collection(commit=True)
    documents = [{"id": name, "text": name, "embedding": at(1)} for name in ("a", "b")]
    await client.add([*documents, {"id": "c"}], commit=True)
    assert (await client.search({"q": "*:*"})).response.num_found == 3
    assert (await client.search_text("a", ["text"])).response.num_found == 1
    assert (await client.search_vector(at(1), "embedding")).response.num_found == 2
    assert (await client.search_where({"id": ["a", "c"]})).response.num_found == 2
    await client.delete_by_id(["a"])
    await client.delete_by_query("text:b")
    await client.commit()
    assert (await client.search({"q": "*:*"})).response.num_found == 1
    assert (await client.schema()).unique_key == "id"


async def test_all_methods_work_over_a_slow_network(
    proxy: Proxy, spanrun_capture: Captured
) -> None:
    with proxy.fault("latency", latency=30, jitter=10):
        async with no_leaks(), AsyncSolrClient(proxy.url) as client:
            await all_methods(client)
    spans = spanrun_capture.find(attributes={"db.system.name": "solr"})
    assert len(spans) >= 11
    assert all(span.duration >= 0.02 for span in spans)


async def test_all_methods_work_over_a_narrow_network(proxy: Proxy) -> None:
    with proxy.fault("slicer", average_size=20, size_variation=10, delay=100):
        async with no_leaks(), AsyncSolrClient(proxy.url) as client:
            await all_methods(client)


@pytest.mark.parametrize("fault", FAULTS)
async def test_all_methods_fail_with_an_error_that_says_so(
    proxy: Proxy, fault: str
) -> None:
    kind, how = FAULTS[fault]
    async with no_leaks():
        client = AsyncSolrClient(proxy.url, retry=AT_ONCE)
        await client.schema()
        with proxy.fault(kind, **how):
            for call in (
                client.search({"q": "*:*"}),
                client.search_text("a", ["text"]),
                client.search_vector(at(0), "embedding"),
                client.search_where({"id": "a"}),
                client.add([{"id": "a"}]),
                client.delete_by_id(["a"]),
                client.delete_by_query("id:a"),
                client.clear_collection(),
                client.commit(),
                client.schema(),
            ):
                with pytest.raises(StoreError, match="attempt 3/3") as raised:
                    await call
                assert raised.value.__cause__ is not None
                assert proxy.url in str(raised.value)
            with pytest.raises(MaybeStored, match="attempt 1/3"):
                await client.add([{"id": "a", "n_i": {"inc": 1}}])
        await all_methods(client)
        await client.close()


async def test_a_server_that_is_gone_and_comes_back(proxy: Proxy) -> None:
    patient = Retry(on=transient, attempts=20, base=0.05, cap=0.05, budget=None)
    async with no_leaks(), AsyncSolrClient(proxy.url, retry=patient) as client:
        await client.search({"q": "*:*"})
        with proxy.down():
            search = asyncio.create_task(client.search({"q": "*:*"}))
            await asyncio.sleep(0.1)
            assert not search.done()
        assert (await search).response.num_found == 0
        with proxy.down():
            impatient = AsyncSolrClient(proxy.url, retry=AT_ONCE)
            with pytest.raises(
                StoreError, match=r"can't be reached: (.|\n)*is Solr running"
            ):
                await impatient.search({"q": "*:*"})
            await impatient.close()


async def test_a_server_that_never_answers_costs_the_timeout(proxy: Proxy) -> None:
    async with no_leaks():
        client = AsyncSolrClient(proxy.url, request_timeout_sec=0.2)
        with proxy.fault("timeout", timeout=0):
            began = time.monotonic()
            with pytest.raises(TimeoutError) as raised:
                await client.search({"q": "*:*"})
            assert time.monotonic() - began < 2
            assert isinstance(raised.value, DeadlineExceeded)
        assert (await client.search({"q": "*:*"})).response.num_found == 0
        await client.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_store_has_whole_documents_whatever_happens(
    proxy: Proxy, fault: str
) -> None:
    kind, how = FAULTS[fault]
    async with no_leaks():
        store = SolrStore(
            AsyncSolrClient(proxy.url, retry=AT_ONCE), solr.DIMENSION, "m"
        )
        await put(store, "kept", *["word"] * 30)
        with proxy.fault(kind, stream="downstream", **how):
            for name in ("kept", "new"):
                with pytest.raises(StoreError):
                    await put(store, name, *["word"] * 20)
            with pytest.raises(StoreError):
                await store.search(at(0), "word")
        with (
            proxy.fault("limit_data", stream="upstream", bytes=9_000),
            pytest.raises(StoreError),  # the document is larger
        ):
            await put(store, "kept", *["word"] * 10)
        documents, chunks = await store.count()
        assert (documents, chunks) in {(1, 30), (1, 20), (2, 50), (2, 40)}
        await put(store, "kept", "word")
        await store.delete(["new"])
        assert await store.count() == (1, 1)
        await store.aclose()
