"""Front matter gives a document its title, and is no text of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.ingest._front_matter import split_front_matter
from spanrun.ingest.documents import read_documents

BODY = "\n# A heading\n\nText.\n"


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ("title: My Title\ntags: [a, b]\n", "My Title"),
        ('title: "It\'s \\"so\\": yes"  # or no\n', 'It\'s "so": yes'),
        ("title: 'It''s so'\n", "It's so"),
        ("date: 2024-01-01\nTitle: C# in a day # not this\n", "C# in a day"),
        ("title: >-\n  Two\n  lines\nx: y\n", "Two lines"),
        ("title: |\n  Two\n\n  lines\n", "Two lines"),
        ("title: A plain one\n  that goes on\nx: 1\n", "A plain one that goes on"),
        ("title:\n  On the next\n", "On the next"),
        ("# a comment\nlayout: post\n", None),
        ("title:\nlayout: post\n", None),
        ("title: null\n", None),
        ("meta:\n  title: within another\ntags:\n- a\n- b\n", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("end", ["---", "..."])
def test_yaml(fields, title, end):
    assert split_front_matter(f"---\n{fields}{end}\n{BODY}") == (title, BODY)


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ('title = "My Title"\ndraft = true\n', "My Title"),
        ("title = '''\nTwo\nlines'''\n[extra]\ntitle = 'x'\n", "Two lines"),
        ("title = 7\n", None),
        ("", None),
    ],
)
def test_toml(fields, title):
    assert split_front_matter(f"+++\n{fields}+++\n{BODY}") == (title, BODY)


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nSome text between rules.\n\n---\n",
        "---\nA line of prose\nkey: value\n---\n",
        "---\nkey: value\nthat never ends\n",
        "----\ntitle: x\n----\n",
        "text\n---\ntitle: x\n---\n",
        "+++\nthis is no TOML\n+++\n",
        "---",
        "",
    ],
)
def test_what_is_none_stays(text):
    assert split_front_matter(text) == (None, text)


@given(st.text(alphabet="-+.:#\n\" '|>a=[{\t", max_size=60))
def test_whatever_it_is_nothing_is_raised(text):
    for head in ("---\n", "+++\n", ""):
        title, rest = split_front_matter(head + text)
        assert (head + text).endswith(rest)
        assert title is None or title.strip()


@pytest.mark.parametrize(
    ("name", "text", "title", "rest"),
    [
        ("a.md", "---\r\ntitle: One\r\n---\r\nText.\r\n", "One", "Text.\n"),
        ("a.txt", '+++\ntitle = "One"\n+++\nText.\n', "One", "Text.\n"),
        ("a.html", "---\ntitle: One\n---\n<title>Two</title><p>Text.", "One", "Text."),
        ("a.html", "---\nx: y\n---\n<title>Two</title><p>Text.", "Two", "Text."),
        (
            "a.rst",
            "---\nNote: so\n---\n\nText.\n",
            None,
            "---\nNote: so\n---\n\nText.\n",
        ),
    ],
)
def test_of_a_file(tmp_path, name, text, title, rest):
    (tmp_path / name).write_bytes(text.encode())
    (document,) = read_documents(tmp_path / name)
    assert (document.title, document.text) == (title, rest)


def test_a_file_of_nothing_else_is_empty(tmp_path):
    (tmp_path / "a.md").write_text("---\ntitle: One\n---\n")
    (skipped,) = read_documents(tmp_path / "a.md")
    assert skipped.kind == "empty"
