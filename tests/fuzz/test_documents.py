"""Whatever is in a document: text, one of the known reasons for none, and an end."""

import os
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.examples import fuzz, memory_below, torn

from spanrun.ingest._file import SkippedKind
from spanrun.ingest._html import html_text
from spanrun.ingest.documents import Document, Skipped, read_documents
from spanrun.ingest.extract import summary, title
from spanrun.ingest.split import count_tokens, split

TAGS = "a p div pre h1 title script style svg template td br textarea xml x:y plaintext"
LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">'
    for n in range(10)
)
LITERAL = [
    "<!DOCTYPE html>",
    f"<?xml version='1.0'?><!DOCTYPE x [{LAUGHS}]><x>&l9;</x>",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/"> %p;]>',
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<!",
    "<?",
    "</",
    "&lol;",
    "&#x110000;",
    "&#" + "9" * 5000 + ";",
    "&notit;",
    "\0",
    "\r\n",
    "\f\v\u2028",
    "Dr. Who said: yes! ",
    "1. one\n- two\n```\n",
    "漢字。",
    "\U0001f600",
    "<a b='",
    '<a b="',
    "<a b=" + "c" * 5000 + ">",
]
PIECES = st.one_of(
    st.sampled_from(LITERAL),
    st.sampled_from([f"<{tag}>" for tag in TAGS.split()]),
    st.sampled_from([f"</{tag}>" for tag in TAGS.split()]),
    st.sampled_from([f"<{tag} x='y' z/>" for tag in TAGS.split()]),
    st.text(max_size=12),
)
MARKUP = st.lists(
    st.builds(
        lambda piece, times: piece * times, PIECES, st.sampled_from([1] * 9 + [300])
    ),
    max_size=12,
).map("".join)


@fuzz
@given(markup=MARKUP)
def test_markup(markup: str) -> None:
    with memory_below(4 + len(markup) / 2**20 * 200):
        heading, text = html_text(markup)
    assert heading is None or heading.strip()
    assert len(text) <= 6 * len(markup) + 10  # a line of `pre` is indented
    assert "root:" not in text  # of /etc/passwd


@fuzz
@given(text=MARKUP, size=st.sampled_from([1, 7, 200]))
def test_text(text: str, size: int) -> None:
    with memory_below(8 + len(text) / 2**20 * 400):
        chunks = split(text, size, size // 3)
        assert len(title(text)) <= 80
        assert isinstance(summary(text), str)
    assert all(chunk in text for chunk in chunks)
    assert max(map(count_tokens, chunks), default=0) <= size
    assert "".join("".join(chunks).split()) or not text.strip()


@fuzz
@given(
    content=st.one_of(
        MARKUP.map(lambda text: text.encode("utf-8", "replace")).flatmap(torn),
        st.builds(
            lambda text, encoding: text.encode(encoding, "replace"),
            MARKUP,
            st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-16-le"]),
        ).flatmap(torn),
        st.binary(max_size=100),
    ),
    name=st.sampled_from(["a.html", "a.HTM", "a.md", "a.txt", "a.rst", "a.xml", "a"]),
    bound=st.sampled_from([10, 2**20]),
)
def test_files(tmp_path_factory: Any, content: bytes, name: str, bound: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    (folder.parent / "outside.txt").write_text("a secret")
    (folder / "link.txt").symlink_to(folder.parent / "outside.txt")
    try:
        with memory_below(4 + len(content) / 2**20 * 200):
            found = list(read_documents(folder, max_bytes=bound))
    finally:
        for path in folder.iterdir():
            path.unlink()
    kinds = {os.path.basename(each.source): each for each in found}  # noqa: PTH119
    link = kinds.pop("link.txt")
    assert isinstance(link, Skipped)
    assert link.kind == "link"
    for each in kinds.values():
        if isinstance(each, Document):
            assert each.text.strip()
            assert len(content) <= bound
        else:
            assert isinstance(each, Skipped)
            assert each.kind in get_args(SkippedKind)
            assert "\n" not in each.reason
