"""A file is one document: whatever the locale, and however it was named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spanrun import filenames
from spanrun.filenames import local_name, unicode_name
from spanrun.ingest.documents import Document, read_documents

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="names of files are bytes, as on Linux"
)

ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
UTF_8 = {"PYTHONUTF8": "1"}
NAMES = ["b.txt", "café/naïve.txt", "café/\U0001f600.txt", "cafe\u0301/x.txt", "ÿ.md"]
BYTES = b"\xff.txt"

PROGRAM = """
import asyncio, json, sys
from spanrun.ingest.documents import Document, gone, read_documents
from spanrun.ingest.pipeline import Pipeline
from spanrun.ingest.stages import Store
from spanrun.stores.sqlite import SqliteStore

async def main(folder, file):
    found = list(read_documents(folder))
    async with SqliteStore(file, 2, "m") as store:
        report = await Pipeline([Store(store)]).arun(found)
        stored = list(await store.content_hashes())
    print(json.dumps({
        "ids": [each.id for each in found],
        "sources": [each.source for each in found],
        "stored": report.stored,
        "unchanged": report.unchanged,
        "gone": gone(stored, [folder]),
    }))

asyncio.run(main(*sys.argv[1:]))
"""


def ingested(where: dict[str, str], folder: Path, file: Path) -> Any:
    """What a process of that locale makes of the folder."""
    argv = [sys.executable, "-c", PROGRAM, str(folder), str(file)]
    environ = os.environ | where | {"OTEL_SDK_DISABLED": "true"}
    done = subprocess.run(argv, env=environ, check=True, capture_output=True)
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ordner-ö"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("Text.\n")
    Path(os.fsdecode(os.fsencode(folder) + b"/" + BYTES)).write_text("Text.\n")
    return folder


def test_another_locale_finds_the_same_documents_in_the_same_store(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "lager-ü" / "store.db"
    first = ingested(UTF_8, folder, file)
    assert set(first["ids"]) == {
        *(str(folder / name) for name in NAMES),
        f"{folder}/\\udcff.txt",
    }
    assert first["stored"] == len(NAMES) + 1
    second = ingested(ASCII, folder, file)
    assert second["ids"] == first["ids"]  # in the same order
    assert second["sources"] == first["sources"]
    assert (second["stored"], second["unchanged"]) == (0, len(NAMES) + 1)
    assert first["gone"] == second["gone"] == []
    assert [path.name for path in file.parent.glob("*.db")] == ["store.db"]


def test_a_name_that_is_no_utf_8_is_refused_for_a_store(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        ingested(UTF_8, tmp_path, tmp_path / "\udcff.db")
    said = raised.value.stderr.decode().splitlines()[-1]
    assert "SQLite wants UTF-8 in names of files and folders: name another" in said


@pytest.mark.parametrize("environ", [UTF_8, ASCII])
def test_names_lead_back_to_their_files(environ: dict[str, str]) -> None:
    program = """if True:
        import os
        from spanrun.filenames import local_name, unicode_name
        for name in (b"a", "\\xe4\\U0001f600".encode(), b"\\xff\\xc3"):
            path = os.fsdecode(name)
            assert local_name(unicode_name(path)) == path
        print(ascii(unicode_name(os.fsdecode("\\xe4".encode()))))
    """
    argv = [sys.executable, "-c", program]
    said = subprocess.check_output(argv, env=os.environ | environ, text=True)
    assert said.strip() == r"'\xe4'"


def test_a_file_is_one_document_however_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("Text.\n")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file.md").symlink_to(folder / "a.md")
    monkeypatch.chdir(folder)
    ways = [
        folder, f"{folder}/", f"/{folder}", f"{folder}//a.md", f"{folder}/./a.md",
        f"{folder}/../docs/a.md", ".", "./", "a.md", "./a.md", "../docs",
        "../link", "../link/", "../link/a.md", "../file.md",
    ]  # fmt: skip
    for way in ways:
        (document,) = read_documents(way)
        assert isinstance(document, Document)
        assert document.id == str(folder / "a.md")
    assert len(list(read_documents(ways))) == 1


def test_composed_and_decomposed_names_are_two_files_only_where_the_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("é.md", "e\u0301.md"):
        (tmp_path / name).write_text(f"{name!a}\n")
    assert len({each.id for each in read_documents(tmp_path)}) == 2  # type: ignore[union-attr]
    monkeypatch.setattr(filenames, "_NORMALIZES", True)  # as on macOS
    assert unicode_name("e\u0301.md") == unicode_name("é.md") == "é.md"
    assert local_name("é.md") == "é.md"
