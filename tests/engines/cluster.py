"""The tests of `RayEngine` on a cluster of two nodes, which are both on this machine.

    python -m tests.engines.cluster

Each node has a folder and one processor, so that the two workers of a test are on one
each. They end with this program.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
ADDRESS = "SPANRUN_TEST_RAY_ADDRESS"


def main() -> None:
    # Else the second node has no leave to join.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    port = free_port()
    address = f"127.0.0.1:{port}"
    with node("--head", f"--port={port}", "--include-dashboard=false") as head:
        until(lambda: answers(port) or head.poll() is not None, "the first node")
        with node(f"--address={address}") as second:
            until(
                lambda: second.poll() is not None or nodes(address) == 2, "the second"
            )
            if second.poll() is not None:
                sys.exit("the second node has ended")
            tests = ["tests/engines/test_ray.py", "-q", *sys.argv[1:]]
            code = subprocess.call(
                [sys.executable, "-m", "pytest", *tests],
                cwd=ROOT,
                env={**os.environ, ADDRESS: address},
            )
    sys.exit(code)


@contextmanager
def node(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node for as long as the block runs."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [Path(sys.executable).with_name("ray"), "start", "--block"]
        process = subprocess.Popen(
            [*command, "--num-cpus=1", f"--temp-dir={folder}", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: int = server.getsockname()[1]
    return found


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def nodes(address: str) -> int:
    """How many the cluster has, as a program of its own sees it."""
    code = (
        "import ray, sys; ray.init(sys.argv[1], configure_logging=False, "
        "log_to_driver=False); print(sum(each['Alive'] for each in ray.nodes()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, address],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = told.stdout.split()
    return int(lines[-1]) if lines else 0


if __name__ == "__main__":
    main()
