"""What spanrun does where the interpreter ends, and where its folder is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DYING = """
import sys
from spanrun import configure, instrumented, unit

@instrumented
def function():
    pass

class Dying:
    def __del__(self):
        try:
            with unit("last", number=1) as last:
                last.set("key", "value")
                last.event("event")
            function()
        except BaseException as error:
            sys.stderr.write(f"raised {error!r}")
            raise

if sys.argv[1] == "configured":
    configure(store="none")
if sys.argv[2] == "used":
    with unit("first"):
        pass
# Kept beyond the end of the program's own module.
sys.modules["kept"] = Dying()
"""
GONE = """
import os
import spanrun as sr
os.rmdir(os.getcwd())
async def double(number):
    return number * 2
async def main():
    async with sr.Runner("jobs") as runner:
        print(await runner.map(double, range(3)))
sr.configure()
sr.run(main())
sr.shutdown()
"""
COMMANDS = [
    ["--help"],
    ["demo"],
    ["spool", "status"],
    ["spool", "flush"],
    ["search", "word"],
]


@pytest.mark.parametrize("configured", ["configured", "not"])
@pytest.mark.parametrize("used", ["used", "not"])
def test_a_unit_in_a_destructor_raises_nothing(configured, used):
    program = [sys.executable, "-c", DYING, configured, used]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_working_directory_that_is_gone_ends_no_program(tmp_path: Path):
    here = tmp_path / "gone"
    here.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", GONE],
        capture_output=True,
        text=True,
        cwd=here,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 2, 4]\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nor_a_command(tmp_path: Path, command):
    here = tmp_path / "gone"
    here.mkdir()
    start = "import os; os.rmdir(os.getcwd()); from spanrun.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start, *command],
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "FileNotFoundError" not in done.stderr


LATE = """
import atexit
from opentelemetry import trace
from spanrun.telemetry import setup

spans, pipelines = [], []

def end_it():  # after the telemetry has been shut down, which was registered later
    spans[0].end()
    account = pipelines[0]._account
    for signal, number in account.produced.items():
        if signal == "traces":
            lost = sum(n for (s, _), n in account.dropped.items() if s == signal)
            print(number, account.delivered[signal], lost)

atexit.register(end_it)
sr.configure(endpoint=URL, store="none")
pipelines.append(setup.telemetry()._pipeline)
tracer = trace.get_tracer("test")
spans.append(tracer.start_span("late"))
tracer.start_span("early").end()
"""


def test_a_span_that_ends_after_the_shutdown_is_counted_and_told(
    run_program, collector
):
    done = run_program(f"URL = {collector.url!r}\n" + LATE)
    assert (done.code, done.out) == (0, "2 1 1\n")
    assert [span.name for span in collector.spans()] == ["early"]
    assert "spans that end after telemetry was shut down are lost" in done.err
