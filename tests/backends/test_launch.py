import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from instrumentation.backends import bench as benches
from instrumentation.backends.bench import Bench, Progress, StepError
from instrumentation.backends.launch import Plan, ServerError, free_ports, running
from instrumentation.backends.leash import Leash

ROOT = Path(benches.__file__).parents[2]


def gone(pid: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


# Steps


def bench(tmp_path: Path, progress: Progress) -> Bench:
    out = tmp_path / "work" / "made"
    out.mkdir(parents=True)
    return Bench("fake", out, tmp_path / "logs" / "fake.log", progress)


def test_failed_step_shows_the_end_of_its_log_and_where_it_is(tmp_path):
    with pytest.raises(StepError) as caught:
        bench(tmp_path, Progress(io.StringIO())).run(
            "building", [sys.executable, "-c", "print('no space'); raise SystemExit(3)"]
        )
    told = str(caught.value)
    assert "building failed with exit code 3" in told
    assert "no space" in told
    assert str(tmp_path / "logs" / "fake.log") in told


def test_long_step_gives_a_sign_of_life(tmp_path):
    out = io.StringIO()
    bench(tmp_path, Progress(out, heartbeat=0.0)).run(
        "building", ["sh", "-c", "echo unit 7; sleep 0.3"]
    )
    assert re.search(r"fake +… \d s: unit 7", out.getvalue())


# Starting and stopping, with commands which every machine has


def test_stop_ends_the_command_and_its_children(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    argv = ["sh", "-c", f"sleep 60 > '{fifo}' & wait"]
    with Leash(argv, log=tmp_path / "log", folder=tmp_path) as leash:
        held = fifo.open("rb")  # returns when the child has opened it
    with held:
        assert held.read() == b""  # the end: nobody holds the other side
    assert gone(leash.pid)


def test_command_that_does_not_exist_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="nope can't be executed: FileNotFoundError"):
        Leash(["nope"], log=tmp_path / "log", folder=tmp_path)


HOLDER = """
import sys, pathlib
from instrumentation.backends.leash import Leash
folder = pathlib.Path(sys.argv[1])
leash = Leash(["sleep", "60"], log=folder / "log", folder=folder)
print(leash.pid, flush=True)
sys.stdin.read()
"""


def test_command_and_folder_are_gone_when_its_starter_is_killed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert not gone(pid, within=0.1)
        starter.send_signal(signal.SIGKILL)
    assert gone(pid)
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()


def test_free_ports_are_different():
    assert len(set(free_ports(20))) == 20


def test_server_that_dies_early_raises_with_its_log():
    def plan(_folder: Path, ports: Sequence[int]) -> Plan:
        argv = ["sh", "-c", "echo bad setting >&2; exit 7"]
        return Plan(argv, ports[0], "/")

    with (
        pytest.raises(ServerError, match=r"(?s)exit code 7.*bad setting"),
        running("fake", 1, plan),
    ):
        pass


def test_taken_port_is_tried_again_with_another_one():
    tried: list[int] = []

    def plan(_folder: Path, ports: Sequence[int]) -> Plan:
        tried.append(ports[0])
        serve = [sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(ports[0])]
        busy = ["sh", "-c", "echo bind: Address already in use; exit 1"]
        return Plan(busy if len(tried) == 1 else serve, ports[0], "/")

    with running("fake", 1, plan) as server:
        assert list(server.ports) == tried[1:]
        assert not gone(server.pid, within=0.05)
    assert gone(server.pid)
    assert not server.log_path.parent.exists()
