"""Planted secrets, through each channel into a span: nothing of them is written."""

import json
import linecache
import random
from collections.abc import Iterator
from re import _constants as sre
from re import _parser as sre_parser
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, StatusCode
from tests.cost import rounds
from tests.redacting import BOTH
from tests.telemetry.secret_texts import FORMS, STAY
from tests.telemetry.span.tracing import END, START, Box, Numbers
from tests.telemetry.test_redact import HARMLESS, SECRETS

from spanrun import semconv
from spanrun.secret_forms import HINTS, RULES
from spanrun.secret_words import Rule
from spanrun.telemetry.redact import (
    HIDDEN,
    redact_attributes,
    redact_value,
)

# More of them, made up as well: forms that libraries show them in.
MORE = [
    ("[(b'Authorization', b'Bearer {}')]", "plainlowercasetoken"),
    ("Headers([('x-api-key', '{}'), ('accept', '*/*')])", "0123456789abcdef0123"),
    ("{{b'x-api-key': b'{}'}}", "0123456789abcdef0123"),
    ('{{\\"password\\": \\"{}\\"}}', "correct horse"),
    ('{{\\\\\\"api_key\\\\\\": \\\\\\"{}\\\\\\"}}', "0123456789abcdef"),
    ("https://x.example/cb?next=%2Fa%3Faccess_token%3D{}", "0123456789abcdef"),
    ("https://x.example/a?sv=2020&sig={}&se=2030", "0123456789abcdef%2B"),
    ("https://x.example/a?X-Amz-Signature={}", "0123456789abcdef0123456789abcdef"),
    ("https://x.example/a?X-Amz-Credential={}%2F2030", "AKIAIOSFODNN7EXAMPLE"),
    ("https://maps.example/json?key={}", "plainkeyofletters"),
    ("https://x.example/cb?state=1&code={}", "4_0AX4XfWh-long-enough"),
    ("https://x.example/;jsessionid=1?sessionid={}", "0123456789abcdef"),
    ("https://hooks.slack.com/services/{}", "T0000/B0000/XXXXXXXXXXXX"),
    ("https://chat.example/api/webhooks/{}", "123456/abcdefghijklm"),
    ("https://api.telegram.org/{}/sendMessage", "bot123456:ABC-DEF1234ghIkl"),
    ("$ tool --password {} --verbose", "hunter2hunter2"),
    ("$ tool --api-key {}", "0123456789abcdef"),
    ('Authorization: Digest username="a", response="{}"', "6629fae49393a05397450978"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature={}", "fe5f80f77d5fa3"),
    ("Proxy-Authorization: Basic {}", "dXNlcjpwYXNzd29yZA=="),
    ("X-Auth-Token: {}", "0123456789abcdef"),
    ("AccountName=a;AccountKey={}==;Endpoint=b", "0123456789abcdefABCDEF"),
    ("Client(api_key='{}', timeout=3)", "k3y-of-a-client"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n{}\n", "lQOYBF0123456789"),
    ("key {} was refused", "npm_0123456789abcdefghijABCDEFGH"),
    ("key {} was refused", "gsk_0123456789abcdefghijABCDEFGH"),
    ("key {} was refused", "hvs.0123456789abcdefghijABCDEFGH"),
    ("key {} was refused", "GOCSPX-0123456789abcdefghijABCD"),
    ("key {} was refused", "SG.0123456789abcdefghij.0123456789abcdefghij"),
    ("key {} was refused", "inf-01234567-89ab-cdef-0123-456789abcdef"),
    ("key {} was refused", "pypi-0123456789abcdefghijABCDEFGH"),
    ("key {} was refused", "whsec_0123456789abcdefghijABCDEFGH"),
]
ALL = SECRETS + MORE + FORMS
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)

FINE = [
    *HARMLESS,
    *STAY,
    "fields ('name', 'model') are missing",
    "?page=2&sort=key&code=E11000",
    "--token-count 12 --verbose",
    "sign in, then design a signal",
    "inf-inity, sg.example, npm_run",
    "(self, token) -> None",
]


# Channels: each puts a text into a span that is still open


def in_name(span: Any, text: str) -> None:
    span.update_name(text)


def in_attribute(span: Any, text: str) -> None:
    span.set_attribute("said", text)


def in_key(span: Any, text: str) -> None:
    span.set_attribute(text, 1)


def in_bytes(span: Any, text: str) -> None:
    span.set_attribute("said", text.encode())


def in_containers(span: Any, text: str) -> None:
    span.set_attribute("said", [{"deep": [(text, 1), {text: "key"}]}, text])


def in_json(span: Any, text: str) -> None:
    span.set_attribute("said", json.dumps({"body": json.dumps({"error": text})}))


def in_event(span: Any, text: str) -> None:
    span.add_event(text, {"said": text, "all": [text]})


def in_link(span: Any, text: str) -> None:
    span.add_link(SpanContext(1, 2, is_remote=True), {"said": text})


def in_status(span: Any, text: str) -> None:
    span.set_status(StatusCode.ERROR, text)


def in_exception(span: Any, text: str) -> None:
    span.record_exception(ValueError(text))


def in_chain(span: Any, text: str) -> None:
    """Among the notes, causes and members of a group."""
    try:
        try:
            {}[text]  # raises it
        except KeyError as error:
            inner = OSError(2, text)
            inner.add_note(text)
            raise ExceptionGroup(text, [inner, ExceptionGroup("b", [error])]) from error
    except ExceptionGroup as group:
        span.record_exception(group)


def in_source(span: Any, text: str) -> None:
    """In the line of the program that a traceback shows."""
    source = f"{text!r}; 1 / 0\n"
    name = f"<source {len(text)}>"
    linecache.cache[name] = len(source), None, [source], name
    try:
        exec(compile(source, name, "exec"))  # noqa: S102 -- the source is ours
    except ZeroDivisionError as error:
        span.record_exception(error)
    finally:
        del linecache.cache[name]


CHANNELS = [
    in_name,
    in_attribute,
    in_key,
    in_bytes,
    in_containers,
    in_json,
    in_event,
    in_link,
    in_status,
    in_exception,
    in_chain,
    in_source,
]


def test_there_are_many_secrets_and_twelve_channels() -> None:
    assert len({text.format(secret) for text, secret in ALL}) >= 150
    assert len(CHANNELS) >= 12


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.__name__)
def test_no_secret_leaves_through(channel: Any) -> None:
    found = []
    for text, secret in ALL:
        # With ids and times that are the same each time, in which no secret stands.
        box = Box(id_generator=Numbers())
        span = box.start(start_time=START)
        channel(span, text.format(secret))
        span.end(END)
        (batch,) = box.box.batches
        written = batch.data
        assert HIDDEN.encode() in written, (text, secret)
        found += [(text, part) for part in secret.split() if part.encode() in written]
    assert found == []


