import sys
import types

import aiohttp
import httpx
import pytest

import spanrun as sr
from spanrun.errors import CircuitOpen, ConfigurationError, StoreError
from spanrun.policies.overload import check_on, matches, overloaded

REQUEST = httpx.Request("GET", "http://example.org")


class WithStatus(Exception):  # noqa: N818 -- how aiohttp's errors look
    def __init__(self, status):
        super().__init__(status)
        self.status = status


class WithStatusCode(Exception):  # noqa: N818 -- how openai's errors look
    def __init__(self, status):
        super().__init__(status)
        self.status_code = status


def unanswered(cause):
    error = sr.ServiceError("no answer")
    error.__cause__ = cause
    return error


def answered(status):
    response = httpx.Response(status, request=REQUEST)
    return httpx.HTTPStatusError("refused", request=REQUEST, response=response)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        BrokenPipeError(),
        sr.DeadlineExceeded("attempt", 1.0),
        sr.ServiceError("busy", status=429),
        StoreError("down", status=503),
        WithStatus(502),
        WithStatusCode(529),
        answered(504),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("cut"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError("reset"),
        unanswered(httpx.ConnectError("refused")),
        WithStatus(522),
    ],
    ids=repr,
)
def test_the_service_is_down_or_overloaded(error):
    assert overloaded(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        OSError("no such file"),
        sr.ServiceError("wrong", status=400),
        sr.ServiceError("nonsense"),
        sr.ServiceError("used up", status=429, final=True),
        unanswered(ValueError("nonsense")),
        sr.ServiceError("its own fault", status=500),
        CircuitOpen("test", 5.0),
        answered(404),
        httpx.InvalidURL("?"),
        httpx.UnsupportedProtocol("ftp"),
        WithStatus("503"),
        WithStatus(None),
    ],
    ids=repr,
)
def test_anything_else_says_nothing_about_that(error):
    assert not overloaded(error)


def test_httpx_is_not_imported_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "httpx")
    assert not overloaded(ValueError())
    assert "httpx" not in sys.modules


def test_half_imported_httpx_is_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", types.ModuleType("httpx"))
    assert not overloaded(ValueError())


@pytest.mark.parametrize(
    "on", [OSError, (OSError, KeyError), lambda error: isinstance(error, OSError)]
)
def test_on_is_types_or_a_predicate(on):
    check_on("Test", on)
    assert matches(on, ConnectionError())
    assert not matches(on, ValueError())


@pytest.mark.parametrize("on", [BaseException, (OSError, SystemExit), "no", None, 5])
def test_nonsense_in_on_is_refused(on):
    with pytest.raises(ConfigurationError, match=r"Test\(on="):
        check_on("Test", on)
