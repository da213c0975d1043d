"""Make a small local store with the spanrun that is installed: `format-N.db`.

    python tests/data/store/make.py tests/data/store/format-3.db

One file for each format that a release wrote. Later releases are tested with it, so it
is made once, by the release that wrote the format, and never again.
"""

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import spanrun as sr


async def job(number: int) -> int:
    """Fail one in ten; open a unit in each."""
    with sr.unit("parse", number=number):
        await asyncio.sleep(0.001)
    if number % 10 == 3:
        raise LookupError(f"no {number}")
    return number


async def main() -> None:
    """Twenty jobs in one run, and one call."""
    retry = sr.Retry(on=LookupError, attempts=2)
    async with sr.Runner("embed", limit=4, retry=retry) as runner:
        await runner.map(job, range(20), errors="collect")
        await runner.call(job, 100)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["make.py"]
        sr.configure(store=folder)
        sr.run(main())
        assert sr.shutdown()
        made = Path(folder) / "telemetry.db"
        with closing(sqlite3.connect(made)) as db:
            db.execute("PRAGMA page_size = 1024")
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("VACUUM")
            db.execute("PRAGMA journal_mode = WAL")
        target.write_bytes(made.read_bytes())
