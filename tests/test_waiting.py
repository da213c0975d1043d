"""What the tests wait with leaves nothing behind."""

import signal
import subprocess
import sys
import threading

from tests import waiting
from tests.waiting import killed_when_late, killed_when_stuck


def test_a_limit_on_a_process_leaves_no_thread_behind():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        before = threading.enumerate()
        for _ in range(100):
            with killed_when_late(process):
                pass
            assert threading.enumerate() == before


def test_a_process_without_progress_is_killed(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process,
        killed_when_stuck(process, lambda: 0),
    ):
        assert process.wait() == -signal.SIGKILL
