"""A pipeline into Solr and SQLite at once, and a search over both: the real servers."""

from pathlib import Path

import pytest

from spanrun.clients.solr import AsyncSolrClient
from spanrun.ingest.documents import topics
from spanrun.ingest.embedder import LocalEmbedder
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.retrieval import aquery, aretrieve
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.stores.solr import SolrStore
from spanrun.stores.sqlite import SqliteStore
from spanrun.testing import Captured

QUERIES = ["what makes an object awaitable", "how do I raise an exception"]


@pytest.mark.slow
async def test_what_went_into_both_is_found_in_both(
    solr_url: str, tmp_path: Path, spanrun_capture: Captured
) -> None:
    documents = topics()[:30]
    async with (
        LocalEmbedder() as embedder,
        SqliteStore(tmp_path / "a.db", 256, embedder.model) as sqlite,
        SolrStore(AsyncSolrClient(solr_url), 256, embedder.model) as solr,
    ):
        pipeline = Pipeline(
            [
                Split(),
                parallel(Title(), Summary()),
                Embed(embedder),
                Store(sqlite),
                Store(solr, name="solr"),
            ]
        )
        report = await pipeline.arun(documents)
        assert (report.stored, report.failures) == (30, [])
        assert await sqlite.count() == await solr.count() == (30, report.chunks)
        assert (await pipeline.arun(documents)).unchanged == 30

        stores = {"sqlite": sqlite, "solr": solr}
        alone = {
            name: await aretrieve(QUERIES, {name: store}, k=5, embedder=embedder)
            for name, store in stores.items()
        }
        found = await aretrieve(QUERIES, stores, k=5, embedder=embedder)
        for number, both in enumerate(found):
            assert both.missing == {}
            assert len({(hit.document_id, hit.chunk) for hit in both.hits}) == 5
            best = {each[number].hits[0].document_id for each in alone.values()}
            assert both.hits[0].document_id in best
        parents = {span.span_id for span in spanrun_capture.find("job search")}
        for name in stores:
            searches = spanrun_capture.find(f"job search {name}")
            assert len(searches) == 2 * len(QUERIES)
            assert {span.parent_id for span in searches} <= parents

        answer = await aquery(QUERIES[0], stores, embedder=embedder)
        assert answer.text
        assert all(hit in answer.retrieved.hits for hit in answer.citations.values())
