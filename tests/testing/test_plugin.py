"""The pytest plugin, as a project of its own uses it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TESTS = """
import asyncio
import socket
import spanrun as sr

async def test_on_the_fake_clock(fake_clock):
    await asyncio.sleep(3600)
    assert fake_clock.now() == 3600

def test_plain(fake_clock):
    fake_clock.run(asyncio.sleep(60))

class TestInAClass:
    async def test_method(self, fake_clock, tmp_path):
        await asyncio.sleep(3600)
        assert tmp_path.exists()

async def test_captured(fake_clock, spanrun_capture):
    async with sr.Runner("mine") as runner:
        await runner.map(asyncio.sleep, [5])
    assert spanrun_capture.span("job mine").duration == 5

def test_captured_in_real_time(spanrun_capture):
    with sr.unit("mine"):
        pass
    assert len(spanrun_capture.spans) == 1

async def test_clean(fake_clock, no_leaks):
    await asyncio.create_task(asyncio.sleep(1))

async def test_leaves_a_task(fake_clock, no_leaks):
    global task
    task = asyncio.create_task(asyncio.sleep(1))

def test_leaves_a_socket(no_leaks):
    global left
    left = socket.socket()
"""


PLUGINS = [None, "pytest_asyncio.plugin", "anyio.pytest_plugin"]


@pytest.mark.parametrize("other", PLUGINS)
def test_fixtures_work_alone_and_beside_other_plugins(tmp_path, other):
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"),
            *("-p", "spanrun.testing.plugin"),
            *(("-p", other) if other else ()),
            *(("--asyncio-mode=auto",) if other == "pytest_asyncio.plugin" else ()),
        ],
        cwd=tmp_path,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed, 6 passed" in done.stdout, done.stdout + done.stderr
    assert "task 'Task-" in done.stdout
    assert "socket " in done.stdout
