"""Promise 1 for files: each path has one outcome, however hostile what is there is.

A row for each kind: what makes it, and what becomes of it. None is there alone, so that
it may not cost the others either. A new one is a function, and a row.
"""

import asyncio
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import spanrun as sr
from spanrun.ingest import Files, Pipeline, Report, Split, Store
from spanrun.stores import SqliteStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX file types")

Make = Callable[[Path], object]
READ = "read"
"""What becomes of a file of which nothing is wrong."""
OTHERS = "of somebody else"


def outside(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret.txt")


def traversing(path: Path) -> None:
    path.symlink_to(f"../{path.parent.name}/../secret.txt")


def outside_folder(path: Path) -> None:
    path.symlink_to(path.parent.parent)


def circle(path: Path) -> None:
    path.symlink_to(path)


def round_trip(path: Path) -> None:
    path.mkdir()
    (path / "back").symlink_to(path.parent)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone.txt")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def zeros(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 20)


def huge(path: Path) -> None:
    path.write_bytes(b"word " * (4 << 20))


def zip_bomb(path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb.txt", b"0" * (64 << 20))
    path.write_bytes(packed.getvalue())


def xml_bomb(path: Path) -> None:
    lines = ["<!DOCTYPE lolz [", '<!ENTITY lol0 "lol">']
    for number in range(1, 10):
        tens = f"&lol{number - 1};" * 10
        lines.append(f'<!ENTITY lol{number} "{tens}">')
    path.write_text("\n".join([*lines, "]>", "<p>laughs: &lol9;</p>"]))


def outside_entity(path: Path) -> None:
    path.write_text(
        f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{path.parent.parent}/secret.txt">]>'
        "<p>entity: &x;</p>"
    )


def deep(path: Path) -> None:
    path.write_text("<div>" * 10_000 + "deep" + "</div>" * 10_000)


def text(path: Path) -> None:
    path.write_text("a text as others")


HOSTILE: list[tuple[str, Make, str]] = [
    ("outside.txt", outside, "link"),
    ("traversing.txt", traversing, "link"),
    ("outside-folder", outside_folder, "not_a_file"),
    ("circle.txt", circle, "unreadable"),
    ("round/back", lambda path: round_trip(path.parent), "not_a_file"),
    ("dangling.txt", dangling, "unreadable"),
    ("pipe.txt", os.mkfifo, "not_a_file"),
    ("sparse.txt", sparse, "too_large"),
    ("zeros.txt", zeros, "binary"),
    ("huge.txt", huge, "too_large"),
    ("bomb.zip", zip_bomb, "format"),
    ("bomb.txt", zip_bomb, "binary"),
    ("bomb.html", xml_bomb, READ),
    ("entity.html", outside_entity, READ),
    ("deep.html", deep, READ),
    ("text.txt", text, READ),
    ("a\nb\x1b[2J.txt", text, READ),
    ("~.txt", text, READ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(OTHERS)
    folder = tmp_path / "named"
    folder.mkdir()
    for name, make, _ in HOSTILE:
        make(folder / name)
    return folder


def test_each_path_is_read_or_skipped_with_a_reason(folder: Path) -> None:
    files = Files(folder)
    documents = {document.source: document for document in files}
    skipped = {each.source: each for each in files.skipped}
    assert not documents.keys() & skipped.keys()
    for name, _, expected in HOSTILE:
        path = str(folder / name)
        if expected == READ:
            assert path in documents, (name, skipped.get(path))
        else:
            assert skipped[path].kind == expected, name
            assert skipped[path].reason
    assert len(documents) + len(skipped) == len(HOSTILE)
    for document in documents.values():
        assert OTHERS not in document.text
        assert len(document.text) < 2_000


async def stored(files: Files, store: SqliteStore) -> Report:
    pipeline = Pipeline([Split(), Zeros(), Store(store)])
    return await pipeline.arun(files)


class Zeros:
    """In place of an embedder."""

    name = "zeros"
    recipe = "zeros"

    async def __call__(self, document: object) -> dict[str, object]:
        return {}


CHANGES: list[tuple[str, Callable[[Path], object], bool]] = [
    ("vanishes", Path.unlink, False),
    ("becomes another text", lambda path: path.write_text("another text"), True),
    ("becomes empty", lambda path: path.write_text(""), False),
    ("becomes binary", lambda path: path.write_bytes(b"\0"), False),
    ("becomes a pipe", lambda path: (path.unlink(), os.mkfifo(path)), False),
    ("becomes a link out", lambda path: (path.unlink(), outside(path)), False),
    ("becomes sparse", sparse, False),
]


@pytest.mark.parametrize(
    ("change", "is_stored"),
    [(change, is_stored) for _, change, is_stored in CHANGES],
    ids=[name for name, *_ in CHANGES],
)
def test_what_changes_between_two_looks_is_a_documents_outcome(
    tmp_path: Path, change: Callable[[Path], object], *, is_stored: bool
) -> None:
    (tmp_path / "secret.txt").write_text(OTHERS)
    folder = tmp_path / "named"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        text(folder / name)
    files = Files(folder)
    assert len(files) == 3
    change(folder / "b.txt")

    async def ingest() -> Report:
        pipeline = Pipeline([Split(), Zeros()])
        return await asyncio.wait_for(pipeline.arun(files), None)

    report = sr.run(ingest())
    assert report.stored == 2 + is_stored
    assert report.stored + len(report.failures) == 3
    for failure in report.failures:
        assert failure.document_id == str((folder / "b.txt").absolute())
        assert OTHERS not in str(failure.error)
