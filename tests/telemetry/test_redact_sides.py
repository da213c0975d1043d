"""The compiled redaction and the one in Python: the same text, and the same bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cost import rounds
from tests.redacting import BOTH, COMPILED
from tests.telemetry.test_secrets import ALL, FINE

from spanrun import secret_search, semconv
from spanrun import text as texts
from spanrun.secret_forms import HINTS, SECRET_KEY
from spanrun.text import HIDDEN, MAX_CHARACTERS, redact_in_python

PLANTED = [text.format(secret) for text, secret in ALL]
ODD = [
    "\u00a0",
    "ß",
    "İ",
    "ı",
    "\u212a",
    "ſ",
    "\u2028",
    "\ud800",
    "\udfff",
    "日本",
    "😀",
]
SIGNS = list("=:'\"\\<>()[]{}&;,.-_/@| \n\t")
pieces = st.one_of(
    st.sampled_from([*PLANTED, *FINE, *HINTS]),
    st.sampled_from([*PLANTED, *HINTS]).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda at: text[at:])
    ),
    st.sampled_from([*ODD, *SIGNS]),
    st.text(max_size=4),
)


@COMPILED
@settings(max_examples=400)
@given(st.lists(pieces, max_size=12), st.integers(0, 60) | st.just(MAX_CHARACTERS))
def test_both_give_the_same_text(parts, limit):
    """But of what is too much work one of them may see more."""
    text = "".join(parts)
    shown = texts.core.redact(text, limit), redact_in_python(text, limit)
    less, more = sorted(shown, key=len)
    if len(text) > secret_search.LEAST and less.endswith("…"):
        assert more.startswith(less[:-1])
    else:
        assert less == more


@COMPILED
@given(st.lists(st.sampled_from([*HINTS, *ODD, ".", " ", "x"]), max_size=6))
def test_both_see_the_same_keys(parts):
    key = "".join(parts)
    assert texts.core.is_secret_key(key) == bool(SECRET_KEY.fullmatch(key[:256]))


@COMPILED
@pytest.mark.parametrize("key", [*semconv.ATTRIBUTES, *PLANTED, "db.password", "token"])
def test_both_see_the_same_known_keys(key):
    assert texts.core.is_secret_key(key) == bool(SECRET_KEY.fullmatch(key[:256]))


@BOTH
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token={}", "0123456789abcdef" * 4),
        ("joe:{}@db.example.org/name", "hunter2hunter2hunter2"),
        ("https://user:{}@db.example.org/name", "hunter2hunter2hunter2"),
        ("key {} was refused", "ghp_0123456789abcdefghijABCDEFGHIJ"),
        ("<password>{}</password>", "gooseberry-wine-0123456789"),
        ("-----BEGIN PRIVATE KEY-----\n{}\n", "MIIEvQIBADANBgkqhkiG9w0BAQEF"),
    ],
)
def test_no_part_of_a_secret_across_the_cut_is_shown(text, secret, redact):
    planted = text.format(secret)
    for limit in range(600, 600 + len(planted) + 2):
        clean = redact(f"{'. ' * 300}{planted}{' .' * 3_000}", limit)
        assert len(clean) <= limit
        for at in range(len(secret) - 5):
            assert secret[at : at + 6] not in clean


@BOTH
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://joe:{}@db.example.org/name", "hunter2-" * 60 + "hunter2"),
        ('value="{}", name=password', "hunter2-" * 80),
        ("('{}-password', '{}')".format("of-all-" * 12, "{}"), "gooseberry"),
        ("machine {} login joe password {}".format("a." * 140, "{}"), "gooseberry"),
        ("{}:{}@db.example.org/name".format("x" * 80, "{}"), "gooseberry"),
    ],
)
def test_what_is_long_is_hidden_by_both(text, secret, redact):
    assert secret[-8:] not in redact(text.format(secret))


@BOTH
@pytest.mark.parametrize("planted", PLANTED)
def test_what_would_cost_too_much_is_cut_and_not_passed_unchecked(planted, redact):
    text = f"{planted}\n" * (MAX_CHARACTERS // len(planted))
    clean = redact(text)
    assert clean.endswith("…")
    assert len(clean) <= MAX_CHARACTERS
    secret = next(secret for each, secret in ALL if each.format(secret) == planted)
    for part in secret.split():
        assert part not in clean.replace(HIDDEN, "")


def test_the_search_says_how_far_it_has_come():
    text = "the token was refused " * 500
    spans, checked = secret_search.find(text, budget=3_000)
    assert spans == []
    assert 0 < checked < len(text) // 4
    spans, checked = secret_search.find(text, budget=10_000_000)
    assert checked == len(text)


@BOTH
@pytest.mark.parametrize("unit", ["pass:abc-", "\\\\u003cpassword", "&lt;password "])
def test_no_value_or_tag_takes_the_square_of_its_length(unit, redact):
    text = unit * (MAX_CHARACTERS // len(unit))
    assert rounds(lambda: redact(text), tries=3) < 500_000  # some 10 ms; measured: 0.5


@BOTH
def test_a_text_is_cut_at_any_limit(redact):
    """Also one that was seen before, and let pass, with a higher one."""
    assert redact("just a text", 100) == "just a text"
    assert redact("just a text", 5) == "…"
    assert redact("just a text", 0) == "…"


@BOTH
def test_a_lone_surrogate_ends_no_secret(redact):
    assert redact("password is hunter2\udc80x, yes\ud800", 99) == (
        f"password is {HIDDEN} yes\\ud800"
    )
    private = chr(0x100000 + 0xD800)
    assert redact(private, 99) == private


@BOTH
def test_a_subclass_of_str_is_taken_as_it_is_written(redact):
    class Text(str):
        __slots__ = ()

        def lower(self):
            return ""

    assert redact(Text("password=hunter2"), 99) == f"password={HIDDEN}"
    assert type(redact(Text("fine"), 99)) is str