@BOTH
@pytest.mark.parametrize(("text", "secret"), MORE + FORMS)
def test_no_secret_passes_as_text(text: str, secret: str, redact: Any) -> None:
    """In a line of a log, or the head of an error's body."""
    clean = redact(text.format(secret))
    for part in secret.split():
        assert part not in clean
    assert redact(clean) == clean


def test_no_secret_stays_in_a_resource() -> None:
    told = {str(n): text.format(secret) for n, (text, secret) in enumerate(ALL)}
    clean = redact_attributes(Resource(told).attributes)
    for n, (_, secret) in enumerate(ALL):
        assert secret not in clean[str(n)]


@BOTH
@pytest.mark.parametrize("text", FINE)
def test_what_is_no_secret_stays_as_it_is(text: str, redact: Any) -> None:
    assert redact(text) is text
    value = [{"a": (text, 1.5, None, True)}, text.encode("utf-8", "replace")]
    assert redact_value("said", value) is value


@pytest.mark.parametrize(
    "key",
    [
        "db.password",
        "http.request.header.authorization",
        "http.request.header.x-api-key",
        "http.response.header.set-cookie",
        "config.client_secret",
        "Authorization",
        "app token",
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_under_some_keys_all_is_hidden(key: str) -> None:
    assert redact_value(key, "x") == HIDDEN
    assert redact_value(key, ["x", ("y", {"z": "x"})]) == (
        HIDDEN,
        (HIDDEN, {"z": HIDDEN}),
    )
    assert redact_value(key, b"x") == HIDDEN.encode()
    assert redact_value("said", {key: {"a": "x"}, "b": "x"}) == {
        key: {"a": HIDDEN},
        "b": "x",
    }
    assert redact_value("said", [[key, "x"], ["b", "x"]]) == (
        (key, HIDDEN),
        ["b", "x"],
    )
    assert redact_value(key, "") == ""
    assert redact_value(key, 7) == 7


def test_a_name_beside_it_says_that_a_value_is_secret() -> None:
    for name in ("name", "key"):
        value = [{name: "DB_PASSWORD", "value": "swordfish"}, {"value": "fish"}]
        assert redact_value("env", value) == (
            {name: "DB_PASSWORD", "value": HIDDEN},
            {"value": "fish"},
        )
        fine = {name: "MODEL", "value": "swordfish"}
        assert redact_value("env", fine) is fine


def test_no_key_of_the_registry_hides_its_value() -> None:
    for key in semconv.ATTRIBUTES:
        assert redact_value(key, "x") == "x"


def test_attributes_without_a_secret_are_the_same_ones() -> None:
    attributes = {"a": "x", "b": 1, "c": ("x", b"y"), "d": None, "e": 0.5}
    assert redact_attributes(attributes) is attributes
    assert redact_attributes(attributes) is attributes  # from memory


def test_a_secret_costs_no_neighbour() -> None:
    attributes = {"before": "x", "url": "http://me:hunter2@h/", "after": ["y"]}
    clean = redact_attributes(attributes)
    assert dict(clean) == {"before": "x", "url": f"http://{HIDDEN}@h/", "after": ["y"]}
    assert list(clean) == list(attributes)
    assert attributes["url"] == "http://me:hunter2@h/"


def test_numbers_of_what_was_dropped_stay() -> None:
    box = Box()
    span = box.start(attributes={f"k{n}": "x" for n in range(200)})
    for n in range(200):
        span.add_event(str(n), {"password=hunter2": 1, "": 2})
    span.add_link(SpanContext(1, 2, is_remote=True), {"url": "http://a:b@c", "": 1})
    span.end()
    (arrived,) = box.box.messages
    assert arrived.dropped_attributes_count == arrived.dropped_events_count == 72
    assert len(arrived.attributes) == len(arrived.events) == 128
    assert arrived.events[0].dropped_attributes_count == 1
    assert arrived.links[0].dropped_attributes_count == 1
    assert b"hunter2" not in arrived.SerializeToString()
    assert b"a:b@" not in arrived.SerializeToString()


def test_nonsense_is_no_way_around_it_and_costs_no_neighbour() -> None:
    itself: list[Any] = ["password=hunter2"]
    itself.append(itself)

    class Raises:
        def __str__(self) -> str:
            raise RuntimeError("password=hunter2")

    class Text(str):
        __slots__ = ()

        def lower(self) -> str:
            return ""

    nonsense = {
        "itself": itself,
        "raises": Raises(),
        "text": Text("password=hunter2"),
        "surrogate": "password=hunter2\ud800",
        "nul": "password=hunter2\0",
        "nan": float("nan"),
        "huge": 10**5_000,
        "giant": "x" * 100_000 + " password=hunter2",
        "deep": [[[[[[["password=hunter2"]]]]]]],
        "bytes": b"\xff password=hunter2",
        "fine": "fine",
    }
    box = Box()
    span = box.start()
    for key, value in nonsense.items():
        span.set_attribute(key, value)
    span.update_name(Text("password=hunter2"))
    span.add_event(Text("password=hunter2"), nonsense)
    span.end()
    (arrived,) = box.box.messages
    assert b"hunter2" not in arrived.SerializeToString()
    assert {pair.key for pair in arrived.attributes} == set(nonsense)
    by_key = {pair.key: pair.value for pair in arrived.attributes}
    assert by_key["fine"].string_value == "fine"
    assert len(by_key["giant"].string_value) <= 16 * 1024


@BOTH
@pytest.mark.parametrize(
    "unit",
    [
        *("secret-", "a-secret_", "inf-", "pk_a-", "eyJ-aaaaaa", "('", "://a@"),
        *("--key ", "<password>", "<token ", "<token>&lt;", "&lt;token&gt;"),
        *(
            "\\u003ctoken\\u003e",
            "<key>token</key>",
            '<a name="token" ',
            "<" + "-" * 50,
        ),
        *("name=token ", "name: token\n", "value='a' ", "value='x' name=", " -u a:"),
        *(" -u ", "-u a:b ", "--user ", "mysql ", "mysql -pid ", "docker login "),
        *("sshpass -", "ldapa -", "-pass pass:", "x-", "x-key ", "x-a token "),
        *("password is ", "password 'a", "token :  ", "a:bcd@", "a.a:", "1.1.1."),
        *("token:|\n", "pass=", "auth=('a',", "signature=", "machine a login b "),
        *("user a identified ", "identified with a by ", "jdbc:oracle:a:"),
        *("cookie a=", "passphrase:", "   ", " \n", "token" + " " * 40, "api key"),
    ],
)
def test_no_text_takes_long_in_which_many_forms_begin(unit: str, redact: Any) -> None:
    hints = " ".join(HINTS)
    text = hints + unit * (16_384 // len(unit))
    # Some 1 s; measured: 0.2 at most, and once 26.
    assert rounds(lambda: redact(text), tries=1) < 40_000_000


def repeated(parsed: Any) -> Iterator[Any]:
    """The bodies of what a pattern repeats without a bound, at any depth."""
    for kind, argument in parsed:
        if kind in REPEATS and argument[1] is sre.MAXREPEAT:
            yield argument[2]
        for each in argument if isinstance(argument, tuple) else (argument,):
            for part in each if isinstance(each, list) else (each,):
                if isinstance(part, sre_parser.SubPattern):
                    yield from repeated(part)


@pytest.mark.parametrize("rule", RULES, ids=range(len(RULES)))
def test_no_pattern_takes_the_square_of_a_texts_length(rule: Rule) -> None:
    """By how it is built: what may be long is neither at its start nor nested.

    At the start it would be tried anew at each character that it took. Inside of
    another it is allowed behind a literal: then there is one way to divide the text.
    """
    parsed = sre_parser.parse(rule.pattern.pattern)
    kind, argument = parsed[0]
    assert kind not in REPEATS or argument[1] is not sre.MAXREPEAT
    for body in repeated(parsed):
        assert body[0][0] is sre.LITERAL or not list(repeated(body))


def test_each_rule_has_a_hint_without_which_it_costs_nothing() -> None:
    for text, secret in ALL:
        shown = text.format(secret).lower()
        for rule in RULES:
            if rule.pattern.search(text.format(secret)):
                hints = [hint for hint in rule.hints if hint in shown]
                assert hints, (rule.pattern.pattern, shown)
                assert not rule.also or any(hint in shown for hint in rule.also)
    assert all(hint == hint.lower() for hint in HINTS)


def test_what_it_remembers_is_bounded() -> None:
    from spanrun import text as texts  # noqa: PLC0415
    from spanrun.telemetry import redact as module  # noqa: PLC0415

    for n in range(10_000):
        redact_attributes({f"key {n}": f"text {n}"})
        texts.redact_in_python(f"text {n}")
        texts.redact_in_python("x" * 300 + str(n))
    assert len(texts.harmless) <= 4_096
    assert len(module._fine_keys) <= 4_096
    assert max(map(len, texts.harmless)) <= 256


def test_random_containers_keep_their_shape() -> None:
    draw = random.Random(5)

    def any_value(depth: int) -> Any:
        kind = draw.randrange(6 if depth else 4)
        if kind == 4:
            return tuple(any_value(depth - 1) for _ in range(draw.randrange(4)))
        if kind == 5:
            return {f"k{n}": any_value(depth - 1) for n in range(draw.randrange(4))}
        return ["pwd=hunter2", "fine", 1, b"pwd=hunter2"][kind]

    for _ in range(500):
        value = any_value(4)
        expected = eval(repr(value).replace("hunter2", HIDDEN))  # noqa: S307 -- ours
        assert redact_value("said", value) == expected
