"""What the tests wait with leaves nothing behind."""

import subprocess
import sys
import threading

from tests.waiting import killed_when_late


def test_a_limit_on_a_process_leaves_no_thread_behind():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        before = threading.enumerate()
        for _ in range(100):
            with killed_when_late(process):
                pass
            assert threading.enumerate() == before
