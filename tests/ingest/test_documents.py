import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.ingest import _file
from spanrun.ingest._html import html_text
from spanrun.ingest.documents import (
    Document,
    Skipped,
    content_hash,
    gone,
    read_documents,
    topics,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file types")


def only(path, **options):
    (result,) = read_documents([path], **options)
    return result


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def kinds(results):
    return {Path(r.source).name: r.kind for r in results if isinstance(r, Skipped)}


def texts(results):
    return {Path(r.source).name: r.text for r in results if isinstance(r, Document)}


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.TXT"])
def test_text_formats_are_read_as_they_are(tmp_path, name):
    path = write(tmp_path / name, "Title\n=====\n\nText.\n")
    document = only(path)
    assert document == Document(
        id=str(path),
        text="Title\n=====\n\nText.\n",
        source=str(path),
        content_hash=content_hash("Title\n=====\n\nText.\n"),
    )


def test_html_becomes_text_and_keeps_its_title(tmp_path):
    page = "<title>A &amp; B</title><style>x</style><h1>One</h1><p>Two<p>Three"
    document = only(write(tmp_path / "a.htm", page))
    assert (document.title, document.text) == ("A & B", "# One\n\nTwo\n\nThree")


def test_files_come_in_order_of_their_names_depth_first(tmp_path):
    for name in ("b/z.md", "b/a.md", "a.md", "c.md", "b.md"):
        write(tmp_path / name, "x")
    found = [r.source for r in read_documents([tmp_path])]
    expected = ["a.md", "b/a.md", "b/z.md", "b.md", "c.md"]
    assert found == [str(tmp_path / name) for name in expected]


def test_named_paths_come_in_the_order_they_were_given(tmp_path):
    b, a = write(tmp_path / "b.md", "x"), write(tmp_path / "a.md", "x")
    assert [r.source for r in read_documents([b, str(a)])] == [str(b), str(a)]


def test_one_path_may_be_given_without_a_list(tmp_path):
    path = write(tmp_path / "a.md", "x")
    assert [r.source for r in read_documents(str(path))] == [str(path)]


def test_the_same_file_has_one_id_however_it_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "docs" / "a.md", "x")
    (tmp_path / "link.md").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    names = [path, "docs/a.md", "./docs/../docs/a.md", "link.md"]
    assert {only(name).id for name in names} == {str(path)}
    assert len(list(read_documents([*names, "docs"]))) == 1


def test_the_hash_depends_on_the_text_alone(tmp_path):
    one = only(write(tmp_path / "a.txt", "a\r\nb"))
    two = only(write(tmp_path / "b.md", "\ufeffa\nb"))
    assert one.content_hash == two.content_hash
    assert one.content_hash != only(write(tmp_path / "c.md", "a\n b")).content_hash


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_encodings_with_a_byte_order_mark_are_read(tmp_path, encoding):
    mark = "\ufeff" if encoding.endswith("-be") else ""
    data = f"{mark}Grüße, 世界".encode(encoding)
    assert only(write(tmp_path / "a.txt", data)).text == "Grüße, 世界"


@pytest.mark.parametrize(
    ("name", "data", "kind", "reason"),
    [
        ("a.png", b"x", "format", "not a text format: .png"),
        ("README", b"x", "format", "no file name ending"),
        ("a.txt", b"", "empty", "it is empty"),
        ("a.txt", b" \n\t", "empty", "there is no text in it"),
        ("a.txt", b"\xef\xbb\xbf", "empty", "there is no text in it"),
        ("a.html", b"<script>x</script>", "empty", "there is no text in it"),
        ("a.txt", b"PK\x03\x04\x00\x00", "binary", "binary"),
        ("a.txt", b"\x89PNG\x00\xff", "binary", "binary"),
        ("a.txt", "Grüße".encode("latin-1"), "encoding", "byte 2 (0xfc) is not UTF-8"),
        ("a.txt", b"\xff\xfea\x00b", "encoding", "byte 4 (0x62) is not UTF-16-LE"),
        ("a.txt", b"x" * 101, "too_large", "max_bytes"),
    ],
)
def test_what_is_no_text_is_skipped_with_a_reason(tmp_path, name, data, kind, reason):
    path = write(tmp_path / name, data)
    skipped = only(path, max_bytes=100)
    assert (skipped.source, skipped.kind) == (str(path), kind)
    assert reason in skipped.reason
    assert "\n" not in skipped.reason


