"""How much of a run is on its way, and what is read when."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.ingest.doubles import LengthEmbedder, MemoryStore

from spanrun.errors import ConfigurationError
from spanrun.ingest._in_flight import MOST
from spanrun.ingest._vectors import Vectors
from spanrun.ingest.documents import Document, content_hash
from spanrun.ingest.files import Files
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.stages import Embed, Split, Store
from spanrun.testing import Captured, no_leaks

LARGE = "A word. " * (MOST // 16)  # half of what may be in flight


def document(name: str, text: str) -> Document:
    return Document(name, text, name, content_hash(text))


class One:
    """One chunk of each document."""

    name = "one"

    async def __call__(self, given: Document) -> dict[str, Any]:
        (chunk,) = (await Split()(document(given.id, "word")))["chunks"]
        return {"chunks": (chunk,)}


class Held:
    """A stage that lets nothing through until it may."""

    name = "held"

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, given: Document) -> dict[str, Any]:
        self.entered.set()
        await self.may.wait()
        return {}


async def settled(seen: list[str]) -> int:
    """How many were pulled, once no more are."""
    before = -1
    while before != len(seen):
        before = len(seen)
        for _ in range(50):
            await asyncio.sleep(0)
    return before


async def test_large_documents_are_not_pulled_while_others_are_on_their_way() -> None:
    pulled: list[str] = []

    async def source() -> AsyncIterator[Document]:
        for n in range(9):
            pulled.append(str(n))
            yield document(str(n), f"{n} {LARGE}")

    held = Held()
    async with no_leaks(), asyncio.TaskGroup() as group:
        stages = [One(), held, Store(MemoryStore())]
        run = group.create_task(Pipeline(stages).arun(source(), num_workers=9))
        await held.entered.wait()
        assert await settled(pulled) == 2
        held.may.set()
        assert (await run).stored == 9


async def test_a_slow_embedder_holds_back_the_source() -> None:
    pulled: list[str] = []
    may, entered = asyncio.Event(), asyncio.Event()

    class Slow(LengthEmbedder):
        async def embed(self, texts: list[str]) -> list[list[float]]:
            entered.set()
            await may.wait()
            return await super().embed(texts)

    async def source() -> AsyncIterator[Document]:
        for n in range(500):
            pulled.append(str(n))
            yield document(str(n), f"{n} word")

    embedder = Slow()
    async with no_leaks(), embedder, asyncio.TaskGroup() as group:
        stages = [One(), Embed(embedder), Store(MemoryStore())]
        run = group.create_task(Pipeline(stages).arun(source()))
        await entered.wait()
        assert await settled(pulled) < 60
        may.set()
        assert (await run).stored == 500


async def test_failed_and_renamed_documents_make_room_too() -> None:
    class Odd:
        name = "odd"

        async def __call__(self, given: Document) -> dict[str, Any]:
            if int(given.id) % 2:
                raise ValueError(given.id)
            return {"id": f"new {given.id}", "chunks": ()}

    texts = [document(str(n), f"{n} {LARGE}") for n in range(9)]
    report = await Pipeline([Odd(), Store(MemoryStore())]).arun(iter(texts))
    assert (report.stored, len(report.failures)) == (5, 4)


async def test_the_errors_of_large_documents_do_not_keep_them() -> None:
    class Failing:
        name = "failing"

        async def __call__(self, given: Document) -> dict[str, Any]:
            try:
                int(given.text)
            except ValueError as why:
                raise KeyError(given.id) from why

    def large(n: int) -> Document:
        return document(f"large {n}", f"{n} {LARGE}")

    report = await Pipeline([Failing()]).arun(large(n) for n in range(9))
    assert [each.error.args for each in report.failures] == [
        (each.document_id,) for each in report.failures
    ]
    assert report.failures[0].error.__traceback__ is not None
    assert report.failures[0].error.__cause__ is not None
    gc.collect()
    kept = [
        each
        for each in gc.get_objects()
        if isinstance(each, Document) and each.id.startswith("large")
    ]
    assert 1 <= len(kept) <= 2  # as much as may be in flight


# Vectors in a file


def test_vectors_in_a_file_are_those_that_were_put() -> None:
    count, dimension = 2000, 300
    vectors = Vectors(count)
    for index in reversed(range(count)):
        vectors.put(index, [index / 3] * dimension)
    kept = list(vectors)
    assert type(kept[0]) is not list
    for index in (0, 1, 999, 1999):
        vector = kept[index]
        assert len(vector) == dimension
        assert list(vector) == [index / 3] * dimension == vector
        assert vector[-1] == index / 3
        assert list(vector[1:3]) == [index / 3] * 2
        assert vector != [0.0]


def test_few_vectors_stay_as_they_are() -> None:
    vectors = Vectors(2)
    vectors.put(1, [1.0])
    assert list(vectors) == [(), [1.0]]


async def test_a_vector_that_can_not_be_kept_costs_its_document() -> None:
    class Broken(LengthEmbedder):
        async def embed(self, texts: list[str]) -> list[Any]:
            return [["no number"] * 2**18 for _ in texts]

    async with Broken() as embedder:
        report = await Pipeline([One(), Embed(embedder)]).arun([document("a", "x")])
    ((failure),) = report.failures
    assert failure.stage == "embed"
    assert isinstance(failure.error, TypeError)


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.md", "c.png", "inner/d.txt"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"This is {name}.\n")
    return tmp_path / "docs"


def names(documents: Any) -> list[str]:
    return [Path(each.source).name for each in documents]


async def test_files_are_done_once_and_what_changed_is_done_again(
    folder: Path, spanrun_capture: Captured
) -> None:
    store = MemoryStore()
    pipeline = Pipeline([One(), Store(store)])
    files = Files(folder)
    assert (len(files), names(files)) == (3, ["a.txt", "b.md", "d.txt"])
    assert names(files.skipped) == ["c.png"]
    report = await pipeline.arun(files)
    assert (report.stored, report.unchanged) == (3, 0)
    (folder / "b.md").write_text("Something else.\n")
    report = await pipeline.arun(Files([folder, folder / "a.txt"]))
    assert (report.stored, report.unchanged) == (1, 2)
    first, second = spanrun_capture.find("run ingest")
    assert first.attributes["spanrun.run.total"] == 3
    assert second.attributes["spanrun.run.total"] == 1
    assert second.attributes["spanrun.run.trace"] == "child"


async def test_a_file_is_read_again_when_it_is_its_turn(folder: Path) -> None:
    files = Files(folder)
    files.look()
    (folder / "a.txt").unlink()
    (folder / "b.md").write_text("Written since.\n")
    (folder / "new.txt").write_text("Not seen.\n")
    report = await Pipeline([One(), Store(MemoryStore())]).arun(files)
    assert report.stored == 2
    ((failure),) = report.failures
    assert failure.document_id == str(folder / "a.txt")
    assert "can't be read now: run again" in str(failure.error)


async def test_only_the_files_that_are_worked_on_were_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(folder)
    files.look()
    read: list[str] = []
    from spanrun.ingest import documents  # noqa: PLC0415

    before = documents.read_text

    def read_text(path: str, *rest: Any) -> str:
        read.append(Path(path).name)
        return before(path, *rest)

    monkeypatch.setattr(documents, "read_text", read_text)
    assert names(files.only({str(folder / "b.md")})) == ["b.md"]
    assert read == ["b.md"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"paths": 3}, "paths"),
        ({"paths": [3]}, "paths"),
        ({"paths": ".", "max_bytes": -1}, "max_bytes"),
        ({"paths": ".", "follow_links": "yes"}, "follow_links"),
    ],
)
def test_wrong_arguments_of_files_are_refused(options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Files(**options)
