"""Which proxy is on the way, and which can't be."""

import os

import pytest

from spanrun.errors import ConfigurationError
from spanrun.proxies import proxy_for

P = "http://p:3128"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "http://c", None),
        ({"http_proxy": P}, "http://c", "http_proxy"),
        ({"HTTP_PROXY": P}, "http://c", "HTTP_PROXY"),
        ({"HTTP_PROXY": P}, "https://c", None),
        ({"HTTPS_PROXY": P, "ALL_PROXY": "http://q"}, "https://c", "HTTPS_PROXY"),
        ({"ALL_PROXY": P}, "https://c", "ALL_PROXY"),
        ({"all_proxy": "p:3128"}, "http://c", "all_proxy"),
        ({"ALL_PROXY": ""}, "http://c", None),
    ],
)
def test_which_one_counts(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    url: str,
    proxy: str | None,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (found and found.origin) == proxy
    assert found is None or found.url == P


@pytest.mark.parametrize(
    "host", ["localhost:4318", "127.0.0.2", "[::1]:4318", "a.localhost", "127.1"]
)
def test_this_machine_is_called_directly(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("http_proxy", "ALL_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, "socks5://p:1080")
    assert proxy_for(f"http://{host}") is None
    assert proxy_for(f"http://{host}", kinds=("grpc", "all")) is None


@pytest.mark.parametrize(
    ("listed", "direct"),
    [
        ("*", True),
        ("c.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("other, C.Example.com:4318 ", True),
        ("c.example.com:80", False),
        ("ample.com", False),
        ("10.0.0.0/8", False),
        (",", False),
    ],
)
def test_a_host_that_is_left_out(
    monkeypatch: pytest.MonkeyPatch, listed: str, *, direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", P)
    monkeypatch.setenv("no_proxy", listed)
    assert (proxy_for("http://c.example.com:4318") is None) is direct


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.4/8", "10.1.2.3"),
        ("fd00::/8", "[fd00::1]:80"),
        ("fd00::1", "[fd00::1]"),
    ],
)
def test_a_network_that_is_left_out(
    monkeypatch: pytest.MonkeyPatch, listed: str, host: str
) -> None:
    monkeypatch.setenv("http_proxy", P)
    monkeypatch.setenv("no_proxy", listed)
    assert proxy_for(f"http://{host}") is None
    assert proxy_for("http://11.1.2.3") is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("socks5://me:hunter2@p:1080", "a proxy of socks5://"),
        ("socks5h://p:1080", "a proxy of socks5h://"),
        ("http://me:hunter2@p:port", "1 to 65535"),
        ("http://me:hunter2@", "with a host"),
        (f"{'p' * 64}:3128", "label"),
        ("http://me:hun ter2@p", "' '"),
    ],
)
def test_one_that_can_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigurationError, match=r"^ALL_PROXY='") as caught:
        proxy_for("http://c:4318")
    assert message in str(caught.value)
    assert "NO_PROXY=c" in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_its_text_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@p:3128")
    found = proxy_for("http://c")
    assert str(found) == "the proxy http://p:3128 (HTTP_PROXY)"
    assert "hunter2" not in repr(found)