def test_the_size_limit_is_inclusive(tmp_path):
    assert only(write(tmp_path / "a.txt", b"x" * 100), max_bytes=100).text == "x" * 100


@pytest.mark.parametrize("name", ["gone.txt", "gone", "", "a\0b", "\udcff\ud800"])
def test_a_named_path_that_is_not_there_is_missing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt", "x")
    assert only(name).kind == "missing"


def test_a_path_below_a_file_is_missing(tmp_path):
    assert only(write(tmp_path / "a.txt", "x") / "b.txt").kind == "missing"


def test_one_bad_file_costs_that_file_only(tmp_path):
    write(tmp_path / "a.txt", b"\xff\xff")
    write(tmp_path / "b.txt", "good")
    write(tmp_path / "c.bin", "x")
    results = list(read_documents([tmp_path, tmp_path / "gone"]))
    assert texts(results) == {"b.txt": "good"}
    assert kinds(results) == {"a.txt": "encoding", "c.bin": "format", "gone": "missing"}


@pytest.mark.parametrize("content", [{}, {"a.png": "x"}, {"sub/.a.txt": "x"}])
def test_a_folder_without_documents_says_so(tmp_path, content):
    for name, data in content.items():
        write(tmp_path / name, data)
    last = list(read_documents([tmp_path]))[-1]
    assert (last.source, last.kind) == (str(tmp_path), "no_documents")


def test_hidden_files_and_folders_are_left_out_unless_named(tmp_path):
    hidden = write(tmp_path / ".git" / "a.txt", "x")
    write(tmp_path / ".b.txt", "x")
    write(tmp_path / "c.txt", "x")
    assert [r.source for r in read_documents([tmp_path])] == [str(tmp_path / "c.txt")]
    assert isinstance(only(hidden.parent), Document)


@posix
def test_pipes_sockets_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.txt"))
        results = list(read_documents([tmp_path, "/dev/zero"]))
    assert kinds(results) == {
        "pipe.txt": "not_a_file",
        "s.txt": "not_a_file",
        tmp_path.name: "no_documents",
        "zero": "not_a_file",
    }


