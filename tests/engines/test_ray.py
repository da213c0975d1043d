"""`RayEngine`: the same runs, on a real cluster of this machine.

Each test is a program of its own: what Ray leaves open in a process is its own affair.
"""

import os
import signal
import sys

import pytest
from tests.engines.cluster import ADDRESS
from tests.engines.test_process import output_of, program
from tests.waiting import killed_when_late, until

from spanrun.engines import RayEngine
from spanrun.errors import ConfigurationError


@pytest.fixture
def installed():
    pytest.importorskip("ray", reason="pip install 'spanrun[ray]'")


@pytest.mark.usefixtures("installed")
def test_a_run_on_ray_is_the_same_run(tmp_path):
    told = output_of(program("ray", tmp_path, cwd=tmp_path))
    assert told.splitlines() == [
        "map: same",
        "error: 7, with its traceback",
        "batches: same",
        "stream: same",
        "by value: 5",
        "cluster: ended",
    ]


@pytest.mark.usefixtures("installed")
def test_no_job_is_lost_and_a_cancellation_arrives(tmp_path):
    told = output_of(program("killed-ray", tmp_path, cwd=tmp_path))
    lines = [each for each in told.splitlines() if "(raylet)" not in each]
    assert lines == ["killed: each once", "cancelled: all that began"]


@pytest.mark.usefixtures("installed")
def test_sigterm_lets_the_program_drain(tmp_path):
    process = program("drained-ray", tmp_path, cwd=tmp_path)
    with killed_when_late(process):
        until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "the last one was True" in out


@pytest.mark.usefixtures("installed")
@pytest.mark.skipif(ADDRESS not in os.environ, reason="see tests.engines.cluster")
def test_the_workers_are_on_both_nodes(tmp_path):
    assert output_of(program("nodes-ray", cwd=tmp_path)) == "nodes: 2\n"


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"spanrun\[ray\]"):
        RayEngine(workers=2)
