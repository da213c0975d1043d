"""What an ingest has in memory at most, whatever comes: measured in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = '''
"""Ingest a folder; tell how much the peak of the memory has grown, in MiB."""
import asyncio, resource, sys
import spanrun as sr
from spanrun.ingest.files import Files
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.stores.sqlite import SqliteStore

def peak():
    try:  # since this program began; the other one begins with its parent's
        with open("/proc/self/status") as status:
            (line,) = (each for each in status if each.startswith("VmHWM"))
            return int(line.split()[1]) // 1024
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

class Embedder:
    model, batch = "counted", 64

    def __init__(self, dimension):
        self.dimension = dimension
        self.runner = sr.Runner("embed", limit=4)

    async def embed(self, texts):
        return [[float(len(text)) + n for n in range(self.dimension)] for text in texts]

class Forgetful:
    """Reads each vector, as a store does, and keeps nothing."""
    async def content_hashes(self):
        return {}

    async def upsert(self, document_id, *, chunks, **described):
        for chunk in chunks:
            assert len(list(chunk.vector)) == self.dimension

async def main(folder, dimension, kind):
    embedder = Embedder(int(dimension))
    store = Forgetful()
    store.dimension = embedder.dimension
    if kind == "sqlite":
        store = SqliteStore(folder + ".db", embedder.dimension, embedder.model)
    pipeline = Pipeline(
        [Split(), parallel(Title(), Summary()), Embed(embedder), Store(store)]
    )
    before = peak()
    async with embedder.runner:
        report = await pipeline.arun(Files(folder))
    if kind == "sqlite":
        await store.aclose()
    print(report.stored, peak() - before)

asyncio.run(main(*sys.argv[1:]))
'''

SENTENCE = "The keeper of the lighthouse wrote down each ship that passed by night. "
PARAGRAPH = SENTENCE * 6 + "\n\n"


def grown(folder: Path, dimension: int = 256, kind: str = "") -> tuple[int, int]:
    """Documents stored, and the MiB by which the peak has grown."""
    argv = [sys.executable, "-c", PROGRAM, str(folder), str(dimension), kind]
    environ = os.environ | {"OTEL_SDK_DISABLED": "true"}
    stored, more = subprocess.check_output(argv, env=environ).split()
    return int(stored), int(more)


def write(folder: Path, texts: list[str]) -> Path:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number:03}.txt").write_text(f"{number}\n\n{text}")
    return folder


def mebibytes(number: float, text: str) -> str:
    return text * int(number * 2**20 / len(text))


@pytest.mark.slow
def test_many_large_files_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", [mebibytes(3, PARAGRAPH)] * 8)
    stored, more = grown(folder)
    assert stored == 8
    assert more < 75


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "most"),
    [
        (PARAGRAPH, 27),
        ("lighthouse ", 27),  # a line without end
        ("# A heading\n", 50),
        ("!", 50),  # three times as many chunks
    ],
)
def test_a_text_takes_a_few_times_its_size_whatever_it_is(
    tmp_path: Path, text: str, most: int
) -> None:
    folder = write(tmp_path / "docs", [mebibytes(3, text)])
    stored, more = grown(folder)
    assert stored == 1
    assert more < most


@pytest.mark.slow
def test_large_vectors_wait_in_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", [mebibytes(1, PARAGRAPH)] * 2)
    stored, more = grown(folder, dimension=3072)
    assert stored == 2
    assert more < 80


@pytest.mark.slow
def test_a_store_takes_a_large_document_chunk_by_chunk(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", [mebibytes(4, PARAGRAPH)])
    stored, more = grown(folder, kind="sqlite")
    assert stored == 1
    assert more < 60
