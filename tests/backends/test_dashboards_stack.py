"""`instrumentation/stack.py`, and the configurations it shares with the containers."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from instrumentation import stack
from instrumentation.backends import servers
from tests.backends.conftest import needs
from tests.programs import plain_environ
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
CLEAN = plain_environ()

PROGRAM = """
import asyncio
import spanrun as sr

async def main() -> None:
    async with sr.Runner("naps", limit=4) as runner:
        await runner.map(asyncio.sleep, [0.01] * 8)

sr.configure(service_name="napping")
sr.run(main())
raise SystemExit(not sr.shutdown(120))
"""


def get(url: str, **parameters: str) -> Any:
    answer = httpx.get(
        url, params=parameters, timeout=10, trust_env=False, verify=False
    )
    answer.raise_for_status()
    return answer.json()


def eventually(look: Any, within: float = 20.0) -> Any:
    deadline = time.monotonic() + within
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    for name in ("jaeger", "prometheus", "otelcol"):
        needs(name)
    process = subprocess.Popen(
        [sys.executable, ROOT / "instrumentation" / "stack.py"],
        cwd=tmp_path,
        env={**CLEAN, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = ""
    while "Ctrl-C" not in text:
        line = process.stdout.readline()
        assert line, process.communicate()
        text += line
    return text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_stack_takes_telemetry_and_leaves_nothing(
    started: subprocess.Popen[str], tmp_path: Path, number: int
) -> None:
    shown = told(started)
    collector, prometheus, jaeger = (
        re.search(rf"{name} +(http\S+)", shown)[1]  # type: ignore[index]
        for name in ("Collector", "Prometheus", "Jaeger")
    )
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**CLEAN, "OTEL_EXPORTER_OTLP_ENDPOINT": collector},
        check=True,
        timeout=PATIENCE,
    )
    eventually(lambda: get(f"{jaeger}/api/traces", service="napping")["data"])
    eventually(
        lambda: get(f"{prometheus}/api/v1/query", query="spanrun_jobs_total == 8")[
            "data"
        ]["result"]
    )
    started.send_signal(number)
    _, error = started.communicate(timeout=PATIENCE)
    assert (started.returncode, error.splitlines()[-1]) == (0, "stopped")
    assert list(tmp_path.iterdir()) == []
    for url in (collector, prometheus, jaeger):
        with pytest.raises(httpx.TransportError):
            httpx.get(url, timeout=2, trust_env=False, verify=False)


@pytest.mark.slow
def test_a_server_that_ends_by_itself_ends_the_stack(
    started: subprocess.Popen[str],
) -> None:
    shown = told(started)
    port = re.search(r"Jaeger +http://127\.0\.0\.1:(\d+)", shown)[1]  # type: ignore[index]
    os.kill(owner(int(port)), signal.SIGKILL)
    _, error = started.communicate(timeout=PATIENCE)
    assert started.returncode == 1
    assert error.splitlines()[-1] == "stack: Jaeger has ended by itself"


def owner(port: int) -> int:
    """The process that listens on a port of the loopback."""
    table = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    rows = (line.split() for line in table)
    (inode,) = (
        row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"
    )
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if entry.readlink().name == f"socket:[{inode}]":
                return int(entry.parts[2])
        except OSError:
            continue
    raise AssertionError(f"nobody listens on {port}")


def test_what_is_not_built_is_named_with_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "instrumentation" / "stack.py"],
        env={**CLEAN, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (69, "")
    assert "make backends" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.3, 1.0, 2.0])
def test_it_ends_cleanly_while_it_starts(
    started: subprocess.Popen[str], tmp_path: Path, delay: float
) -> None:
    """The moment isn't told to us: whatever it is, nothing is left."""
    assert started.stderr is not None
    assert started.stderr.readline().startswith("starting")
    time.sleep(delay)
    started.send_signal(signal.SIGINT)
    _, error = started.communicate(timeout=PATIENCE)
    assert (started.returncode, error.splitlines()[-1]) == (0, "stopped")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    needs("prometheus")
    promtool = servers.locate("prometheus") / "promtool"
    config = ROOT / "instrumentation" / "prometheus" / "prometheus.yml"
    subprocess.run([promtool, "check", "config", config], check=True, timeout=PATIENCE)


@pytest.mark.slow
def test_the_collector_takes_its_configuration(tmp_path: Path) -> None:
    needs("otelcol")
    config = ROOT / "instrumentation" / "collector" / "collector.yaml"
    subprocess.run(
        [servers.locate("otelcol") / "otelcol", "validate", f"--config={config}"],
        env={**CLEAN, "QUEUE": str(tmp_path)},
        check=True,
        timeout=PATIENCE,
    )


@pytest.mark.slow
def test_what_the_collector_took_outlives_its_backend(tmp_path: Path) -> None:
    """Nobody listens where Jaeger should be; the collector is started anew."""
    for name in ("otelcol", "jaeger"):
        needs(name)
    with servers.jaeger() as jaeger:
        pass  # its address, which is dead from here on
    with servers.prometheus() as prometheus:
        config = stack.collector_config(jaeger, prometheus, str(tmp_path))
        with servers.collector(config) as collector:
            subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env={**CLEAN, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http},
                check=True,
                timeout=PATIENCE,
            )
        with servers.jaeger() as jaeger:
            config = stack.collector_config(jaeger, prometheus, str(tmp_path))
            with servers.collector(config):
                eventually(
                    lambda: get(f"{jaeger.url}/api/traces", service="napping")["data"]
                )
