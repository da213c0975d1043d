import itertools
import re
import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanrun.errors import ConfigurationError
from spanrun.ingest.documents import topics
from spanrun.ingest.split import count_tokens, split, split_spans

MARKUP = st.text(st.sampled_from("ab Z.!?\n\t #=-*`~>1)。日x"), max_size=300)
TEXTS = st.one_of(st.text(max_size=200), MARKUP)


def without_spaces(text):
    return "".join(text.split())


@given(TEXTS, st.integers(1, 30), st.data())
@example("```\nx", 1, None)
@example("a\n===\n\nb. c. d", 3, None)
def test_nothing_is_lost_and_no_chunk_is_too_large(text, size, data):
    overlap = data.draw(st.integers(0, size - 1)) if data else 0
    spans = split_spans(text, size, overlap)
    assert [text[a:b] for a, b in spans] == split(text, size, overlap)
    done = 0
    for start, end in spans:
        assert count_tokens(text[start:end]) <= size
        assert not text[done:start].strip()  # nothing but space is between them
        if start < done:
            assert count_tokens(text[start:done]) <= overlap
        assert end > done
        done = end
    assert not text[done:].strip()


@given(TEXTS, st.integers(1, 30))
def test_without_overlap_the_chunks_are_the_text(text, size):
    assert without_spaces("".join(split(text, size, 0))) == without_spaces(text)


@given(TEXTS, st.integers(2, 9))
def test_any_measure_of_tokens_bounds_the_chunks(text, size):
    for chunk in split(text, size, 1, count=lambda part: len(part.split())):
        assert len(chunk.split()) <= size


def test_topics_are_split_without_loss():
    for topic in topics():
        chunks = split(topic.text)
        assert all(count_tokens(chunk) <= 200 for chunk in chunks)
        once = split(topic.text, overlap=0)
        assert without_spaces("".join(once)) == without_spaces(topic.text)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n"])
def test_a_text_without_words_has_no_chunks(text):
    assert split(text) == []


def test_a_short_text_is_one_chunk_without_the_space_around_it():
    assert split("\n\nOne. Two.\n\nThree.\n\n") == ["One. Two.\n\nThree."]


def test_sentences_are_not_torn():
    text = " ".join(f"This is sentence number {i} of the text." for i in range(50))
    chunks = split(text, size=40, overlap=0)
    assert len(chunks) > 5
    assert all(re.fullmatch(r"This .*text\.", chunk) for chunk in chunks)


def test_a_chunk_begins_with_whole_sentences_of_the_one_before():
    text = " ".join(f"Here is number {i}." for i in range(20))
    chunks = split(text, size=20, overlap=10)
    for before, after in itertools.pairwise(chunks):
        shared = " ".join(after.split(". ")[:2]) + "."
        assert before.replace(". ", " ").endswith(shared)


def test_a_paragraph_stays_whole_where_it_fits():
    paragraphs = [" ".join(["word"] * 9) + f" {i}." for i in range(10)]
    chunks = split("\n\n".join(paragraphs), size=30, overlap=0)
    pieces = [piece for chunk in chunks for piece in chunk.split("\n\n")]
    assert pieces == paragraphs
    assert len(chunks) == 5


@pytest.mark.parametrize("heading", ["## Deep", "Deep\n----", "====\nDeep\n===="])
@pytest.mark.parametrize("words", [20, 60])
def test_a_heading_stays_with_what_follows_it(heading, words):
    sentences = " ".join("A sentence of six words is." for _ in range(words // 6))
    text = f"{'Before. ' * 10}\n\n{heading}\n\n{sentences}"
    chunks = split(text, size=30, overlap=0)
    (holder,) = [chunk for chunk in chunks if "Deep" in chunk]
    assert "A sentence" in holder


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_code_is_cut_between_lines_and_keeps_its_indentation(fence):
    code = [f"    call(x, {i})" for i in range(30)]
    text = "\n".join(
        ["Code:", "", f"{fence}python", *code, "", *code, fence, "", "End."]
    )
    chunks = split(text, size=40, overlap=0)
    lines = [line for chunk in chunks for line in chunk.splitlines() if "call" in line]
    assert lines == code * 2


def test_indented_code_is_cut_between_lines():
    code = "\n".join(f"value_{i} = compute(i) or other. Call(i)" for i in range(20))
    text = f"It reads:\n\n{textwrap.indent(code, '   ')}\n\nThat is all."
    for chunk in split(text, size=30, overlap=10):
        for line in filter(None, chunk.splitlines()):
            assert line.startswith(("   value_", "It reads:", "That is"))


def test_a_fence_that_is_never_closed_loses_nothing():
    assert without_spaces("".join(split("a\n```\nb\n\nc", 2, 0))) == "a```bc"


@pytest.mark.parametrize(
    "text",
    [
        "Ask Dr. Smith. He knows.",
        "Use e.g. this one. Or not.",
        "Pi is 3.14 or so. Yes.",
        "A. B. Miller wrote it. Fine.",
        '"Really?" He nodded. Good.',
    ],
)
def test_a_dot_is_not_always_an_end(text):
    last = text.split(". ")[-1]
    assert split(text, size=count_tokens(text) - 1, overlap=0) == [
        text.removesuffix(" " + last),
        last,
    ]


def test_chinese_is_cut_after_its_own_full_stops():
    assert split("今天天气很好。我们出去玩。好的。", size=7, overlap=0) == [
        "今天天气很好。",
        "我们出去玩。",
        "好的。",
    ]


def test_list_items_are_not_torn():
    items = [f"- item number {i}" for i in range(10)]
    chunks = split("\n".join(items), size=9, overlap=0)
    assert [line for chunk in chunks for line in chunk.splitlines()] == items


def test_an_overlong_sentence_is_cut_between_words_and_a_word_inside():
    assert split("one two three four five", size=2, overlap=1) == [
        "one two",
        "two three",
        "three four",
        "four five",
    ]
    chunks = split("x" * 1000, size=10, overlap=0)
    assert "".join(chunks) == "x" * 1000
    assert all(count_tokens(chunk) <= 10 for chunk in chunks)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("two words", 2), ("don't", 3), ("a_b2", 1), ("x" * 33, 3), ("世界", 2)],
)
def test_a_token_is_a_word_or_a_mark(text, tokens):
    assert count_tokens(text) == tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"split\(size=0\): must be ≥ 1"),
        ({"overlap": -1}, r"split\(overlap=-1\): must be ≥ 0"),
        ({"size": 10, "overlap": 10}, r"split\(overlap=10\): must be .* < size, .* 10"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        split("text", **options)


PATTERNS = {
    "no space": "x",
    "dots": ".",
    "marks and spaces": "! ",
    "quotes": '."',
    "new lines": "\n",
    "spaces": " ",
    "back-ticks": "`",
    "fences": "```\n",
    "indentation": "\n    ",
    "rules": "---\n",
    "headings": "# a\n",
    "items": "\n- ",
    "Japanese": "日本語。",
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_pathological_text_takes_linear_time(pattern):
    # At most 2 s for a megabyte on 2 cores (typically 0.6); quadratic is minutes.
    text = pattern * (300_000 // len(pattern))
    assert without_spaces("".join(split(text, overlap=0))) == without_spaces(text)


@pytest.mark.slow
def test_ten_megabytes_and_a_line_of_five_without_a_space_are_quick():
    # Measured: 1.0 s and 0.6 s on 2 cores.
    prose = "\n\n".join(topic.text for topic in topics())
    assert len(split((prose * 22)[:10_000_000])) > 15_000
    assert len(split("x" * 5_000_000)) > 1_500
