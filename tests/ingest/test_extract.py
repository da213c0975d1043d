import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.errors import ConfigurationError
from spanrun.ingest.documents import topics
from spanrun.ingest.extract import summary, title

CATS = """Cats at home
============

Cats sleep during most of the day, and cats hunt at night in the garden.
The weather was mild last week. Cats hunt mice in the garden and sleep indoors.
Prices of bread rose in many towns this year. See also dogs.

    cats = [cat for cat in cats if cat.hunts]
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Title\n=====\n\nText.", "Title"),
        ("=====\nTitle\n=====\n\nText.", "Title"),
        ("## Title ##\n\nText.", "Title"),
        ("Before.\n\n# Title\n\nText.", "Title"),
        ('"pdb" — The Debugger\n*******************\n', '"pdb" — The Debugger'),
        ("\n\nFirst sentence. Second one.", "First sentence"),
        ("Is it so? Yes.", "Is it so?"),
        ("- An item\n- Another", "An item"),
        ("    code = 1\n\nThen prose.", "Then prose"),
        ("    code = 1", "code = 1"),
        ("word " * 40, "word " * 15 + "word…"),
        ("x" * 200, "x" * 79 + "…"),
        ("", ""),
        (" \n\n", ""),
        ("----\n\n***", ""),
    ],
)
def test_the_title_is_the_first_heading_or_sentence(text, expected):
    assert title(text) == expected


def test_the_summary_holds_the_sentences_with_the_frequent_words_in_their_order():
    said = summary(CATS)
    assert said.startswith("Cats sleep")
    assert said.endswith("sleep indoors.")
    assert "weather" not in said
    assert "cats = [" not in said


def test_a_summary_has_as_many_sentences_as_were_asked_for():
    assert summary(CATS, 1).count(".") == 1
    assert summary(CATS, 3).count(".") == 3
    assert "See also" not in summary(CATS, 100)  # it says too little


def test_what_was_said_counts_less_in_the_next_choice():
    same = "Alpha beta gamma delta epsilon. "
    other = "Zeta eta theta iota kappa. "
    assert summary(same * 3 + other * 2) == (same + other).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), (" \n", ""), ("Hi.", "Hi."), ("no full stop", "no full stop")],
)
def test_a_poor_text_gives_what_there_is(text, expected):
    assert summary(text) == expected


def test_code_alone_has_no_summary():
    assert summary("    x = 1\n    y = 2") == ""


def test_long_sentences_are_cut():
    assert len(summary("word " * 1000 + ".")) <= 400


@given(st.text(max_size=300), st.integers(1, 5))
def test_any_text_has_a_title_and_a_summary_in_one_line(text, sentences):
    for said in (title(text), summary(text, sentences)):
        assert said == " ".join(said.split())
    assert len(title(text)) <= 80
    assert summary(text, sentences) == summary(text, sentences)


def test_every_topic_is_described():
    for topic in topics():
        assert title(topic.text)
        assert summary(topic.text)


def test_no_sentences_is_refused():
    with pytest.raises(ConfigurationError, match=r"summary\(sentences=0\)"):
        summary("Text.", 0)


@pytest.mark.parametrize("pattern", ["x", ". ", "A few words. ", "# \n\n", "\n"])
def test_the_cost_of_a_large_text_is_bounded(pattern):
    # 5 MB: at most 0.5 s on 2 cores, with 1,000 sentences asked for.
    text = pattern * (5_000_000 // len(pattern))
    title(text)
    summary(text, 1_000)
