"""An ingest that ends itself by ``kill -9``: ``python -m tests.faults.ingests``.

Its arguments are a folder, which has the ``texts``, and the number of the document, in
the order of its stage, during which that happens; 0 for none.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.ingest.doubles import LengthEmbedder

import spanrun as sr
from spanrun.ingest import Document, Embed, Files, Pipeline, Report, Split, Store
from spanrun.stores import SqliteStore


class Noted:
    """A stage that notes each document in a file, and ends the process at one."""

    name = "noted"
    recipe = "noted"

    def __init__(self, log: Path, fatal: int) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.left = fatal

    async def __call__(self, document: Document) -> dict[str, str]:
        os.write(self.log, f"{Path(document.id).stem}\n".encode())
        await asyncio.sleep(0)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return {}


async def ingest(folder: Path, fatal: int) -> Report:
    async with (
        LengthEmbedder() as embedder,
        SqliteStore(folder / "kb.db", dimension=1, model=embedder.model) as store,
    ):
        stages = [Split(), Noted(folder / "log", fatal), Embed(embedder), Store(store)]
        return await Pipeline(stages).arun(Files(folder / "texts"))


if __name__ == "__main__":
    report = sr.run(ingest(Path(sys.argv[1]), int(sys.argv[2])))
    sys.exit(bool(report.failures))
