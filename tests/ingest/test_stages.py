"""The stages one by one."""

import asyncio
from typing import Any

import pytest
from tests.ingest.doubles import document
from tests.waiting import PATIENCE

from spanrun.errors import ConfigurationError
from spanrun.ingest.documents import Document
from spanrun.ingest.embedder import LocalEmbedder
from spanrun.ingest.stages import Split, Summary, Title, parallel
from spanrun.testing import Captured

TEXT = "# A title\n\nOne sentence of some length. And another sentence here.\n"


async def test_split_gives_verbatim_chunks_in_order() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(50))
    chunks = (await Split(size=40, overlap=0)(document("a", text)))["chunks"]
    assert len(chunks) > 5
    assert [chunk.index for chunk in chunks] == [*range(len(chunks))]
    assert all(chunk.document_id == "a" and chunk.vector == () for chunk in chunks)
    assert " ".join(chunk.text for chunk in chunks) == text


def test_split_refuses_sizes_that_cannot_be_at_once() -> None:
    with pytest.raises(ConfigurationError, match="size=0"):
        Split(size=0)
    with pytest.raises(ConfigurationError, match="overlap=5"):
        Split(size=5, overlap=5)


async def test_split_counts_tokens_as_it_is_told() -> None:
    split = Split(size=10, overlap=0, count=len)
    chunks = (await split(document("a", "One two. Three.")))["chunks"]
    assert [chunk.text for chunk in chunks] == ["One two.", "Three."]


async def test_a_title_that_the_document_brought_stays() -> None:
    brought = Document("a", TEXT, "/a", "", title="Mine")
    assert await Title()(brought) == {}
    assert await Title()(document("a", TEXT)) == {"title": "A title"}


async def test_a_summary_is_drawn_from_the_text() -> None:
    summary = (await Summary()(document("a", TEXT)))["summary"]
    assert summary == "One sentence of some length. And another sentence here."


class Meeting:
    """Ends when as many as were announced are in it at once."""

    def __init__(self, name: str, barrier: asyncio.Barrier) -> None:
        self.name = name
        self._barrier = barrier

    async def __call__(self, _: Document) -> dict[str, Any]:
        await self._barrier.wait()
        return {self.name: self.name}


async def test_parallel_runs_its_transforms_at_the_same_time(
    spanrun_capture: Captured,
) -> None:
    barrier = asyncio.Barrier(2)
    both = parallel(Meeting("title", barrier), Meeting("summary", barrier))
    changes = await asyncio.wait_for(both(document("a", TEXT)), PATIENCE)
    assert changes == {"title": "title", "summary": "summary"}
    assert {span.name for span in spanrun_capture.spans} == {"title", "summary"}


async def test_the_first_error_cancels_the_others_and_is_raised_bare(
    spanrun_capture: Captured,
) -> None:
    error = KeyError("title")

    class Broken:
        name = "broken"

        async def __call__(self, _: Document) -> dict[str, Any]:
            await asyncio.sleep(0)
            raise error

    waiting = Meeting("waiting", asyncio.Barrier(2))
    with pytest.raises(KeyError) as raised:
        await parallel(waiting, Broken())(document("a", TEXT))
    assert raised.value is error
    outcomes = {
        span.name: span.attributes["spanrun.unit.outcome"]
        for span in spanrun_capture.spans
    }
    assert outcomes == {"waiting": "cancelled", "broken": "failed"}


async def test_the_local_embedder_gives_each_text_its_vector() -> None:
    async with LocalEmbedder() as embedder:
        vectors = await embedder.runner.call(embedder.embed, ["one", "two", "one"])
        assert await embedder.aget_query_embedding("two") == vectors[1]
    assert {len(vector) for vector in vectors} == {embedder.dimension}
    assert vectors[0] == vectors[2] != vectors[1]


def test_without_its_package_the_local_embedder_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'spanrun\[ingest\]'"):
        LocalEmbedder()
