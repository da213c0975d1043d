"""Hosts that fork, and processes that end in their own way: nothing is lost there."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.programs import UNBLOCKED, plain_environ
from tests.telemetry.export.receiver import OK, Got, receiving
from tests.telemetry.test_variables import Arrived
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here"),
]

TASKS = 10
LIMIT = 120.0
HEAD = """
import os, sys, warnings
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
from opentelemetry import trace
import spanrun as sr
from spanrun.telemetry import setup

def configure():
    sr.configure(store="none")

def task(number):
    with trace.get_tracer("host").start_as_current_span(f"task {number}"):
        pass

def all_tasks():
    configure()
    for number in range(10):
        task(number)
"""
BILLIARD = """
from billiard.pool import Pool
if __name__ == "__main__":
    {before}
    pool = Pool(2, {initializer} maxtasksperchild=1)
    for each in [pool.apply_async(task, (number,)) for number in range(10)]:
        each.get()
    pool.close()
    pool.join()
"""
EXECUTOR = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(2, mp_context=context, initializer=configure) as pool:
        list(pool.map(task, range(10)))
"""
PROCESS = """
import multiprocessing
if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=all_tasks)
    process.start()
    process.join()
"""
WAYS = {
    "a billiard pool": BILLIARD.format(before="configure()", initializer=""),
    "a billiard pool that configures its workers": BILLIARD.format(
        before="", initializer="initializer=configure,"
    ),
    "billiard processes": """
import billiard
if __name__ == "__main__":
    configure()
    for number in range(10):
        process = billiard.Process(target=task, args=(number,))
        process.start()
        process.join()
""",
    "a pool of multiprocessing": """
import multiprocessing
if __name__ == "__main__":
    configure()
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        pool.map(task, range(10), 1)
        pool.close()
        pool.join()
""",
    "a daemon": """
configure()
reader, writer = os.pipe()
if os.fork():
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for number in range(10):
    task(number)
""",
    "a program that forkserver imports": """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
configure()
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(task, range(10)))
""",
}
METHODS = ("fork", "forkserver", "spawn")
WAYS |= {f"an executor, {m}": EXECUTOR.format(method=m) for m in METHODS}
WAYS |= {f"a process, {m}": PROCESS.format(method=m) for m in METHODS}


def environment(url: str, **more: str) -> dict[str, str]:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
    return {**plain_environ(), **UNBLOCKED, **endpoint, **more}


def start(
    folder: Path, program: str, environ: Mapping[str, str]
) -> "subprocess.Popen[str]":
    """Run ``program`` from a file: some hosts import it once more in each child."""
    file = folder / "program.py"
    file.write_text(HEAD + program)
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, str(file)]
    return subprocess.Popen(
        command, cwd=folder, env=environ, text=True, start_new_session=True, **pipes
    )


def finish(program: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the end of ``program``, and of what it forked; or end it all."""
    try:
        out, err = program.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
        raise
    return program.returncode, out, err


def check(requests: list[Got], tasks: int = TASKS) -> None:
    spans = [s for s in Arrived(requests).spans() if s.name.startswith("task ")]
    assert {span.name for span in spans} == {f"task {n}" for n in range(tasks)}
    assert len({span.trace_id for span in spans}) == len(spans) == tasks


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_each_span_of_each_child_arrives_once(tmp_path: Path, way: str) -> None:
    with receiving() as receiver:
        program = start(tmp_path, way, environment(receiver.url))
        assert finish(program) == (0, "", "")
    check(receiver.requests)


# Who calls `fork` in C tells Python nothing, or, as uWSGI with --py-call-osafterfork,
# tells it in the child alone. The interpreter itself hangs in such a child, if a thread
# waits for its lock: none does here, once all of them rest.
FORK_IN_C = """
import ctypes, time
fork = ctypes.PyDLL(None).fork
configure()
task("of the parent")
assert setup.telemetry().flush(120)

def turns():
    tasks = set(os.listdir("/proc/self/task")) - {{str(os.getpid())}}
    lines = [open(f"/proc/self/task/{{task}}/status").readlines() for task in tasks]
    return sorted(line for each in lines for line in each if "switches" in line)

before = None
while before != (before := turns()):  # who rests has no turn
    time.sleep(0.05)
sys.setswitchinterval(1000)
for number in range(10):
    child = fork()
    if not child:
        {told}
        sys.setswitchinterval(0.005)
        task(number)
        sr.shutdown()
        os._exit(0)
    sys.setswitchinterval(0.005)
    os.waitpid(child, 0)
    sys.setswitchinterval(1000)
"""


@pytest.mark.parametrize("told", ["pass", "ctypes.pythonapi.PyOS_AfterFork_Child()"])
def test_a_child_forked_in_c_is_another_process(tmp_path: Path, told: str) -> None:
    way = FORK_IN_C.format(told=told)
    with receiving() as receiver:
        program = start(tmp_path, way, environment(receiver.url))
        assert finish(program) == (0, "", "")
    requests = receiver.requests
    names = Counter(span.name for span in Arrived(requests).spans())
    assert names["task of the parent"] == 1
    check([got for got in requests if b"of the parent" not in got.body])
    instances = {r["service.instance.id"] for r in Arrived(requests).resources()}
    assert len(instances) == 11


FORK_IN_A_JOB = """
import asyncio

async def job(number):
    if number == 2:
        child = os.fork()
        if not child:
            sys.exit(0)
        os.waitpid(child, 0)

async def main():
    async with sr.Runner("forking", limit=1) as runner:
        await runner.map(job, range(4))

configure()
asyncio.run(main())
"""


def test_spans_that_are_open_at_a_fork_are_the_parent_s(tmp_path: Path) -> None:
    with receiving() as receiver:
        program = start(tmp_path, FORK_IN_A_JOB, environment(receiver.url))
        finish(program)
    arrived = Arrived(receiver.requests)
    spans = arrived.spans()
    assert Counter(span.name for span in spans) == {"run forking": 1, "job forking": 4}
    assert len({span.span_id for span in spans}) == len(spans)
    assert arrived.jobs() == 4
    counted = [
        point.as_double or point.as_int
        for metric in arrived.named("spanrun.jobs")
        for point in metric.sum.data_points
        for label in point.attributes
        if label.value.string_value == "cancelled"
    ]
    assert not any(counted)  # the child's copy of the job is nobody's


LEFT_IN_A_HURRY = """
from spanrun.telemetry import span_pipe
span_pipe._DELAY = 60.0  # nothing leaves before the end
configure()
for number in range(10):
    task(number)
try:
    sr.shutdown()
except KeyboardInterrupt:
    os._exit(3)
"""

NEXT = """
configure()
assert setup.telemetry()._pipeline._spooled.flush(30, recovered=True)
"""


def test_ctrl_c_during_shutdown_leaves_the_rest_on_disk(tmp_path: Path) -> None:
    running: list[subprocess.Popen[str]] = []

    def interrupt(got: Got) -> Any:
        if got.path.endswith("traces"):
            running[0].send_signal(signal.SIGINT)
            running[0].wait(PATIENCE)
        return OK

    with receiving(interrupt) as receiver:
        spool = str(tmp_path / "spool")
        environ = environment(receiver.url, SPANRUN_SPOOL=spool)
        running.append(start(tmp_path, LEFT_IN_A_HURRY, environ))
        assert finish(running[0])[0] == 3
    with receiving() as receiver:
        environ = environment(receiver.url, SPANRUN_SPOOL=spool)
        program = start(tmp_path, NEXT, environ)
        assert finish(program) == (0, "", "")
    check(receiver.requests)
