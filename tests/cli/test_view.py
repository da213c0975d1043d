"""`spanrun view`: a server until Ctrl-C."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

import spanrun as sr
from spanrun.view.server import HOST


async def main() -> None:
    async with sr.Runner("count") as runner:
        await runner.map(str_of, range(3))


async def str_of(number: int) -> str:
    return str(number)


@pytest.fixture
def recorded(cli: Cli) -> Path:
    sr.configure()
    sr.run(main())
    assert sr.shutdown()
    return cli.folder


@contextmanager
def viewing(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "spanrun", "view", *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


def test_it_says_where_the_page_is_and_ends_by_ctrl_c(recorded: Path) -> None:
    with viewing(recorded) as process:
        url = line(process)
        assert line(process) == "Ctrl-C ends it"
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(url, timeout=60) as answer:
            assert b"<title>spanrun</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_said(cli: Cli, recorded: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        result = cli("view", "--port", str(port), "--store", str(recorded / ".spanrun"))
    assert result.code == 2
    assert f"port {port} can't be used" in result.err
    assert "--port" in result.err


def test_without_a_recording_it_says_so(cli: Cli) -> None:
    result = cli("view")
    assert result.code == 65
    assert "Run something first" in result.err
