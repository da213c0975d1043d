"""What `SqliteStore` does beyond `test_conformance.py`, and on broken disks."""

import asyncio
import contextlib
import math
import random
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.waiting import PATIENCE, turns

from spanrun.errors import ConfigurationError, StoreError
from spanrun.stores import _sqlite_open as opening
from spanrun.stores.base import Chunk
from spanrun.stores.sqlite import SqliteStore
from spanrun.testing import capture

DIMENSION = 8
MODEL = "test-8"


def at(angle):
    """A vector by its direction in a plane, in degrees."""
    angle = math.radians(angle)
    return [math.cos(angle), math.sin(angle), *[0.0] * (DIMENSION - 2)]


def make(path, dimension=DIMENSION, model=MODEL):
    return SqliteStore(path, dimension, model)


async def put(store, document_id, *texts, vector=None, **fields):
    chunks = [
        Chunk(document_id, index, text, vector or at(index))
        for index, text in enumerate(texts)
    ]
    described = {"content_hash": "h", "source": "s", "title": None, "summary": None}
    await store.upsert(document_id, **(described | fields), chunks=chunks)


async def found(store, vector=(), text="", k=10):
    return [(hit.document_id, hit.chunk) for hit in await store.search(vector, text, k)]


async def run_sql(store, sql):
    return await store._call(lambda database: database.execute(sql).fetchall())


def whole(path):
    """Check that the file holds whole documents only; how many."""
    database = opening.connect(path, DIMENSION, MODEL)
    with contextlib.closing(database):
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        (rows,) = database.execute(
            "select (select count(*) from chunks), (select count(*) from vectors),"
            " (select count(*) from words), (select count(*) from"
            " chunks c join vectors v on v.rowid = c.rowid)"
        )
        assert len(set(rows)) == 1, rows
        documents = database.execute(
            "select rowid, content_hash, source from documents"
        ).fetchall()
        for rowid, content_hash, chunks in documents:
            texts = database.execute(
                "select text, position from chunks where document = ?"
                " order by position",
                (rowid,),
            ).fetchall()
            expected = [(f"generation {content_hash}", i) for i in range(int(chunks))]
            assert texts == expected
    return len(documents)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "store.db"


@pytest.fixture
async def store(path):
    async with make(path) as opened:
        yield opened


async def test_search_by_words_ignores_endings_accents_and_case(store):
    await put(store, "a", "The café's engines were running")
    await put(store, "b", "Nothing of this kind", title="Quiet engine")
    assert await found(store, text="CAFE run") == [("a", 0)]
    assert {d for d, _ in await found(store, text="engine")} == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("un café noir", "cafe\u0301"),
        ("un cafe\u0301 noir", "café"),
        ("हिन्दी में लिखा", "लिखा"),
        ("Straße nach Köln", "köln"),
        ("он читает", "ЧИТАЕТ"),
        ("call foo_bar() here", "foo_bar"),
        ("the dunder __init__", "__init__"),
    ],
)
async def test_words_of_many_scripts_are_found(store, text, query):
    await put(store, "a", text)
    await put(store, "b", "other")
    assert await found(store, text=query) == [("a", 0)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=40))
def test_any_text_can_be_stored_and_searched(tmp_path, text):
    async def check():
        async with make(tmp_path / "any.db") as store:
            await put(store, "a", text, source=text, title=text, summary=text)
            assert await store.search((), text) is not None
            (hit,) = await store.search(at(0), "", 1)
            assert hit.text == hit.source == text.encode("utf-8", "replace").decode()

    asyncio.run(check())


async def test_bad_arguments_are_refused(store, path):
    with pytest.raises(ConfigurationError, match=r"search\(k=0\)"):
        await store.search(at(0), "x", 0)
    with pytest.raises(StoreError, match="got one text"):
        await store.delete("abc")
    for options in ({"dimension": 0}, {"dimension": 9000}, {"model": ""}):
        with pytest.raises(ConfigurationError, match="SqliteStore"):
            make(path, **options)


async def test_a_failure_in_the_middle_of_a_document_leaves_the_old_one(store):
    await put(store, "a", "old one", "old two")
    # The vectors' table refuses this: an error in the middle of the transaction.
    await run_sql(store, "drop table words")
    with pytest.raises(StoreError, match="no such table: words"):
        await put(store, "a", "new one", "new two", "new three", content_hash="new")
    assert await store.content_hashes() == {"a": "h"}
    assert [row[0] for row in await run_sql(store, "select text from chunks")] == [
        "old one",
        "old two",
    ]


async def test_a_cancelled_upsert_has_happened_whole_or_not_at_all(path):
    cancelled = 0
    async with make(path) as store:
        for trial in range(60):
            name = f"d{trial}"
            texts = [f"generation {trial}"] * 40
            task = asyncio.create_task(
                put(store, name, *texts, content_hash=str(trial), source="40")
            )
            await asyncio.sleep(0 if trial % 2 else 0.001 * (trial % 7))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            cancelled += task.cancelled()
        documents, chunks = await store.count()
    assert chunks == 40 * documents
    assert whole(path) == documents
    assert cancelled


