"""Where a process has no file descriptor left, requests wait for one."""

import asyncio
import errno
import itertools
import json
import resource
import socket
import sys
from pathlib import Path

import httpcore
import httpx
import pytest
from tests.clients.scripted import scripted

from spanrun import descriptors
from spanrun.clients._shortage import Shortage
from spanrun.descriptors import available, exhausted, patiently

PROGRAM = Path(__file__).with_name("scarce.py")
BODY = (
    b'{"a": 1, "responseHeader": {"status": 0, "QTime": 1},'
    b' "response": {"numFound": 0, "start": 0, "docs": []}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
WAITS = "no file descriptor is left for a request to"


async def scarce(name, where, short=None):
    """Run ``name`` of the program; ``short`` is set when it says that it waits.

    Returns:
        What it printed, and its log.
    """
    made = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        name,
        where,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    log = ""
    async for line in made.stderr:
        log += line.decode()
        if short is not None and WAITS in log:
            short.set()
    out = await made.stdout.read()
    assert await made.wait() == 0, log
    return json.loads(out), log


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("http", "127.0.0.1"),
        ("http", "localhost"),
        ("by_httpx", "localhost"),
        ("solr", "localhost"),
    ],
)
async def test_more_requests_than_descriptors_wait_for_one(name, host):
    """300 at once with 48 descriptors; it was 259 times "Too many open files".

    Nothing but the first is answered before they are all in use.
    """
    short = asyncio.Event()

    async def answer(writer):
        await short.wait()
        writer.write(ANSWER)
        await writer.drain()

    async with scripted(ANSWER, answer) as server:
        url = server.url.replace("127.0.0.1", host)
        result, log = await scarce(name, url, short)
    assert result == {"ok": 300}
    assert log.count(WAITS) == 1


async def test_connections_that_another_client_does_not_use_make_room():
    async with scripted(ANSWER) as server:
        result, _ = await scarce("two_clients", server.url)
    assert result == {"ok": 3}


async def test_wait_ends_with_the_timeout_and_is_on_the_span():
    async with scripted(ANSWER) as server:
        result, log = await scarce("never", server.url)
    assert result == {"DeadlineExceeded": 5, "waited": True}
    assert WAITS in log


async def test_wait_ends_with_patience():
    """An `httpx.AsyncClient` gives its ``pool`` timeout; there may be no other."""

    async def send(_):
        raise httpx.ConnectError("all failed") from FULL

    shortage = Shortage(httpx.ConnectError)
    request = httpx.Request("GET", "http://server")
    many = (shortage.connected(send, request, 0.01) for _ in range(3))
    ends = await asyncio.gather(*many, return_exceptions=True)
    assert [type(end) for end in ends] == [httpx.ConnectError] * 3


@pytest.mark.parametrize("name", ["sandbox", "sqlite"])
async def test_process_and_store_wait_as_well(name, tmp_path):
    result, _ = await scarce(name, str(tmp_path))
    assert result == {"early": False, "result": 2 if name == "sandbox" else 1}


def chain(*errors):
    for error, why in itertools.pairwise(errors):
        error.__cause__ = why
    return errors[0]


FULL = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.ENFILE, "of the system"),
        chain(httpx.ConnectError("all failed"), OSError("all failed"), FULL),
        chain(
            httpx.ConnectError("failed"),
            ExceptionGroup("g", [OSError(errno.ECONNREFUSED, "refused"), FULL]),
        ),
        chain(httpx.ConnectError("failed"), httpcore.ConnectError(FULL)),
    ],
    ids=["process", "system", "cause", "group", "argument"],
)
def test_want_of_descriptors_is_found_in_an_error(error):
    assert exhausted(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("EMFILE"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        chain(httpx.ConnectError("x"), socket.gaierror(socket.EAI_AGAIN, "again")),
        ValueError(24),
    ],
    ids=repr,
)
def test_other_errors_are_none(error):
    assert not exhausted(error)


def test_failed_look_up_counts_where_hardly_any_is_left(monkeypatch):
    monkeypatch.setattr(descriptors, "available", lambda _: False)
    assert exhausted(socket.gaierror(socket.EAI_NONAME, "unknown"))


def test_available_asks_the_system():
    assert available()
    assert not available(resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1)


def test_patience_ends_after_its_time_and_with_another_error():
    waits = []
    with pytest.raises(OSError, match="Too many"):
        patiently(lambda: (_ for _ in ()).throw(FULL), 0.0, wait=waits.append)
    assert not waits
    errors = [FULL, ValueError("mine")]
    with pytest.raises(ValueError, match="mine"):
        patiently(lambda: (_ for _ in ()).throw(errors.pop(0)), 60.0, wait=waits.append)
    assert waits == [descriptors.AGAIN]