@posix
def test_a_pipe_that_takes_a_files_place_does_not_hang(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", "x")
    real = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(_file.os, "stat", lambda _: real)
    with pytest.raises(_file.UnusableFileError) as caught:
        _file.read_text(str(path), ".txt", 100)
    assert caught.value.kind == "not_a_file"


@posix
def test_symbolic_links_in_circles_end(tmp_path):
    write(tmp_path / "a.txt", "x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "gone.txt")
    results = list(read_documents([tmp_path]))
    assert texts(results) == {"a.txt": "x"}
    assert kinds(results) == {
        "loop": "not_a_file",
        "self.txt": "unreadable",
        "nowhere.txt": "unreadable",
    }
    assert {r.reason for r in results if isinstance(r, Skipped)} == {
        "a symbolic link to a folder: name that folder to read it",
        "can't be read: too many levels of symbolic links",
        "a symbolic link that leads nowhere",
    }


@posix
def test_a_link_out_of_the_folder_is_followed_only_when_asked_for(tmp_path):
    secret = write(tmp_path / "secret.txt", "x")
    tree = write(tmp_path / "tree" / "a.txt", "y").parent
    (tree / "passwd.txt").symlink_to(secret)
    (tree / "relative.txt").symlink_to("../secret.txt")
    (tree / "outside").symlink_to(tmp_path)
    beside = tmp_path / "tree2"
    (tree / "beside.txt").symlink_to(write(beside / "b.txt", "z"))
    results = list(read_documents(tree))
    assert texts(results) == {"a.txt": "y"}
    assert kinds(results) == {
        "passwd.txt": "link",
        "relative.txt": "link",
        "beside.txt": "link",
        "outside": "not_a_file",
    }
    followed = list(read_documents(tree, follow_links=True))
    assert {d.id for d in followed} == {
        str(tree / "a.txt"),
        str(secret),
        str(beside / "b.txt"),
    }


@posix
def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(tmp_path):
    secret = write(tmp_path / "elsewhere" / "b.txt", "secret").parent
    tree = write(tmp_path / "tree" / "a.txt", "x").parent
    inner = write(tree / "inner" / "a.txt", "y").parent
    write(inner / "b.txt", "y")
    results = read_documents(tree)
    assert [next(results).text, next(results).text] == ["x", "y"]
    inner.rename(tmp_path / "moved")
    inner.symlink_to(secret)
    assert kinds(results) == {"b.txt": "link"}


@posix
def test_a_link_inside_of_the_folder_is_followed(tmp_path):
    write(tmp_path / "..data" / "a.txt", "x")
    (tmp_path / "a.txt").symlink_to(tmp_path / "..data" / "a.txt")
    assert only(tmp_path).text == "x"


@posix
def test_links_that_are_followed_end_where_they_go_in_circles(tmp_path):
    tree = write(tmp_path / "tree" / "a.txt", "x").parent
    (tree / "up").symlink_to(tmp_path)
    (tree / "b" / "c").mkdir(parents=True)
    (tree / "b" / "c" / "here").symlink_to(tree)
    (tree / "self.txt").symlink_to(tree / "self.txt")
    os.mkfifo(tmp_path / "pipe")
    (tree / "pipe.txt").symlink_to(tmp_path / "pipe")
    results = list(read_documents(tree, follow_links=True))
    assert texts(results) == {"a.txt": "x"}
    assert kinds(results) == {
        "self.txt": "unreadable",
        "pipe.txt": "not_a_file",
        "pipe": "not_a_file",
    }


@posix
def test_a_link_that_was_named_is_followed(tmp_path):
    real = write(tmp_path / "elsewhere" / "a.txt", "x")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    document = only(link)
    assert (document.id, document.source) == (str(real), str(link))


@posix
def test_a_link_to_a_folder_is_followed_when_it_was_named(tmp_path):
    write(tmp_path / "real" / "a.txt", "x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    document = only(tmp_path / "link")
    assert document.id == str(tmp_path / "real" / "a.txt")
    assert document.source == str(tmp_path / "link" / "a.txt")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5)]
)
def test_a_file_that_the_system_refuses_is_unreadable(tmp_path, monkeypatch, error):
    path = write(tmp_path / "a.txt", "x")

    def refuse(*_):
        raise error

    monkeypatch.setattr(_file.os, "open", refuse)
    skipped = only(path)
    assert skipped.kind == "unreadable"
    assert skipped.reason.startswith("can't be read")


def test_a_folder_that_cannot_be_listed_is_reported_once(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert only(tmp_path).reason == "can't be read: permission denied"


def test_a_file_that_vanishes_meanwhile_is_unreadable(tmp_path):
    first, second = write(tmp_path / "a.txt", "x"), write(tmp_path / "b.txt", "x")
    results = read_documents([tmp_path])
    assert next(results).source == str(first)
    second.unlink()
    skipped = next(results)
    assert (skipped.source, skipped.kind) == (str(second), "unreadable")
    assert "vanished" in skipped.reason


@pytest.mark.parametrize("change", ["less", "more than there was", "other text"])
def test_a_file_that_changes_while_it_is_read_is_skipped(tmp_path, monkeypatch, change):
    path = write(tmp_path / "a.txt", "first text")
    real = os.fstat
    calls = []

    def fstat(descriptor):
        status = real(descriptor)
        if not calls:
            path.write_text(change)
            os.utime(path, ns=(1, 1))
        calls.append(descriptor)
        return status

    monkeypatch.setattr(_file.os, "fstat", fstat)
    skipped = only(path)
    assert skipped.kind == "unreadable"
    assert "changed while it was read" in skipped.reason


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="APFS allows UTF-8 names only")
def test_a_name_that_is_no_utf8_gives_a_printable_id(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(raw, "wb") as file:  # noqa: PTH123 -- a name in bytes
        file.write(b"x")
    document = only(tmp_path)
    assert document.id == f"{tmp_path}/\\udcff.txt"
    assert document.id.encode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="paths this long")
