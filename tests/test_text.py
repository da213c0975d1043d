"""Texts from outside: inert, short, on one line, and without what is confidential."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.text import (
    HIDDEN,
    Confidential,
    excerpt,
    inert,
    line_of,
    one_line,
    traceback_of,
)

ACTIVE = [
    *map(chr, (*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0))),
    *("\u061c", "\u200b", "\u200e", "\u200f", "\u2028", "\u2029", "\ufeff"),
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
    *("\ufff9", "\U000e0041", "\ud800", "\udfff"),
]
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\r\u202eevil\u2066\ud800\x7f"


@pytest.mark.parametrize("character", ACTIVE, ids=ascii)
def test_what_a_terminal_obeys_is_written_out(character: str) -> None:
    written = character.encode("unicode_escape").decode()
    if len(written) == 2:  # \r, which Python has a short form for
        written = f"\\x{ord(character):02x}"
    assert inert(f"a{character}b") == f"a{written}b"
    shown = one_line(f"a{character}b")
    assert character not in shown
    assert shown in (f"a{written}b", "a b")  # what is space to Python becomes one
    assert inert(inert(f"a{character}b")) == inert(f"a{character}b")


@pytest.mark.parametrize(
    "text",
    [
        "plain, größer als 5 µs — 日本語",
        "می\u200cخواهم",  # Persian, with a joiner
        "👨\u200d👩\u200d👧",
        "a\tb\nc",
        "C:\\x1b is a path",
    ],
)
def test_other_characters_stay(text: str) -> None:
    assert inert(text) == text


def test_a_line_is_one_line() -> None:
    assert one_line("a\r\n\tb\u2028c\x85d ") == "a b c d"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"


@given(st.text())
def test_any_text_is_inert_and_printable_afterwards(text: str) -> None:
    shown = excerpt(text)
    shown.encode()
    assert not set(shown) & {*ACTIVE, "\n", "\t"}
    assert len(shown) <= 200


def test_an_excerpt_has_no_secret() -> None:
    assert excerpt(f"password=hunter2 {HOSTILE}").startswith(f"password={HIDDEN} ")
    assert "hunter2" not in excerpt("x" * 190 + " password=hunter2")


def test_errors_are_told_whatever_their_classes_do() -> None:
    class BrokenError(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    class RawError(Exception):
        def __repr__(self) -> str:
            return f"password=hunter2\n{HOSTILE}"

    assert line_of(ValueError("a\x1bb")) == r"ValueError('a\x1bb')"
    assert line_of(BrokenError()) == "<BrokenError without a text>"
    assert "hunter2" not in line_of(RawError())
    assert "\x1b" not in line_of(RawError())
    assert "\n" not in line_of(RawError())


def test_a_traceback_keeps_its_lines() -> None:
    with pytest.raises(ValueError, match="hunter2") as caught:
        raise ValueError(f"password=hunter2 {HOSTILE}")
    told = traceback_of(caught.value)
    assert told.startswith("Traceback (most recent call last):\n")
    assert "\x1b" not in told
    assert "\r" not in told
    assert "password=hunter2 " not in told.rpartition("\n")[2]


@pytest.mark.parametrize("secret", ['a"b\\c/d e', "hunter2", "päss wörter", "+%&=?"])
def test_what_is_confidential_is_hidden_in_each_writing(secret: str) -> None:
    hidden = Confidential([f"Bearer {secret}"])
    for written in (secret, quote(secret, safe=""), json.dumps(secret)):
        shown = hidden.hide(f"it said {written}, twice: {written}")
        assert not [word for word in secret.split() if len(word) >= 4 and word in shown]
        assert HIDDEN in shown
        assert hidden.hide(shown) == shown


def test_a_short_word_is_hidden_where_it_stands_alone() -> None:
    hidden = Confidential(["Bearer test", "v1", "no"])
    assert hidden.hide("the latest test, no v1 Bearer") == (
        f"the latest {HIDDEN}, no v1 Bearer"
    )
    assert Confidential([]).hide("all of it") == "all of it"
