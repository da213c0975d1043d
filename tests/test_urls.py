"""What is wrong with a URL is said, without its secrets."""

from urllib.parse import urlsplit

import pytest

from spanrun.urls import fault_of, is_loopback, login_of, shown

FINE = [
    "http://c",
    "http://c:4318",
    "https://c.example/x/y?z=%20",
    "http://me:hunter2@c:4318",
    "http://[::1]:4318",
    "http://my_collector-1:4318/",
    "http://c.example./x",
    "http://münchen.example",
    f"http://{'a' * 63}.example",
]
FAULTY = {
    "http://c /x": "' '",
    "http://c/a b": "' '",
    "http://c\n/x": "'\\n'",
    "http://c/\x1b[31m": "'\\x1b'",
    "http://c\u00a0/": "\\xa0",
    "http://c/\u202e": "\\u202e",
    "http://c/x#y": "%23",
    "http://c/ä": "ASCII",
    "http://a..b": "label",
    f"http://{'a' * 64}.example": "label",
    f"http://{'ä' * 64}.example": "label",
    f"http://{'a.' * 130}example": "can't be the name of a host",
    "http://a\\b": "can't be the name of a host",
    "http://a%20b": "can't be the name of a host",
    "http://": "with a host",
    "http:///x": "with a host",
    "c:4318": "with a host",
    "ftp://c": "with a host",
    "http://[::1": "can't be read",
    "http://c\uff03d": "can't be read",
    "http://c:port": "1 to 65535",
    "http://c:0": "1 to 65535",
    "http://c:65536": "1 to 65535",
    "http://c:-1": "1 to 65535",
}


@pytest.mark.parametrize("url", FINE)
def test_a_url_that_can_be_used(url: str) -> None:
    assert fault_of(url) is None


@pytest.mark.parametrize("url", FAULTY)
def test_a_url_that_can_not(url: str) -> None:
    fault = fault_of(url)
    assert fault is not None
    assert FAULTY[url] in fault


def test_a_fault_holds_no_part_of_a_password() -> None:
    for url in ("http://me:hunter2", "http://me:hunter2#@c", "http://me:hunter2/@c"):
        assert "hunter" not in str(fault_of(url))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://me:hunter2@c:4318/x?key=hunter3#hunter4", "http://c:4318/x"),
        ("http://me:hun#ter2@c/x", "http://c/x"),
        ("http://me:hun/ter2@c", "http://c"),
        ("http://me:hun@ter2@c", "http://c"),
        ("me:hunter2@c:3128", "c:3128"),
        ("unix:/tmp/x", "unix:/tmp/x"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("collector.localhost", True),
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("127.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 -- this machine, when it is called
        ("localhost.example", False),
        ("notlocalhost", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("face", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("http://c", None),
        ("http://me:p%40ss%20word@c", "Basic bWU6cEBzcyB3b3Jk"),
        ("http://me@c", "Basic bWU6"),
        ("http://:secret@c", "Basic OnNlY3JldA=="),
    ],
)
def test_the_login_of_a_url_is_sent_decoded(url: str, value: str | None) -> None:
    assert login_of(urlsplit(url)) == value
