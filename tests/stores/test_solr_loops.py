"""`SolrStore` on one event loop after another, which needs no real Solr."""

import asyncio

from tests.clients.conformance import Faulty

import spanrun as sr
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import StoreError
from spanrun.stores.solr import SolrStore
from spanrun.testing import no_leaks


def test_its_lock_may_be_waited_for_on_each() -> None:
    async def together() -> list[object]:
        return await asyncio.gather(
            store.count(), store.count(), return_exceptions=True
        )

    with no_leaks(), Faulty(b"{}") as server:
        store = SolrStore(AsyncSolrClient(f"{server.url}/solr/docs"), 2, "m")
        for _ in range(2):
            errors = sr.run(together())
            assert [type(error) for error in errors] == [StoreError, StoreError]
