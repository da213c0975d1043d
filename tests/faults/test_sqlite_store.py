"""Any call on a store of documents may fail: a call of it is done, or nothing is.

The N-th call fails, once or from then on, for each N until all comes to its end without
a failure. What fails is a `StoreError` that names the file. The file is whole then, has
each document as the last call that went well left it, and can be used again.
"""

import asyncio
import errno
import itertools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.faults.disk import EVER, Faults

from spanrun.errors import StoreError
from spanrun.stores import Chunk, SqliteStore

OLD = {"replaced": "old", "removed": "old", "kept": "old"}
"""By document: which text it has."""


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, 2, "model")


async def put(store: SqliteStore, document: str, text: str) -> None:
    chunks = [Chunk(document, each, f"{text} {each}", [1.0, each]) for each in range(3)]
    told = {"content_hash": text, "source": "s", "title": None, "summary": None}
    await store.upsert(document, **told, chunks=chunks)


async def stored(path: Path) -> dict[str, str]:
    """Which text each document has, all of it; or an error."""
    async with opened(path) as store:
        found = await store.content_hashes()
        hits = await store.search((1.0, 0.0), "", 100)
        words = await store.search((), "old new", 100)
        assert await store._call(integrity) == [("ok",)]
    for each in (hits, words):
        texts = {(hit.document_id, hit.text) for hit in each}
        assert texts == {(d, f"{t} {n}") for d, t in found.items() for n in range(3)}
    return found


def integrity(database: Any) -> Any:
    return database.execute("pragma integrity_check").fetchall()


async def live(path: Path, before: dict[str, str]) -> dict[str, str]:
    """What a process does with a store; what must be in it then."""
    expected, said = dict(before), list[str]()

    async def attempt(
        done: Coroutine[Any, Any, Any], change: Callable[[], object] = lambda: None
    ) -> None:
        try:
            await done
        except StoreError as error:
            said.append(str(error))
        else:
            change()

    store = opened(path)
    for name in ("replaced", "new"):
        changed = lambda name=name: expected.update({name: "new"})
        await attempt(put(store, name, "new"), changed)
    await attempt(store.delete(["removed"]), lambda: expected.pop("removed", None))
    await attempt(store.search((1.0, 0.0), "old", 3))
    await attempt(store.aclose())
    assert all(each.startswith(f"{path}: ") for each in said), said
    return expected


def check(
    faults: Faults, path: Path, before: dict[str, str], at: int, code: int, times: int
) -> bool:
    """Use a store with the call ``at`` failing; whether there was such a call."""

    async def prepare() -> None:
        async with opened(path) as store:
            for name, text in before.items():
                await put(store, name, text)

    if before:
        asyncio.run(prepare())
    faults.begin(path.parent)
    faults.fail(at, code, times=times)
    expected = asyncio.run(live(path, before))
    faults.heal()
    if not faults.failed:
        return False
    where = (at, errno.errorcode[code], faults.failed[0])
    assert asyncio.run(stored(path)) == expected, where
    assert asyncio.run(live(path, expected)) == {
        **{name: text for name, text in before.items() if name != "removed"},
        "replaced": "new",
        "new": "new",
    }, where
    return True


def left_open() -> tuple[int, int]:
    """Threads, and descriptors."""
    return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


def survives(
    faults: Faults, folder: Path, before: dict[str, str], code: int, times: int
) -> set[str]:
    """Have each call fail in turn; the names of those that did."""
    seen: set[str] = set()
    left = left_open()
    for at in itertools.count(1):
        path = folder / f"{at}" / "store.db"
        if not check(faults, path, before, at, code, times):
            return seen
        seen.update(faults.failed)
        assert left_open() == left
    raise AssertionError("unreachable")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EMFILE])
@pytest.mark.parametrize("before", [{}, OLD], ids=["no file yet", "a file"])
def test_any_call_may_fail_once(
    apsw_faults: Faults, tmp_path: Path, before: dict[str, str], code: int
) -> None:
    seen = survives(apsw_faults, tmp_path, before, code, 1)
    assert seen >= {"sqlite open", "sqlite fsync", "sqlite unlink"}
    assert {"sqlite pwrite64", "sqlite pwrite"} & seen


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("before", [{}, OLD], ids=["no file yet", "a file"])
def test_any_call_may_fail_from_then_on(
    apsw_faults: Faults, tmp_path: Path, before: dict[str, str], code: int
) -> None:
    seen = survives(apsw_faults, tmp_path, before, code, EVER)
    assert {"sqlite pwrite64", "sqlite pwrite"} & seen