async def test_a_cancelled_call_that_waits_for_its_turn_never_happens(store):
    turn = threading.Event()
    first = asyncio.create_task(store._call(lambda _: turn.wait(PATIENCE)))
    await asyncio.sleep(0)
    second = asyncio.create_task(put(store, "a", "x"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    turn.set()
    assert await first
    assert await store.count() == (0, 0)


async def test_the_event_loop_runs_on_while_sqlite_works(store):
    turn = threading.Event()
    busy = asyncio.create_task(store._call(lambda _: turn.wait(PATIENCE)))
    await turns()
    assert not busy.done()
    turn.set()
    assert await busy


@pytest.mark.usefixtures("no_leaks")
async def test_nothing_is_left_after_closing(path):
    before = set(threading.enumerate())
    async with make(path) as store:
        await put(store, "a", "x")
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_closing_again_and_together_is_fine(path):
    store = make(path)
    await put(store, "a", "x")
    await asyncio.gather(store.aclose(), store.aclose())
    await store.aclose()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        await store.count()


async def test_a_cancelled_closing_still_closes(path):
    store = make(path)
    turn = threading.Event()
    busy = asyncio.create_task(store._call(lambda _: turn.wait(PATIENCE)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    turn.set()
    await store.aclose()
    assert await busy
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_store_that_was_never_used_has_no_file_and_no_thread(path):
    before = threading.active_count()
    make(path).close()
    assert threading.active_count() == before
    assert not path.parent.exists()


def test_a_store_may_be_used_from_one_event_loop_after_another(path):
    store = make(path)
    asyncio.run(put(store, "a", "x"))
    assert asyncio.run(store.count()) == (1, 1)
    store.close()


@pytest.mark.parametrize(
    ("dimension", "model"), [(4, MODEL), (DIMENSION, "other"), (4, "other")]
)
async def test_another_model_or_dimension_is_refused(path, dimension, model):
    async with make(path) as store:
        await put(store, "a", "x")
    before = set(threading.enumerate())
    with pytest.raises(ConfigurationError, match="holds vectors of 'test-8' with 8"):
        async with make(path, dimension, model):
            pass
    assert set(threading.enumerate()) == before
    async with make(path) as store:
        assert await store.count() == (1, 1)


async def test_a_newer_schema_is_refused(path):
    async with make(path) as store:
        await run_sql(store, "update meta set value = 2 where key = 'schema'")
    with pytest.raises(ConfigurationError, match=r"schema 2.*upgrade spanrun"):
        await make(path).count()


async def test_what_is_no_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("My notes. " * 500)
    with pytest.raises(ConfigurationError, match="is no SQLite database"):
        await make(path).count()
    assert path.read_text() == "My notes. " * 500


async def test_another_programs_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("create table meta(key, value)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="database of another program"):
        await make(path).count()
    assert path.read_bytes() == before


async def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()
    async with make(path) as store:
        assert await store.count() == (0, 0)


async def test_names_that_sqlite_treats_specially_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory"):
        async with make(name) as store:
            await put(store, "a", "x")
        assert (tmp_path / name).stat().st_size


async def test_a_damaged_file_is_reported(path):
    async with make(path) as store:
        for i in range(50):
            await put(store, f"d{i}", *["word " * 200] * 5)
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError, match="delete it and ingest again"):
        async with make(path) as store:
            await store.content_hashes()


async def test_a_path_that_cannot_be_is_reported(tmp_path):
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file" / "store.db", tmp_path):
        with pytest.raises(StoreError, match=r"check that the folder .* written to"):
            async with make(bad):
                pass


async def test_a_full_disk_is_reported_and_what_was_stored_is_intact(path):
    async with make(path) as store:
        await put(store, "a", "generation h", source="1")
        ((pages,),) = await run_sql(store, "pragma page_count")
        await run_sql(store, f"pragma max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="make room on the disk"):
            await put(store, "b", *["word " * 1000] * 20)
        assert await store.content_hashes() == {"a": "h"}
        await run_sql(store, "pragma max_page_count = 100000")
        await put(store, "b", "generation h", source="1")
    assert whole(path) == 2


async def test_a_writer_that_never_ends_is_reported(path, monkeypatch):
    monkeypatch.setattr(opening, "BUSY", 0.05)
    async with make(path) as first, make(path) as second:
        await run_sql(first, "begin immediate")
        assert await second.count() == (0, 0)  # readers don't wait
        with pytest.raises(StoreError, match="another process has been writing"):
            await put(second, "a", "x")
        await run_sql(first, "rollback")
        await put(second, "a", "x")


@pytest.mark.parametrize("missing", ["apsw", "sqlite_vec"])
async def test_without_the_extra_the_error_says_what_to_install(
    path, monkeypatch, missing
):
    monkeypatch.setitem(sys.modules, missing, None)
    store = make(path)
    with pytest.raises(ConfigurationError, match=r"pip install 'spanrun\[ingest\]'"):
        await store.count()
    assert not path.parent.exists()
    await store.aclose()


async def test_replacing_documents_again_and_again_does_not_make_the_file_grow(path):
    # Deleting and inserting would: to the fivefold after 60 rounds.
    async with make(path) as store:
        for i in range(20):
            await put(store, f"d{i}", *["some words"] * 30)
        ((before,),) = await run_sql(store, "pragma page_count")
        for _ in range(30):
            for i in random.sample(range(20), 5):
                await put(store, f"d{i}", *["other words"] * 30)
        ((after,),) = await run_sql(store, "pragma page_count")
    assert after <= 1.5 * before


def script(body):
    return [sys.executable, "-c", textwrap.dedent(body)]


READ_ONLY = """
    import asyncio, os, sys, apsw, sqlite_vec
    from spanrun.errors import StoreError
    from spanrun.stores.sqlite import SqliteStore
    if os.geteuid() == 0:
        os.setgid(65534); os.setuid(65534)
    try:
        asyncio.run(SqliteStore(sys.argv[1], 8, "test-8").count())
    except StoreError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("file", ["new.db", "new/folder/new.db"])
def test_a_folder_that_may_not_be_written_to_is_reported(file):
    # Not in tmp_path, which other users may not enter: root must give up its rights.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [*script(READ_ONLY), f"{folder}/{file}"],
            check=True,
            capture_output=True,
            text=True,
        )
        Path(folder).chmod(0o755)
    assert "written to" in done.stdout
    assert len(done.stdout.splitlines()) == 1


WRITER = """
    import asyncio, random, sys, threading
    from spanrun.stores.base import Chunk
    from spanrun.stores.sqlite import SqliteStore
    path, name = sys.argv[1:]
    go_on = threading.Thread(target=sys.stdin.read, daemon=True)
    go_on.start()
    async def main():
        async with SqliteStore(path, 8, "test-8") as store:
            print("open", flush=True)
            generation = 0
            while go_on.is_alive():
                generation += 1
                if generation == 20:
                    print("has written", flush=True)
                document = f"d{random.randrange(10)}"
                mark, size = f"{name}.{generation}", random.randrange(1, 60)
                if generation % 10 == 0:
                    await store.delete([document])
                    continue
                await store.upsert(
                    document, content_hash=mark, source=str(size), title=None,
                    summary=None, chunks=[
                        Chunk(document, i, f"generation {mark}", [1.0, i, *[0.0] * 6])
                        for i in range(size)
                    ],
                )
    asyncio.run(main())
"""


def start(path, name):
    return subprocess.Popen(
        [*script(WRITER), str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_kill_in_the_middle_of_writing_leaves_whole_documents(path):
    for trial in range(8):
        with start(path, f"k{trial}") as writer:
            assert writer.stdout.readline() == "open\n"
            time.sleep(random.uniform(0.01, 0.2))
            writer.kill()
        assert whole(path) >= 0


@pytest.mark.slow
def test_two_processes_write_at_once_and_both_get_through(path):
    # Both create it, too: neither waits for the other to begin.
    with start(path, "one") as one, start(path, "two") as two:
        for writer in (one, two):
            assert writer.stdout.readline() == "open\n"
            assert writer.stdout.readline() == "has written\n"
    assert [writer.returncode for writer in (one, two)] == [0, 0]
    assert whole(path) > 0


@pytest.mark.slow
async def test_fifty_thousand_chunks(path):
    # Measured on 2 cores with 256 dimensions: 13 s to store, 36 to 160 ms a search.
    draw = random.Random(1)
    async with make(path) as store:
        for i in range(5_000):
            vector = [draw.gauss(0, 1) for _ in range(DIMENSION)]
            await put(store, f"d{i}", *[f"word{i} common text"] * 10, vector=vector)
            if i == 777:
                wanted = vector
        assert await store.count() == (5_000, 50_000)
        assert {d for d, _ in await found(store, wanted)} == {"d777"}
        assert {d for d, _ in await found(store, text="word4321")} == {"d4321"}
        assert len(await store.search(wanted, "common text", 5_000)) == 5_000
        assert await store.delete([f"d{i}" for i in range(2_500)]) == 2_500
        assert await store.count() == (2_500, 25_000)


async def test_each_call_is_told_as_one_of_a_database(tmp_path):
    path = tmp_path / "store.db"
    with capture() as told:
        async with make(path) as store:
            await put(store, "a", "one")
            await store.search(at(0), "one")
            await store.aclose()
            with pytest.raises(StoreError, match="closed"):
                await store.count()
        spans = {each.name: each for each in told.spans}
        assert set(spans) == {"upsert store.db", "search store.db", "count store.db"}
        assert spans["search store.db"].attributes == {
            "db.system.name": "sqlite",
            "db.namespace": "store.db",
            "db.operation.name": "search",
        }
        assert spans["count store.db"].status == "ERROR"
        name = "db.client.operation.duration"
        for operation in ("upsert", "search", "count"):
            assert told.count(name, {"db.operation.name": operation}) == 1
        assert told.count(name, {"error.type": "spanrun.errors.StoreError"}) == 1
