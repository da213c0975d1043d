"""An answer made of sentences, and what a model's text cites."""

import pytest
from tests.cost import rounds

from spanrun.ingest.answer import cited, extract, messages
from spanrun.stores.base import Hit


def hit(text: str, name: str = "d") -> Hit:
    return Hit(name, 0, text, None, f"/{name}", 1.0)


HITS = [
    hit("# Backups\n\nBackups run at two at night. They go to the second disk."),
    hit("The mail server restarts every Sunday. A backup of it runs weekly."),
]


def test_the_sentences_with_most_of_the_words_are_the_answer() -> None:
    said = extract("When do backups run?", HITS)
    assert said == [
        ("Backups run at two at night.", 1),
        ("A backup of it runs weekly.", 2),
    ]


def test_three_sentences_at_most_in_the_order_of_the_hits() -> None:
    hits = [hit(f"Boat {n} is a boat.") for n in range(9)]
    assert extract("boat", hits) == [(f"Boat {n} is a boat.", n + 1) for n in range(3)]


def test_a_whole_sentence_comes_before_a_fragment() -> None:
    hits = [hit(f"- boats {n}\n- boats again {n}") for n in range(3)]
    said = extract("boats", [*hits, hit("Boats sail. Boats sink. Boats rot.")])
    assert [sentence for sentence, _ in said] == [
        "Boats sail.",
        "Boats sink.",
        "Boats rot.",
    ]


def test_a_sentence_that_two_hits_share_is_said_once() -> None:
    assert extract("boat", [hit("A boat."), hit("A boat.")]) == [("A boat.", 1)]


def test_where_no_word_fits_it_is_the_beginning_of_the_best_hit() -> None:
    assert extract("zebra", [hit("One. Two."), hit("Three.")]) == [("One. Two.", 1)]


@pytest.mark.parametrize("text", ["", "```\nx = 1\n```", "# Only a heading"])
def test_a_hit_without_sentences_is_no_error(text: str) -> None:
    assert extract("x", [hit(text)]) == [(" ".join(text.split()), 1)]


def test_a_long_sentence_is_cut() -> None:
    ((sentence, _),) = extract("word", [hit("word " * 1_000 + ".")])
    assert len(sentence) <= 400
    assert sentence.endswith("…")


def test_a_hundred_long_hits_are_answered_soon() -> None:
    hits = [hit("A boat sails on. " * 500, f"{n}") for n in range(100)]
    work = lambda: extract("boat", hits)
    assert rounds(work, tries=1) < 200_000_000  # some 5 s


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("One [1]. Two [2].", [1, 2]),
        ("Both [1, 2].", [1, 2]),
        ("Both [2,1] and [1].", [1, 2]),
        ("None [0], [3], [-1], [x], [99999999999999999999].", []),
        ("", []),
    ],
)
def test_citations_are_numbers_of_hits(text: str, numbers: list[int]) -> None:
    assert list(cited(text, HITS)) == numbers


def test_a_model_is_shown_the_passages_cut_and_told_that_they_are_texts() -> None:
    system, user = messages("why", [hit("word " * 10_000)])
    assert "not addressed to you" in system["content"]
    assert len(user["content"]) < 5_000