@pytest.mark.parametrize(("depth", "kind"), [(1200, None), (2100, "unreadable")])
def test_a_tree_deeper_than_the_stack_is_read(tmp_path, monkeypatch, depth, kind):
    monkeypatch.chdir(tmp_path)
    for _ in range(depth):  # step by step: the whole may be longer than PATH_MAX
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    Path("a.txt").write_text("deep")
    first = next(iter(read_documents([tmp_path])))
    Path("a.txt").unlink()
    for _ in range(depth):
        os.chdir("..")
        os.rmdir("d")  # noqa: PTH106
    assert getattr(first, "kind", None) == kind
    assert getattr(first, "text", "deep") == "deep"


def test_topics_are_the_language_reference():
    documents = topics()
    assert len(documents) >= 70
    assert [d.id for d in documents] == sorted({d.id for d in documents})
    assert all(d.text.strip() for d in documents)


@given(st.text(st.sampled_from("<>/!-[]&#;\"'= \nabpxscrit1CDAT?\0"), max_size=60))
def test_no_markup_makes_the_reader_raise(markup):
    title, text = html_text(markup)
    assert title is None or title.strip()
    assert "\n\n\n\n\n" not in text or "pre" in markup


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b", "a\nb"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n3"),
        ("<h2>x <b>y</b></h2>z", "## x y\n\nz"),
        ("<p>a\n  b</p>", "a b"),
        ("a<pre>x\n  y\n\nz</pre>b", "a\n\n    x\n      y\n\n    z\n\nb"),
        ("a<script>'<!--'</script>b<!-- c -->d", "abd"),
        ("a<!-->b-->c", "ab-->c"),
        ("a<!-- never closed <b>b</b>", "a"),
        ("<svg><title>no</title></svg>a", "a"),
        ("a &lt; b &#65; &#xD800; &#0;", "a < b A \ufffd \ufffd"),
        ("&#" + "1" * 5000 + ";", "\ufffd"),
        ("a < b", "a < b"),
        ("<![CDATA[ x ]]>a", "a"),
        ("<![foo>a", "a"),
    ],
)
def test_markup_is_read_as_browsers_do(markup, text):
    assert html_text(markup)[1] == text


@pytest.mark.parametrize(
    "part", ["<a", "<!--", "<!-- > ", "<![CDATA[ > ", "<script>", "<", "&#1", "</a "]
)
def test_hostile_markup_takes_linear_time(part):
    # 0.1 to 1 s on a megabyte; html.parser by itself needs minutes for some.
    html_text(part * (1_000_000 // len(part)))


def test_what_is_gone_from_the_folders_is_told(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "here.txt").write_text("x")
    kept = [str(root / name) for name in ("here.txt", "gone.txt", "in/gone.txt")]
    others = [
        str(tmp_path / "docs-2/gone.txt"),
        str(tmp_path / "gone.txt"),
        "pydoc:x",
        str(root / "caf\\udce9.txt"),
    ]
    assert gone([*kept, *others], [root]) == kept[1:]
    assert gone([*kept, *others], [root / "here.txt", tmp_path / "no"]) == []
    assert gone(kept, []) == []


def test_a_folder_named_by_a_link_is_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "docs")
    kept = [str(tmp_path / "docs/gone.txt")]
    assert gone(kept, [tmp_path / "link"]) == kept
