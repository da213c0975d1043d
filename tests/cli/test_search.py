"""`spanrun search`: hits, in words and as JSON."""

from pathlib import Path

import pytest
from tests.cli.conftest import FILES, Cli, embed

from spanrun.cli.exits import Exit
from spanrun.testing import EmbeddingServer


@pytest.fixture
def ingested(cli: Cli, docs: Path) -> Cli:
    assert cli("ingest", "docs", "--no-progress").code == 0
    return cli


def test_the_best_hit_comes_first(ingested: Cli) -> None:
    result = ingested("search", "how does a dough rise", "-k", "1")
    assert result.code == 0
    assert result.err == ""
    assert result.out.splitlines() == [
        "  1. Baking bread  (docs/bread.rst)",
        "     Baking bread ============ Yeast makes dough rise.",
    ]


def test_json_is_one_object(ingested: Cli) -> None:
    result = ingested("search", "glaciers", "--json")
    assert result.err == ""
    assert result.json["query"] == "glaciers"
    first, *_ = result.json["hits"]
    assert (first["title"], first["source"]) == ("Mountains", "docs/alps.html")
    assert len(result.json["hits"]) == len(FILES)


def test_a_query_is_one_request(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    cli("ingest", "docs", *at)
    before = endpoint.stats.texts
    assert cli("search", "glaciers", *at).code == 0
    assert endpoint.stats.texts == before + 1


@pytest.mark.parametrize(
    "query", ['"', "a AND NOT (b", "*", "x" * 5_000, "ünïcödé 語", "\u200b", "\udcff x"]
)
def test_any_text_may_be_searched_for(ingested: Cli, query: str) -> None:
    result = ingested("search", query)
    assert result.code == 0, result.err
    assert result.out


def test_a_store_without_documents_has_no_hits(cli: Cli, docs: Path) -> None:
    with EmbeddingServer(
        latency=0, rate_limited=0, unavailable=0, poison=" ", embed=embed
    ) as server:
        at = ("--embeddings-url", f"{server.url}/v1", "--model", "m")
        cli("ingest", "docs", *at)
        result = cli("search", "anything", *at)
        as_json = cli("search", "anything", *at, "--json")
    assert (result.code, result.out) == (0, "no hits\n")
    assert as_json.json == {"query": "anything", "hits": []}


def test_an_answer_is_made_of_sentences_and_cites_its_hits(ingested: Cli) -> None:
    result = ingested("search", "what makes a dough rise", "-k", "2", "--answer")
    assert result.code == 0
    answer, _, first, *_ = result.out.splitlines()
    assert answer == "Yeast makes dough rise. [1]"
    assert first == "  1. Baking bread  (docs/bread.rst)"
    told = ingested("search", "what makes a dough rise", "--answer", "--json").json
    assert (told["answer"], told["citations"]) == (answer, [1])


@pytest.mark.parametrize("query", ["", "  \t"])
def test_an_empty_query_is_refused(ingested: Cli, query: str) -> None:
    result = ingested("search", query)
    assert result.code == Exit.USAGE
    assert result.err.endswith(": an empty query\n  Say what to look for.\n")


def test_without_documents_the_next_step_is_told(cli: Cli) -> None:
    result = cli("search", "anything")
    assert result.code == Exit.INPUT
    assert result.err == (
        "spanrun: .spanrun has no documents\n  First: spanrun ingest PATH…\n"
    )
    assert not (cli.folder / ".spanrun").exists()
