"""An ingest that ends itself by ``kill -9``: ``python -m tests.faults.ingests``.

Its arguments are a folder, which has the ``texts``; where that happens: in a ``stage``,
once a request for vectors was answered (``embed``), or in a ``commit``, when the rows
of a document are written and the transaction hasn't ended; and at which of these.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.ingest.doubles import LengthEmbedder, Lines

import spanrun as sr
from spanrun.ingest import Document, Embed, Files, Pipeline, Report, Store
from spanrun.stores import SqliteStore

PLACES = ("stage", "embed", "commit")


class Fatal:
    """Ends the process when it comes to a place so many times."""

    def __init__(self, place: str, number: int) -> None:
        self.place = place
        self.left = number

    def come(self, place: str) -> None:
        self.left -= place == self.place
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Stage:
    name = recipe = "stage"

    def __init__(self, fatal: Fatal) -> None:
        self.fatal = fatal

    async def __call__(self, document: Document) -> dict[str, str]:
        self.fatal.come("stage")
        return {}


class Embedder(LengthEmbedder):
    """Notes each text in a file, as the service would in its bill."""

    def __init__(self, bill: Path, fatal: Fatal) -> None:
        super().__init__()
        self.bill = os.open(bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.fatal = fatal

    async def embed(self, texts: list[str]) -> list[list[float]]:
        vectors = await super().embed(texts)
        os.write(self.bill, "".join(f"{text}\n" for text in texts).encode())
        self.fatal.come("embed")
        return vectors


async def ingest(folder: Path, fatal: Fatal) -> Report:
    async with (
        Embedder(folder / "bill", fatal) as embedder,
        SqliteStore(folder / "kb.db", dimension=1, model=embedder.model) as store,
    ):
        await store.count()  # which opens it

        def hook(database: Any) -> None:
            database.set_commit_hook(lambda: bool(fatal.come("commit")))

        await store._call(hook)
        stages = [Lines(), Stage(fatal), Embed(embedder), Store(store)]
        return await Pipeline(stages).arun(Files(folder / "texts"))


if __name__ == "__main__":
    report = sr.run(ingest(Path(sys.argv[1]), Fatal(sys.argv[2], int(sys.argv[3]))))
    sys.exit(bool(report.failures))
