"""`redact`: no credential passes, and the rest of the text stays as it was."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.cost import rounds
from tests.redacting import BOTH

from spanrun.telemetry.redact import HIDDEN, MAX_CHARACTERS, text_of

# Each of them is made up. The text around the secret, and the secret itself.
SECRETS = [
    ("postgresql://user:{}@db.example/name", "hunter2-hunter2"),
    ("amqp://:{}@queue.example", "hunter2hunter2"),
    ("https://{}@git.example/x.git", "x-token-0123456789abcdef"),
    ("https://api.example/v1?api_key={}&page=2", "0123456789abcdef"),
    ("https://api.example/v1?access_token={}", "ya29.a0AfH6SMBx"),
    ("https://x.example/cb?code=1&client_secret={}#top", "s3cr3t-of-the-client"),
    ("Authorization: Bearer {}", "eyJhbGciOi.eyJzdWIiOi.SflKxwRJSM"),
    ("headers={{'authorization': 'Bearer {}'}}", "abcdef0123456789"),
    ("Authorization: Basic {}", "dXNlcjpwYXNzd29yZA=="),
    ("Authorization: token {}", "0123456789abcdef0123"),
    ("X-Api-Key: {}", "0123456789abcdef0123"),
    ("{{'x-api-key': '{}'}}", "0123456789abcdef0123"),
    ("api_key='{}'", "0123456789abcdef0123"),
    ("OPENAI_API_KEY={}", "0123456789abcdef0123"),
    ("AWS_SECRET_ACCESS_KEY={}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"),
    ("aws_access_key_id = {}", "AKIAIOSFODNN7EXAMPLE"),
    ("Could not use {} here", "AKIAIOSFODNN7EXAMPLE"),
    ('{{"password": "{}"}}', "correct horse battery staple"),
    ("password={}", "hunter2"),
    ("passwd: {}", "hunter2"),
    ("pwd={};", "hunter2"),
    ("Server=x;User Id=sa;Password={};", "hunter2"),
    ('"token": "{}"', "0123456789abcdef"),
    ('"refresh_token":"{}"', "1//0gabcdefg"),
    ("SECRET_KEY = '{}'", "django-insecure-0123456789"),
    ("client_secret={}", "0123456789abcdef"),
    ("private_key={}", "0123456789abcdef"),
    ("Incorrect API key provided: {}.", "sk-proj-0123456789abcdefghij"),
    ("key {} was refused", "sk-ant-api03-0123456789abcdef"),
    ("key {} was refused", "ghp_0123456789abcdefghijABCDEFGHIJ"),
    ("key {} was refused", "github_pat_11ABCDEFG0123456789_abcdef"),
    ("key {} was refused", "glpat-0123456789abcdefghij"),
    ("key {} was refused", "xoxb-0123456789-abcdefghijkl"),
    ("key {} was refused", "hf_0123456789abcdefghijABCDEFGHIJ"),
    ("key {} was refused", "AIzaSyA0123456789abcdefghijABCDEFGHIJK"),
    ("key {} was refused", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    (
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    ),
    ("Cookie: session={}", "0123456789abcdef0123456789abcdef"),
    ("Set-Cookie: id={}; Path=/", "0123456789abcdef0123456789abcdef"),
]

HARMLESS = [
    "",
    "just a text",
    "tokens=12 of 4096",
    "max_tokens: 512, prompt tokens: 12",
    "the password was wrong",
    "a secret is needed",
    "https://example.org/a/b?page=2#top",
    "http://[::1]:8080/path",
    "user@example.org wrote at 10:30",
    "KeyError: 'sk'",
    "job 17 of 'embed' · attempt 4/4 · waited 12 ms for a slot",
    "ratio 3:4@5",
    "bearer of bad news",
    "basic idea",
    "sk-learn is a library",
    "größer als 5 µs — 日本語",
    "d41d8cd98f00b204e9800998ecf8427e",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
]


@BOTH
@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_no_secret_passes(text, secret, redact):
    clean = redact(text.format(secret))
    assert secret not in clean
    for part in secret.split():
        assert part not in clean
    assert HIDDEN in clean


@BOTH
@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_redacting_twice_is_redacting_once(text, secret, redact):
    once = redact(text.format(secret))
    assert redact(once) == once


@BOTH
@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(redact, text):
    assert redact(text) == text


@BOTH
@given(
    before=st.text(alphabet="abc 0123 \n.,é", max_size=20),
    after=st.text(alphabet="abc 0123 \n.,é", max_size=20),
    case=st.sampled_from(SECRETS),
)
def test_no_secret_passes_wherever_it_stands(before, after, case, redact):
    text, secret = case
    clean = redact(f"{before}\n{text.format(secret)}\n{after}")
    assert secret not in clean
    assert clean.startswith(before)
    assert clean.endswith(after)


@BOTH
@settings(max_examples=25)
@given(st.integers(0, 60), st.sampled_from([c for c in SECRETS if len(c[1]) > 12]))
@example(8, ("key {}", "ghp_0123456789abcdefghijABCDEFGHIJ"))
def test_a_secret_at_the_cut_does_not_pass_in_part(redact, shown, case):
    text, secret = case
    start = text.format(secret).index(secret)
    padding = "." * (MAX_CHARACTERS - start - shown - 2)
    clean = redact(f"{padding} {text.format(secret)}")
    assert len(clean) <= MAX_CHARACTERS
    assert secret[:8] not in clean


@BOTH
@given(st.text())
def test_any_text_becomes_valid_utf8(redact, text):
    redact(text).encode()


@BOTH
@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="=:@'\"")).filter(
        lambda text: "-" not in text and "_" not in text
    )
)
def test_text_without_marks_of_a_credential_is_unchanged(redact, text):
    words = ("bearer", "basic", "token", "eyj", "pass", "pwd", "auth", "<", ">")
    if not any(word in text.lower() for word in words):
        assert redact(text) == text


@BOTH
def test_a_long_text_is_cut_and_says_so(redact):
    clean = redact("x" * (MAX_CHARACTERS + 1))
    assert MAX_CHARACTERS // 2 < len(clean) <= MAX_CHARACTERS
    assert clean.endswith("…")


@BOTH
def test_a_giant_is_little_work(redact):
    text = "password=" * 1_000_000
    assert rounds(lambda: redact(text)) < 4_000_000  # some 0.1 s


@BOTH
@pytest.mark.parametrize(
    "unit", ["a", "-", "_", "key", "token ", '"', "\\", "://", "ey"]
)
def test_no_text_makes_it_crawl(unit, redact):
    text = unit * (MAX_CHARACTERS // len(unit))
    assert rounds(lambda: redact(text), tries=1) < 20_000_000  # some 0.5 s


@BOTH
def test_a_lone_surrogate_is_written_out(redact):
    assert redact("a\ud800b") == "a\\ud800b"


def test_text_of_what_has_none():
    class Mute:
        def __str__(self):
            raise RuntimeError

    assert text_of(Mute()) == "<Mute without a text>"
    assert text_of(ValueError("x")) == "x"
